"""OpenTelemetry traces of inference requests: a server span, and below it a span for each phase of the answer.

Off, and OpenTelemetry not imported, unless the environment names a collector or an exporter. Exporters, sampler,
resource and batching are configured by OpenTelemetry's own variables. No span holds anything of a text, nor the message
of an error, which may quote one.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from importlib.metadata import entry_points
from importlib.metadata import version as installed
from threading import Thread
from typing import TYPE_CHECKING, Any

from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

    from reviews_parsing.serving.metrics import RequestOutcome
    from reviews_parsing.serving.queue import ParsedPart

NAME = "reviews-parsing"
# Prefix of attributes that the semantic conventions have no names for.
PREFIX = "reviews_parsing"
RPC_METHOD = "inference.GRPCInferenceService/ModelInfer"
RPC_ATTRIBUTES = {
    "rpc.system.name": "grpc",
    "rpc.method": RPC_METHOD,
    # Names of older semantic conventions, until the next release.
    "rpc.system": "grpc",
    "rpc.service": "inference.GRPCInferenceService",
}
EXPORTERS_BY_PROTOCOL = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
GRPC_PORT, HTTP_PORT = 4317, 4318
# Time that a collector that does not answer may delay the end of the server.
FLUSH_SECONDS = 5

Attributes = Mapping[str, str | int]
# Maps the HTTP status of a request to the status attributes of its span, and to `error.type`.
StatusAttributes = Callable[[int], tuple[Attributes, str]]


@dataclass(slots=True)
class _RequestTrace:
    """The span of a sampled request, and the attributes that its phases share."""

    tracer: Tracer
    span: Span
    model: dict[str, str] = field(default_factory=dict)

    def start_phase(self, name: str, attributes: Attributes | None = None, start_time: int | None = None) -> Span:
        from opentelemetry.trace import set_span_in_context

        attributes = {**self.model, **(attributes or {})}
        parent = set_span_in_context(self.span)
        return self.tracer.start_span(name, parent, attributes=attributes, start_time=start_time)


_current: ContextVar[_RequestTrace | None] = ContextVar("current", default=None)


def start() -> None:
    """Configure tracing from the environment, and log where traces are sent. Idempotent."""
    _tracer()


def rest_request(scope: Mapping[str, Any], route: str, outcome: RequestOutcome) -> AbstractContextManager[None]:
    """Trace a REST request, given its ASGI scope; the span ends with the status of `outcome`."""
    if _tracer() is None:
        return nullcontext()
    return _request(
        f"{scope['method']} {route}",
        {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]},
        {
            "http.request.method": scope["method"],
            "http.route": route,
            "url.path": scope["path"],
            "url.scheme": scope["scheme"],
        },
        outcome,
        lambda status: ({"http.response.status_code": int(status)}, str(int(status))),
    )


def grpc_request(
    context: Any, outcome: RequestOutcome, status_code: Callable[[int], Any]
) -> AbstractContextManager[None]:
    """Trace a call of ModelInfer; the span ends with the status of `outcome`, mapped by `status_code`."""
    if _tracer() is None:
        return nullcontext()

    def status_attributes(status: int) -> tuple[Attributes, str]:
        code = status_code(status)
        return {"rpc.response.status_code": code.name, "rpc.grpc.status_code": code.value[0]}, code.name

    headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    return _request(RPC_METHOD, headers, RPC_ATTRIBUTES, outcome, status_attributes)


def set_model(name: str, version: str) -> None:
    """Set the model that answers the current request."""
    if request := _current.get():
        request.model = {f"{PREFIX}.model.name": name, f"{PREFIX}.model.version": version}
        request.span.set_attributes(request.model)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Trace a phase of the current request."""
    if (request := _current.get()) is None:
        yield
        return
    span = request.start_phase(name)
    try:
        yield
    except Exception as error:
        _set_error(span, type(error).__name__)
        raise
    finally:
        span.end()


def record_batches(parts: Sequence[ParsedPart]) -> None:
    """Add spans for the phases of the batches that answered the current request, from their timestamps.

    A span of a batch that several requests shared is repeated below each of them.
    """
    if (request := _current.get()) is None:
        return
    request.span.set_attribute(f"{PREFIX}.request.texts", sum(len(part.reviews) for part in parts))
    for part in parts:
        attributes = {
            f"{PREFIX}.batch.texts": part.batch.texts,
            f"{PREFIX}.batch.texts_of_request": len(part.reviews),
            f"{PREFIX}.batch.tokens": part.batch.tokens,
            f"{PREFIX}.batch.windows": part.batch.windows,
        }
        for name, begin, end in part.batch.phases():
            request.start_phase(name, attributes, begin).end(end)


def jaeger_endpoint(url: str) -> str:
    """Return the OTLP endpoint over gRPC of a collector given as a host, a host and port, or a URL; "" if empty."""
    scheme, _, address = url.strip().rpartition("://")
    host = address.partition("/")[0]
    port = "" if re.search(r":\d+$", host) else f":{GRPC_PORT}"
    return f"{scheme or 'http'}://{host}{port}" if host else ""


@contextmanager
def _request(
    name: str,
    headers: Mapping[str, str],
    attributes: Attributes,
    outcome: RequestOutcome,
    status_attributes: StatusAttributes,
) -> Iterator[None]:
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    tracer = _tracer()
    assert tracer is not None
    span = tracer.start_span(name, extract(headers), SpanKind.SERVER, attributes)
    # A request that is not sampled records no phases.
    token = _current.set(_RequestTrace(tracer, span) if span.is_recording() else None)
    try:
        yield
    finally:
        _current.reset(token)
        status, error_type = status_attributes(outcome.status)
        span.set_attributes(status)
        if outcome.status >= HTTPStatus.BAD_REQUEST:
            _set_error(span, error_type)
        span.end()


def _set_error(span: Span, error_type: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", error_type)


@cache
def _tracer() -> Tracer | None:
    """Return the tracer of this process; None if tracing is off or its configuration is invalid."""
    jaeger = jaeger_endpoint(Settings().jaeger_url or "")
    if jaeger and not _endpoint():
        # Shorthand for OpenTelemetry's variables.
        os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = jaeger
        os.environ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "grpc"
    exporters = _variable("OTEL_TRACES_EXPORTER") or ("otlp" if _endpoint() else "none")
    if exporters.lower() == "none" or _variable("OTEL_SDK_DISABLED").lower() == "true":
        return None
    log = logging.getLogger("mlserver")
    try:
        tracer = _configure([_exporter(name.strip()) for name in exporters.split(",")])
    except Exception as error:  # the server runs without traces
        log.error("tracing is off: %s", error)
        return None
    log.info("traces are sent to %s", re.sub("//.*@", "//", _endpoint() or exporters))
    return tracer


def _configure(exporters: Sequence[SpanExporter]) -> Tracer:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    release = installed(NAME)
    environment = OTELResourceDetector().detect().attributes
    resource = Resource.create({"service.name": NAME, "service.version": release, **environment})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    atexit.register(_flush, provider.shutdown)
    return provider.get_tracer(PREFIX, release)


def _exporter(name: str) -> SpanExporter:
    """Return the exporter of this name among OpenTelemetry's entry points; it reads its own variables."""
    if name == "otlp":
        protocol = _variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        protocol = protocol or ("http/protobuf" if re.search(rf":{HTTP_PORT}\b", _endpoint()) else "grpc")
        if protocol not in EXPORTERS_BY_PROTOCOL:
            choices = " or ".join(EXPORTERS_BY_PROTOCOL)
            raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is '{protocol}'; set it to {choices}")
        name = EXPORTERS_BY_PROTOCOL[protocol]
    for entry in entry_points(group="opentelemetry_traces_exporter", name=name):
        exporter: SpanExporter = entry.load()()
        return exporter
    raise ValueError(f"OTEL_TRACES_EXPORTER names '{name}', which is not installed")


def _endpoint() -> str:
    return _variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def _variable(*names: str) -> str:
    """Return the first of these environment variables that is not empty; OpenTelemetry takes empty ones as unset."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")


def _flush(shutdown: Callable[[], None]) -> None:
    """Export the remaining spans, but wait no longer than FLUSH_SECONDS."""
    thread = Thread(target=shutdown, daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)
