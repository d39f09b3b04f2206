"""Hypothesis strategies for mutated V2 requests: in their JSON, their tensors and their framing."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from reviews_parsing.settings import MODEL_NAME

from .client import MODEL, tensor

# A word that is in every text, and therefore may be in no log.
CANARY = "xylophone"
HEADER = "Inference-Header-Content-Length"
PATHS = [
    *[f"{MODEL}/infer"] * 4,
    *(f"{MODEL}/{verb}" for verb in ("generate", "infer_stream", "generate_stream")),
    f"{MODEL}/versions/1/infer",
    f"{MODEL}/versions/2/infer",
    "/v2/models/nobody/infer",
    "/v2/models/%00%ff/infer",
    "/v2/repository/index",
    MODEL,
]
WORDS = ["id", "inputs", "outputs", "parameters", "name", "shape", "datatype", "data", "binary_data_size", "min_score"]

texts = st.lists(st.text(max_size=60).map(lambda text: f"{text} {CANARY}"), max_size=4)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**30, -(2**63), 2**64]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["BYTES", "INT32", "text", "predictions", "1", "", "\ud800"]),
)
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), inner, max_size=3),
    ),
    max_leaves=6,
)


@dataclass(frozen=True)
class Exchange:
    """Bytes for a server; `whole` if their length is as announced, so that they must be answered."""

    sent: bytes
    whole: bool


def _forms(elements: list[str], binary: bool) -> tuple[dict[str, Any], bytes]:
    form = tensor(shape=[len(elements)], data=elements)
    if not binary:
        return {"id": "42", "inputs": [form], "outputs": [{"name": "predictions"}], "parameters": {}}, b""
    packed = pack(elements)
    del form["data"]
    form["parameters"] = {"binary_data_size": len(packed)}
    return {"inputs": [form], "parameters": {"binary_data_output": True}}, packed


def pack(elements: list[str]) -> bytes:
    encoded = [element.encode(errors="surrogatepass") for element in elements]
    return b"".join(struct.pack("<I", len(element)) + element for element in encoded)


def _places(form: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) for each value in a form, at any depth."""
    keys = list(form) if isinstance(form, dict) else range(len(form)) if isinstance(form, list) else ()
    for key in keys:
        yield form, key
        yield from _places(form[key])


def _break(draw: st.DrawFn, form: dict[str, Any]) -> None:
    places = list(_places(form))
    if not places:
        return
    container, key = draw(st.sampled_from(places))
    match draw(st.sampled_from(["drop", "replace", "add"])):
        case "drop":
            del container[key]
        case "replace":
            container[key] = draw(junk)
        case "add" if isinstance(container, dict):
            container[draw(st.sampled_from(WORDS))] = draw(junk)
        case "add":
            container.insert(key, draw(junk))


def _damage(draw: st.DrawFn, content: bytes) -> bytes:
    if not content:
        return content
    place = draw(st.integers(0, len(content) - 1))
    match draw(st.sampled_from(["cut", "change", "insert"])):
        case "cut":
            return content[:place]
        case "change":
            return content[:place] + draw(st.binary(min_size=1, max_size=1)) + content[place + 1 :]
        case _:
            return content[:place] + draw(st.binary(max_size=8)) + content[place:]


def _compress(draw: st.DrawFn, content: bytes, headers: dict[str, str]) -> bytes:
    encoding = draw(st.sampled_from(["gzip", "deflate", "br", "identity", "GZIP, gzip", ""]))
    headers["Content-Encoding"] = encoding
    honest = draw(st.booleans())
    compressors: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
    return compressors.get(encoding, bytes)(content) if honest else content


def _chunked(draw: st.DrawFn, content: bytes) -> bytes:
    size = draw(st.integers(1, max(1, len(content))))
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


# No headers that frame a body: with random ones, client and server would wait for each other.
header_names = st.one_of(
    st.sampled_from(["Accept", "Accept-Encoding", "Content-Type", "Cookie", "Authorization", "Range", "Ce-Id", HEADER]),
    st.text("abcXYZ-_0!", min_size=1, max_size=12).map(lambda name: f"X{name}"),
)
header_values = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    st.binary(max_size=12).map(lambda value: value.decode("latin-1").replace("\r", "").replace("\n", "")),
    st.sampled_from(
        ["multipart/form-data", "application/octet-stream", "0", "-1", "9" * 5000, "gzip;q=0", "x" * 20_000]
    ),
)
rarely = st.sampled_from([False] * 5 + [True])


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    """Return a valid POST with up to three mutations."""
    form, tensors = _forms(draw(texts), draw(st.booleans()))
    for _ in range(draw(st.integers(0, 2))):
        _break(draw, form)
    document = json.dumps(form).encode()
    headers = {"Content-Type": "application/json"}
    if tensors:
        length = len(document) + (draw(st.integers(-20, 20)) if draw(rarely) else 0)
        headers |= {"Content-Type": "application/octet-stream", HEADER: str(length)}
    content = document + tensors
    if draw(rarely):
        content = _damage(draw, content)
    if draw(rarely):
        content = _compress(draw, content, headers)
    if draw(rarely):
        headers |= draw(st.dictionaries(header_names, header_values, max_size=3))
    whole = not draw(rarely)
    if draw(rarely):
        headers["Transfer-Encoding"] = "chunked"
        content = _chunked(draw, content)
    else:
        headers["Content-Length"] = str(len(content))
    if not whole:
        content = content[: draw(st.integers(0, len(content)))][:-1]
    lines = [f"POST {draw(st.sampled_from(PATHS))} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return Exchange("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content, whole)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Return a valid ModelInferRequest with up to three mutations."""
    elements = draw(texts)
    request = pb.ModelInferRequest(model_name=MODEL_NAME, id=draw(st.sampled_from(["", "42", "é\n", "n" * 9000])))
    sent = request.inputs.add(name="text", datatype="BYTES", shape=[len(elements)])
    if draw(st.booleans()):
        request.raw_input_contents.append(pack(elements))
    else:
        sent.contents.bytes_contents.extend(element.encode() for element in elements)
    for happen in draw(st.lists(st.sampled_from(_ACCIDENTS), max_size=2)):
        happen(draw, request, sent)
    content = request.SerializeToString()
    return _damage(draw, content) if draw(rarely) else content


def _parameter(draw: st.DrawFn, request: Any, sent: Any) -> None:
    kinds = {
        "bool_param": st.booleans(),
        "int64_param": st.integers(-(2**63), 2**63 - 1),
        "string_param": st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        "double_param": st.floats(),
        "uint64_param": st.integers(0, 2**64 - 1),
    }
    kind = draw(st.sampled_from(list(kinds)))
    names = st.sampled_from(["min_score", "content_type", "headers", "binary_data_output", "other"])
    where = draw(st.sampled_from([request.parameters, sent.parameters]))
    setattr(where[draw(names)], kind, draw(kinds[kind]))


def _contents(draw: st.DrawFn, _: Any, sent: Any) -> None:
    field = draw(st.sampled_from(["int_contents", "bool_contents", "fp32_contents", "bytes_contents"]))
    getattr(sent.contents, field).extend({"fp32_contents": [0.5], "bytes_contents": [b"\xff\xfe"]}.get(field, [1]))


def _input(draw: st.DrawFn, request: Any, sent: Any) -> None:
    match draw(st.sampled_from(["name", "datatype", "shape", "more", "raw", "output", "model"])):
        case "name":
            sent.name = draw(st.sampled_from(["", "review", "a\nb", "n" * 9000]))
        case "datatype":
            sent.datatype = draw(st.sampled_from(["", "TEXT", "INT32", "FP16", "BOOL", "bytes"]))
        case "shape":
            sent.shape[:] = draw(st.lists(st.sampled_from([0, 1, 2, -1, 2**62]), max_size=4))
        case "more":
            request.inputs.add(name="more", datatype="FP32", shape=[1])
        case "raw":
            request.raw_input_contents.append(draw(st.binary(max_size=12)))
        case "output":
            request.outputs.add(name=draw(st.sampled_from(["", "predictions", "logits"])))
        case "model":
            request.model_version = draw(st.sampled_from(["1", "2", "x" * 9000]))


_ACCIDENTS = [_parameter, _contents, _input]
