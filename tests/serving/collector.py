"""A collector of traces for OTLP over HTTP or gRPC, which stores the requests."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server

from .client import DEADLINE


@dataclass(frozen=True)
class Span:
    """A span of OTLP with its attributes, and those of its resource, as dictionaries."""

    proto: Any
    attributes: dict[str, Any]
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.proto.name)

    @property
    def trace(self) -> str:
        return str(self.proto.trace_id.hex())

    @property
    def times(self) -> tuple[int, int]:
        return self.proto.start_time_unix_nano, self.proto.end_time_unix_nano

    @property
    def is_servers(self) -> bool:
        return bool(self.proto.kind == self.proto.SPAN_KIND_SERVER)


@dataclass
class Collector:
    address: str = ""
    paths: set[str] = field(default_factory=set)
    bodies: list[bytes] = field(default_factory=list)
    _spans: list[Span] = field(default_factory=list)
    _changed: Condition = field(default_factory=Condition)

    @property
    def spans(self) -> list[Span]:
        with self._changed:
            return list(self._spans)

    def request(self, wanted: Callable[[Span], bool]) -> tuple[Span, list[Span]]:
        """Return the server span that a predicate selects, and its children in order of their start."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(s.is_servers and wanted(s) for s in self._spans), DEADLINE)
            [span] = [s for s in self._spans if s.is_servers and wanted(s)]
            children = [s for s in self._spans if s.proto.parent_span_id == span.proto.span_id]
        assert all(child.trace == span.trace for child in children)
        return span, sorted(children, key=lambda s: s.times)

    def trace(self, trace: str) -> tuple[Span, list[Span]]:
        return self.request(lambda span: span.trace == trace)

    def receive(self, body: bytes) -> None:
        with self._changed:
            self.bodies.append(body)
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _values(group.resource.attributes)
                for scope in group.scope_spans:
                    self._spans += [Span(proto, _values(proto.attributes), resource) for proto in scope.spans]
            self._changed.notify_all()


def _values(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


@contextmanager
def over_http() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.paths.add(self.path)
            collector.receive(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.address = f"127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield collector
        server.shutdown()
        thread.join()


@contextmanager
def over_grpc() -> Iterator[Collector]:
    collector = Collector()

    class Servicer:
        def Export(self, request: Any, _: object) -> Any:  # noqa: N802
            collector.receive(request.SerializeToString())
            return ExportTraceServiceResponse()

    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        add_TraceServiceServicer_to_server(Servicer(), server)  # type: ignore[no-untyped-call]
        collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield collector
        server.stop(None).wait()
