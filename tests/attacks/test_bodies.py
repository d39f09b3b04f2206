"""Small requests that are expensive to read: the cost of each is bounded by its bytes."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable

import grpc
import pytest
from hostile_requests import BODIES, MESSAGES, SIZE, request_of, text_input
from tritonclient.grpc import service_pb2 as pb

from serving.client import DEADLINE, MODEL, Server

from .conftest import bounded

INFER = f"{MODEL}/infer"
HEADER = "Inference-Header-Content-Length"


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zlib.compress], ids=["plain", "gzip", "deflate"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_json_costs_no_more_than_its_bytes(victim: Server, body: bytes, compress: Callable[[bytes], bytes]) -> None:
    encoding = {bytes: "identity", gzip.compress: "gzip", zlib.compress: "deflate"}[compress]
    sent = compress(body)
    with bounded(victim, len(sent)):
        answer = victim.post(INFER, sent, {"Content-Encoding": encoding})
    assert answer.status in (400, 413)
    assert len(answer.error) <= 300


def test_binary_tensors_of_empty_texts_cost_no_more_than_their_bytes(victim: Server) -> None:
    form = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": SIZE // 4 * 4}}
    header = json.dumps({"inputs": [form]}).encode()
    with bounded(victim, SIZE):
        answer = victim.post(INFER, header + bytes(SIZE // 4 * 4), {HEADER: str(len(header))})
    assert answer.status == 413
    assert "REVIEWS_PARSING_MAX_TEXTS" in answer.error


@pytest.mark.parametrize("compression", list(grpc.Compression), ids=lambda value: value.name)
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_messages_cost_no_more_than_their_bytes(victim: Server, message: bytes, compression: grpc.Compression) -> None:
    compressors: dict[grpc.Compression, Callable[[bytes], bytes]] = {
        grpc.Compression.Gzip: gzip.compress,
        grpc.Compression.Deflate: zlib.compress,
    }
    sent = compressors.get(compression, bytes)
    refusals = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    with (
        grpc.insecure_channel(f"127.0.0.1:{victim.grpc}") as channel,
        bounded(victim, len(sent(message))),
    ):
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        assert infer.future(message, compression=compression, timeout=DEADLINE).code() in refusals


def test_a_message_that_decompresses_to_more_than_the_limit_is_refused(victim: Server) -> None:
    message = bytes(200_000_000)
    with grpc.insecure_channel(f"127.0.0.1:{victim.grpc}") as channel, bounded(victim, len(gzip.compress(message))):
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        outcome = infer.future(message, compression=grpc.Compression.Gzip, timeout=DEADLINE)
        assert outcome.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("compression", list(grpc.Compression), ids=lambda value: value.name)
def test_a_compressed_message_is_answered(victim: Server, compression: grpc.Compression) -> None:
    message = text_input(contents={"bytes_contents": [b"The soup was warm and the waiter kind."]})
    with grpc.insecure_channel(f"127.0.0.1:{victim.grpc}") as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
        )
        answer = infer(message, compression=compression, timeout=DEADLINE)
    [prediction] = answer.outputs[0].contents.bytes_contents
    assert json.loads(prediction)


def test_strings_of_a_binary_tensor_that_claim_more_than_there_is(victim: Server) -> None:
    raw = struct.pack("<I", 2**31) + b"abc"
    message = request_of(inputs=[{"name": "text", "datatype": "BYTES", "shape": [1]}], raw_input_contents=[raw])
    with grpc.insecure_channel(f"127.0.0.1:{victim.grpc}") as channel:
        outcome = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(message, timeout=DEADLINE)
        assert outcome.code() == grpc.StatusCode.INVALID_ARGUMENT
