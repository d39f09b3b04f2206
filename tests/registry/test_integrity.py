"""Hostile and damaged model folders: each ends in one line."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from reviews_parsing import ModelError, pretrained
from reviews_parsing.registry.integrity import require_loadable

VARIANTS = int(os.environ.get("REVIEWS_PARSING_HOSTILE_MODELS", "100"))
"""Variants of each file."""
NODES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    "",
    "x" * 10_000,
    "\ud800",
    [],
    {},
    [[]],
    {"a": 1},
    [None],
    "../../etc/passwd",
)
BYTES = (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b'{"format": 4}', b'{"version": "1.0"}')


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(pretrained.model_folder(), tmp_path_factory.mktemp("model") / "parser"))


@pytest.fixture(autouse=True)
def quick(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the loading of the graph, which no test changes."""
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: None)


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to the nodes of a document, of long lists only the first."""
    items = node.items() if isinstance(node, dict) else enumerate(node[:20]) if isinstance(node, list) else ()
    return [path, *(deeper for key, child in items for deeper in paths(child, (*path, key)))]


def change(document: Any, draw: random.Random, choices: list[tuple[Any, ...]]) -> bytes:
    """Return a document in which one node is removed or replaced."""
    changed = json.loads(json.dumps(document))
    *path, last = draw.choice(choices)
    node = changed
    for key in path:
        node = node[key]
    if draw.random() < 0.3:
        del node[last]
    else:
        node[last] = draw.choice(NODES)
    return json.dumps(changed).encode()


@pytest.mark.parametrize("name", ["parser.json", "tokenizer.json"])
def test_a_hostile_file_loads_or_is_one_short_line(folder: Path, name: str) -> None:
    original = (folder / name).read_bytes()
    document = json.loads(original)
    choices = [path for path in paths(document) if path]
    draw = random.Random(1)
    contents = [*BYTES, original[: len(original) // 2], original + b"x"]
    contents += [change(document, draw, choices) for _ in range(VARIANTS - len(contents))]
    messages = []
    try:
        for content in contents:
            (folder / name).write_bytes(content)
            try:
                require_loadable(folder)
            except ModelError as error:
                messages.append(str(error).replace(str(folder), ""))
    finally:
        (folder / name).write_bytes(original)
    assert len(messages) > len(BYTES)
    assert not [message for message in messages if "\n" in message or len(message) > 400]


def test_a_file_that_is_too_large_is_refused_before_it_is_read(folder: Path) -> None:
    original = (folder / "tokenizer.json").read_bytes()
    try:
        os.truncate(folder / "tokenizer.json", 2**26 + 1)
        with pytest.raises(ModelError, match=r"tokenizer.json has 67,108,865 bytes, more than"):
            require_loadable(folder)
    finally:
        (folder / "tokenizer.json").write_bytes(original)
