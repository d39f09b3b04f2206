"""MLServer's doors, mended: where it differs from the V2 protocol it cannot be told to do better, only be replaced."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from reviews_parsing.settings import Settings

# How many bytes of a body are JSON, where binary tensors follow.
HEADER_LENGTH = "Inference-Header-Content-Length"
# A character is at most 12 bytes of JSON (an escaped surrogate pair); the rest of a request is small.
BYTES_PER_CHARACTER, OTHER_BYTES = 12, 1 << 20


def mend() -> None:
    """Give every MLServer that this process makes from now on the doors of `rest` and `rpc`, the plane behind them and
    the life of `lifecycle`. Twice is as once.
    """
    import mlserver.grpc.server
    import mlserver.metrics.server
    import mlserver.registry
    import mlserver.rest.server
    import mlserver.server

    from reviews_parsing.serving import lifecycle, plane, rest, rpc

    mlserver.rest.server.create_app = rest.create_app
    mlserver.grpc.server.InferenceServicer = rpc.Servicer
    mlserver.grpc.server.add_GRPCInferenceServiceServicer_to_server = rpc.add_servicer
    mlserver.server.GRPCServer = rpc.Server
    mlserver.server.DataPlane = plane.Plane
    mlserver.server.RESTServer = lifecycle.Rest
    mlserver.server.ModelRepositoryHandlers = lifecycle.Handlers
    mlserver.server.MLServer.start = lifecycle.start
    mlserver.server.MLServer.stop = lifecycle.stop
    mlserver.registry.SingleModelRegistry = lifecycle.Versions
    # MLServer handles signals; these two mean to leave them alone, by a method that uvicorn no longer has.
    mlserver.rest.server._NoSignalServer.capture_signals = _leave_signals
    mlserver.metrics.server._NoSignalServer.capture_signals = _leave_signals


def max_bytes() -> int:
    """Bytes of the largest request that may hold as many characters as one may hold."""
    return Settings().max_characters * BYTES_PER_CHARACTER + OTHER_BYTES


def _leave_signals(_: object) -> AbstractContextManager[None]:
    return nullcontext()
