"""Coverage-guided fuzzing of the server's decoders; needs atheris, which the tests do not.

    python tests/attacks/fuzz_decoders.py -runs=1000000

An input is refused as the protocol says, or decoded; any other exception ends the run and leaves the input in a file.
"""

from __future__ import annotations

import gzip
import json
import struct
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

atheris: Any = import_module("atheris")

with atheris.instrument_imports(include=["reviews_parsing.serving", "mlserver.grpc.converters", "mlserver.codecs"]):
    from mlserver.errors import MLServerError
    from mlserver.grpc.dataplane_pb2 import ModelInferRequest

    from reviews_parsing.errors import RequestRefused
    from reviews_parsing.serving import codec, grpc_endpoints
    from reviews_parsing.serving.clients import ClientIdentity
    from reviews_parsing.serving.protocol import RequestLimits, read_request
    from reviews_parsing.settings import Settings

MAX_BYTES, MAX_TEXTS = 100_000, 50
LIMITS = RequestLimits(MAX_TEXTS, 10_000)
IDENTITY = ClientIdentity(Settings(trusted_proxies="192.0.2.0/24, 2001:db8::/32"))


def rest(encoding: str, content: bytes) -> None:
    """Decode a REST body; its first two bytes are the length of the JSON before binary tensors."""
    header = str(struct.unpack("<H", content[:2])[0]) if encoding.endswith("+binary") and len(content) > 1 else None
    payload = codec.decode(
        content[2:] if header else content,
        encoding.partition("+")[0],
        header,
        MAX_BYTES,
        MAX_TEXTS,
        lambda size: None,
    )
    codec.wants_binary(payload)
    read_request(payload, LIMITS)


def grpc(content: bytes) -> None:
    """Decode a gRPC message."""
    message = grpc_endpoints.Message(content, ModelInferRequest.FromString, MAX_BYTES, MAX_TEXTS)
    request = message.parse(lambda size: None)
    read_request(grpc_endpoints.decode(request, MAX_TEXTS), LIMITS)


def identify(content: bytes) -> None:
    """Identify a client by headers in Latin-1."""
    peer, _, forwarded = content.decode("latin-1").partition("\n")
    IDENTITY.identify(peer, forwarded, forwarded)
    IDENTITY.identify("192.0.2.1", "", content.decode("latin-1"))


TARGETS = [
    lambda content: rest("identity", content),
    lambda content: rest("identity+binary", content),
    lambda content: rest("gzip", content),
    lambda content: rest("deflate", content),
    grpc,
    identify,
]


def fuzz(data: bytes) -> None:
    """Send `data` to the target that its first byte selects."""
    try:
        TARGETS[(data or b"\0")[0] % len(TARGETS)](data[1:])
    except RequestRefused as refused:
        if refused.status >= 500:
            raise
    except MLServerError as error:
        if error.status_code >= 500:
            raise


def write_seeds(folder: Path) -> None:
    """Write a valid input for each target."""
    form = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a\n", "é"]}
    document = json.dumps({"id": "1", "inputs": [form], "parameters": {"min_score": 0.5}}).encode()
    packed = struct.pack("<I", 1) + b"a"
    binary = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(packed)}}
    header = json.dumps({"inputs": [binary], "parameters": {"binary_data_output": True}}).encode()
    message = ModelInferRequest(model_name="m", raw_input_contents=[packed])
    message.inputs.add(name="text", datatype="BYTES", shape=[1])
    seeds = [
        document,
        struct.pack("<H", len(header)) + header + packed,
        gzip.compress(document),
        gzip.compress(document),
        message.SerializeToString(),
        b"192.0.2.1\n203.0.113.9, [2001:db8::1]:80, ::ffff:192.0.2.1",
    ]
    for number, seed in enumerate(seeds):
        (folder / str(number)).write_bytes(bytes([number]) + seed)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, suppress(SystemExit):
        write_seeds(Path(folder))
        atheris.Setup([*sys.argv, folder], fuzz)
        atheris.Fuzz()
