"""Small requests that are expensive to read, for the benchmark of attacks and its tests."""

from __future__ import annotations

from tritonclient.grpc import service_pb2 as pb

from reviews_parsing.settings import MODEL_NAME

# Bytes of a body, before it is compressed.
SIZE = 6_900_000


def repeated(begin: bytes, element: bytes, end: bytes) -> bytes:
    """JSON with as many elements as fit into SIZE."""
    return begin + b",".join([element] * (SIZE // (len(element) + 1))) + end


TEXT = b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["Warm bread."]}'
INPUTS = b'{"inputs":[', b"]}"
DATA = b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":[', b"]}]}"
SHAPE = b'{"inputs":[{"name":"text","datatype":"BYTES","data":["a"],"shape":[', b"]}]}"
OUTPUTS = TEXT + b'],"outputs":[', b"]}"

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
