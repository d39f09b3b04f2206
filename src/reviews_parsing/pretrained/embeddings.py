"""Word embeddings of the pretrained model, read from its ONNX file without ONNX Runtime.

The file is a protocol buffer (`onnx.proto`), whose fields are found by their numbers, without the package onnx.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reviews_parsing.errors import ModelError
from reviews_parsing.model_folder import MODEL_FILE, TOKENIZER_FILE
from reviews_parsing.pretrained import model_folder

TABLE = "word_embeddings.weight.levels"
# Numbers of fields: ModelProto.graph, GraphProto.initializer, TensorProto.name and TensorProto.raw_data.
_GRAPH, _INITIALIZER, _NAME, _RAW_DATA = 7, 5, 8, 9


def read_embeddings(words: Sequence[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the words that the tokenizer has as one token, and their embeddings of length 1, [words, dimensions].

    Raises ModelError if the pretrained model is not installed or has no embeddings.
    """
    from tokenizers import Tokenizer

    folder = model_folder()
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    numbers = {word: number for word in words if (number := tokenizer.token_to_id(word)) is not None}
    if not numbers:
        return [], np.empty((0, 0), np.float32)
    table = np.frombuffer(_read_table((folder / MODEL_FILE).read_bytes()), np.int8)
    rows = table.reshape(tokenizer.get_vocab_size(), -1)[list(numbers.values())]
    # Each row has a scale of its own, which does not change its direction.
    vectors = rows.astype(np.float32)
    return list(numbers), vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _read_table(model: bytes) -> bytes:
    """Return the raw data of the constant `TABLE`."""
    for graph in (value for number, value in _fields(model) if number == _GRAPH):
        for tensor in (dict(_fields(value)) for number, value in _fields(graph) if number == _INITIALIZER):
            if tensor[_NAME].endswith(TABLE.encode()):
                return bytes(tensor[_RAW_DATA])
    raise ModelError(f"{MODEL_FILE} of the pretrained model has no {TABLE}; reinstall reviews-parsing")


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each field of a serialized message of any type."""
    from google.protobuf.empty_pb2 import Empty
    from google.protobuf.unknown_fields import UnknownFieldSet

    for field in UnknownFieldSet(Empty.FromString(message)):
        yield field.field_number, field.data
