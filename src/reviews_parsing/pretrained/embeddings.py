"""Word embeddings of the pretrained model, read from its ONNX file without ONNX Runtime.

The file is a protocol buffer (`onnx.proto`). Only the table of embeddings (int8) is located in it, and only the rows of
the words in question are read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from reviews_parsing.model_folder import MODEL_FILE, TOKENIZER_FILE
from reviews_parsing.pretrained import model_folder

TABLE = "word_embeddings.weight.levels"
# Numbers of fields: ModelProto.graph, GraphProto.initializer, TensorProto.name and TensorProto.raw_data.
_GRAPH, _INITIALIZER, _NAME, _RAW_DATA = 7, 5, 8, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_embeddings(words: Sequence[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the words that the tokenizer has as one token, and their embeddings of length 1, [words, dimensions].

    Raises ModelError if the pretrained model is not installed.
    """
    from tokenizers import Tokenizer

    folder = model_folder()
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    numbers = {word: number for word in words if (number := tokenizer.token_to_id(word)) is not None}
    if not numbers:
        return [], np.empty((0, 0), np.float32)
    with (folder / MODEL_FILE).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start, end = next(place for name, place in _initializers(content) if name.endswith(TABLE))
        width = (end - start) // tokenizer.get_vocab_size()
        rows = [content[start + number * width : start + (number + 1) * width] for number in numbers.values()]
    # Each row has a scale of its own, which does not change its direction.
    vectors = np.frombuffer(b"".join(rows), np.int8).reshape(len(rows), -1).astype(np.float32)
    return list(numbers), vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _initializers(content: mmap.mmap) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the name of each constant of a model, and where its raw data begins and ends."""
    for graph in (place for number, place in _fields(content, 0, len(content)) if number == _GRAPH):
        for number, place in _fields(content, *graph):
            if number == _INITIALIZER:
                fields = dict(_fields(content, *place))
                if _NAME in fields and _RAW_DATA in fields:
                    start, end = fields[_NAME]
                    yield content[start:end].decode(), fields[_RAW_DATA]


def _fields(content: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the number of each field of bytes in a message, and where its value begins and ends."""
    while position < end:
        key, position = _varint(content, position)
        kind = key & 7
        if kind == _BYTES:
            size, position = _varint(content, position)
            yield key >> 3, (position, position + size)
            position += size
        elif kind == _VARINT:
            _, position = _varint(content, position)
        else:
            position += {_FIXED64: 8, _FIXED32: 4}[kind]


def _varint(content: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 127) << shift
        position += 1
        if byte < 128:
            return value, position
        shift += 7
