"""Small requests that are expensive to read: the cost of each is bounded by its bytes."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from reviews_parsing.settings import MODEL_NAME
from serving.client import DEADLINE, MODEL, Server, tensor

from .conftest import bounded

INFER = f"{MODEL}/infer"
SIZE = 6_900_000
HEADER = "Inference-Header-Content-Length"


def repeated(begin: bytes, element: bytes, end: bytes) -> bytes:
    """JSON with as many elements as fit into SIZE."""
    return begin + b",".join([element] * (SIZE // (len(element) + 1))) + end


INPUTS = b'{"inputs":[', b"]}"
DATA = b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":[', b"]}]}"
SHAPE = b'{"inputs":[{"name":"text","datatype":"BYTES","data":["a"],"shape":[', b"]}]}"
OUTPUTS = json.dumps({"inputs": [tensor()]}).encode()[:-1] + b',"outputs":[', b"]}"

BODIES: dict[str, bytes] = {
    "empty inputs": repeated(INPUTS[0], b"{}", INPUTS[1]),
    "inputs that are lists": repeated(INPUTS[0], b"[]", INPUTS[1]),
    "inputs that are numbers": repeated(INPUTS[0], b"1", INPUTS[1]),
    "inputs with a field": repeated(INPUTS[0], b'{"":0}', INPUTS[1]),
    "inputs that are nearly right": repeated(INPUTS[0], b'{"name":"text","shape":[1],"datatype":"BYTES"}', INPUTS[1]),
    "texts of nothing": repeated(DATA[0], b'""', DATA[1]),
    "texts of a quote": repeated(DATA[0], rb'"\""', DATA[1]),
    "texts of backslashes": repeated(DATA[0], rb'"\\\\\\"', DATA[1]),
    "elements that are objects": repeated(DATA[0], b"{}", DATA[1]),
    "elements that are floats": repeated(DATA[0], b"1.5", DATA[1]),
    "a long shape": repeated(SHAPE[0], b"1", SHAPE[1]),
    "many outputs": repeated(OUTPUTS[0], b"{}", OUTPUTS[1]),
    "many parameters": b'{"parameters":{' + b",".join(b'"%d":0' % n for n in range(500_000)) + b"}}",
    "deep lists": b"[" * SIZE,
    "deep objects": b'{"":' * (SIZE // 4),
    "quotes": b'"' * SIZE,
    "one text": DATA[0] + b'"' + b"x" * SIZE + b'"' + DATA[1],
    "one text of escapes": DATA[0] + b'"' + rb"\u00e9" * (SIZE // 6) + b'"' + DATA[1],
    "spaces": b" " * SIZE,
}


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


def request_of(**fields: object) -> bytes:
    message: bytes = pb.ModelInferRequest(model_name=MODEL_NAME, **fields).SerializeToString()
    return message


def text_input(**fields: object) -> bytes:
    """Return a request whose input has other `fields`."""
    return request_of(inputs=[{"name": "text", "datatype": "BYTES", "shape": [1], **fields}])


MESSAGES: dict[str, bytes] = {
    "empty inputs": request_of() + b"\x2a\x00" * (SIZE // 2),
    "empty outputs": request_of() + b"\x32\x00" * (SIZE // 2),
    "empty parameters": request_of() + b"\x22\x00" * (SIZE // 2),
    "empty raw contents": request_of() + b"\x3a\x00" * (SIZE // 2),
    "unknown fields": request_of() + b"\x78\x00" * (SIZE // 2),
    "empty texts": text_input(contents={"bytes_contents": [b""] * (SIZE // 2)}),
    "truth values": text_input(contents={"bool_contents": [True] * SIZE}),
    "numbers": text_input(contents={"int_contents": [1] * SIZE}),
    "a long shape": text_input(shape=[1] * SIZE),
    "raw empty texts": text_input()[:] + b"\x3a" + b"\x80\x80\x80\x03" + bytes(3 << 21),
    "raw numbers": request_of(
        inputs=[{"name": "text", "datatype": "INT8", "shape": [SIZE]}], raw_input_contents=[bytes(SIZE)]
    ),
    "zeros": bytes(SIZE),
}


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
