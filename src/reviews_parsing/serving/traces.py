"""What OpenTelemetry is told of an inference request: the server's span, and below it the phases of its answer.

Off, and OpenTelemetry not imported, unless the environment names a collector. Nothing of a text goes into a span, nor
does an error's message, which may quote one.
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
from importlib.metadata import version as installed
from threading import Thread
from typing import TYPE_CHECKING, Any

from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

    from reviews_parsing.serving.metrics import Outcome
    from reviews_parsing.serving.work import Parsed

NAME = "reviews-parsing"
# Of our attributes; OpenTelemetry has no names for these things.
OURS = "reviews_parsing"
RPC = {"rpc.system": "grpc", "rpc.service": "inference.GRPCInferenceService", "rpc.method": "ModelInfer"}
GRPC, HTTP = "grpc", "http/protobuf"
GRPC_PORT, HTTP_PORT = 4317, 4318
FIRST_ERROR = 400
# How long the server's end is put off by a collector that does not answer.
FLUSH_SECONDS = 5

Attributes = Mapping[str, str | int]
# The attribute that holds a status, the status, and its name, by the HTTP status of an outcome.
Code = Callable[[int], tuple[str, int, str]]


@dataclass(slots=True)
class _Request:
    """A request whose trace is recorded, and the attributes that its phases share."""

    tracer: Tracer
    span: Span
    model: dict[str, str] = field(default_factory=dict)

    def child(self, name: str, attributes: Attributes | None = None, begin: int | None = None) -> Span:
        from opentelemetry.trace import set_span_in_context

        attributes = {**self.model, **(attributes or {})}
        return self.tracer.start_span(name, set_span_in_context(self.span), attributes=attributes, start_time=begin)


_current: ContextVar[_Request | None] = ContextVar("current", default=None)


def start() -> None:
    """Read the environment, and say in the log where traces go; once, however often it is called."""
    _tracer()


def over_rest(scope: Mapping[str, Any], path: Sequence[str | None], outcome: Outcome) -> AbstractContextManager[None]:
    """The span of a request by REST, of ASGI's `scope`. It ends with the status of `outcome`.

    `path` is what its path consists of: a model's name, its version or None, a verb, "_stream" or None.
    """
    if _tracer() is None:
        return nullcontext()
    _, version, verb, stream = path
    route = f"/v2/models/{{model_name}}{'/versions/{model_version}' if version else ''}/{verb}{stream or ''}"
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
        lambda status: ("http.response.status_code", status, str(status)),
    )


def over_grpc(context: Any, outcome: Outcome, code: Callable[[int], Any]) -> AbstractContextManager[None]:
    """The span of a call of ModelInfer. It ends with the status of `outcome`, of which `code` makes one of gRPC."""
    if _tracer() is None:
        return nullcontext()
    return _request(
        f"{RPC['rpc.service']}/{RPC['rpc.method']}",
        {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)},
        RPC,
        outcome,
        lambda status: ("rpc.grpc.status_code", code(status).value[0], code(status).name),
    )


def model(name: str, version: str) -> None:
    """Say of the current request which model answers it."""
    if request := _current.get():
        request.model = {f"{OURS}.model.name": name, f"{OURS}.model.version": version}
        request.span.set_attributes(request.model)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """The span of a phase of the current request, while it lasts."""
    if (request := _current.get()) is None:
        yield
        return
    span = request.child(name)
    try:
        yield
    except Exception as error:
        _fail(span, type(error).__name__)
        raise
    finally:
        span.end()


def batches(parts: Sequence[Parsed]) -> None:
    """The spans of the phases of the batches that answered the current request, from the times that they noted.

    Each request that shares a batch has its own of them; they tell how many texts of the batch were its own.
    """
    if (request := _current.get()) is None:
        return
    request.span.set_attribute(f"{OURS}.request.texts", sum(len(part.reviews) for part in parts))
    for part in parts:
        attributes = {
            f"{OURS}.batch.texts": part.batch.texts,
            f"{OURS}.batch.texts_of_request": len(part.reviews),
            f"{OURS}.batch.tokens": part.batch.tokens,
            f"{OURS}.batch.windows": part.batch.windows,
        }
        for name, begin, end in part.batch.phases():
            request.child(name, attributes, begin).end(end)


@contextmanager
def _request(
    name: str, headers: Mapping[str, str], attributes: Attributes, outcome: Outcome, code: Code
) -> Iterator[None]:
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    tracer = _tracer()
    assert tracer is not None
    span = tracer.start_span(name, extract(headers), SpanKind.SERVER, attributes)
    # What is not sampled has no phases.
    token = _current.set(_Request(tracer, span) if span.is_recording() else None)
    try:
        yield
    finally:
        _current.reset(token)
        attribute, status, error = code(outcome.status)
        span.set_attribute(attribute, status)
        if outcome.status >= FIRST_ERROR:
            _fail(span, error)
        span.end()


def _fail(span: Span, error: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", error)


@cache
def _tracer() -> Tracer | None:
    """Made once a process; nothing where no collector is named, or what is said of it cannot be."""
    endpoint = _first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    jaeger = jaeger_endpoint(Settings().jaeger_url or "")
    if not (endpoint or jaeger) or _first("OTEL_SDK_DISABLED").lower() == "true":
        return None
    if _first("OTEL_TRACES_EXPORTER").lower() == "none":
        return None
    log = logging.getLogger("mlserver")
    try:
        exporter = _exporter(endpoint, jaeger)
        tracer = _provide(exporter)
    except Exception as error:  # a server without traces is better than none
        log.error("no traces are sent: %s", error)
        return None
    log.info("traces are sent to %s", re.sub("//.*@", "//", endpoint or jaeger))
    return tracer


def _provide(exporter: SpanExporter) -> Tracer:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    release = installed(NAME)
    named = OTELResourceDetector().detect().attributes
    resource = Resource.create({"service.name": NAME, "service.version": release, **named})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    atexit.register(_flush, provider.shutdown)
    return provider.get_tracer(OURS, release)


def _exporter(endpoint: str, jaeger: str) -> SpanExporter:
    """That of the protocol asked for; else of the one whose port it is. It reads the rest of the environment itself."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    if not endpoint:
        return OTLPSpanExporter(endpoint=jaeger)
    protocol = _first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = protocol or (HTTP if re.search(rf":{HTTP_PORT}\b", endpoint) else GRPC)
    if protocol == GRPC:
        return OTLPSpanExporter()
    if protocol != HTTP:
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is '{protocol}'; it can be {GRPC} or {HTTP}")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HTTPExporter

    return HTTPExporter()


def jaeger_endpoint(url: str) -> str:
    """Where a collector that is named by its host, its host and port, or a URL, takes OTLP over gRPC."""
    scheme, _, rest = url.strip().rpartition("://")
    host = rest.partition("/")[0]
    port = "" if re.search(r":\d+$", host) else f":{GRPC_PORT}"
    return f"{scheme or 'http'}://{host}{port}" if host else ""


def _first(*variables: str) -> str:
    """The first of them that is not empty, which OpenTelemetry takes as unset."""
    return next((value for name in variables if (value := os.environ.get(name, "").strip())), "")


def _flush(shutdown: Callable[[], None]) -> None:
    """Send what is left, or leave it."""
    flushing = Thread(target=shutdown, daemon=True)
    flushing.start()
    flushing.join(FLUSH_SECONDS)
