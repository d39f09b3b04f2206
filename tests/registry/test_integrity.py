"""Hostile and damaged model folders: each ends in one line."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reviews_parsing import ModelError, engines, pretrained
from reviews_parsing.model_folder import ParserConfig
from reviews_parsing.parser import AspectParser
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


@pytest.mark.parametrize("name", ["parser.json", "tokenizer.json"])
def test_a_parser_reads_no_file_that_is_too_large(tmp_path: Path, name: str) -> None:
    """A folder on disk is not fetched, so that no fetch has bounded it."""
    for file in ("parser.json", "tokenizer.json", "model.onnx"):
        (tmp_path / file).write_text("{}")
    os.truncate(tmp_path / name, 2**27)
    with pytest.raises(ModelError, match=rf"{name} has 134,217,728 bytes, more than"):
        AspectParser(tmp_path)


@pytest.mark.parametrize(("window", "margin"), [(0, 0), (-1, 0), (64, 64), (64, -1), (10**9, 1), (1e400, 0), ("x", 0)])
def test_windows_of_no_possible_model_are_refused(folder: Path, tmp_path: Path, window: Any, margin: Any) -> None:
    form = json.loads((folder / "parser.json").read_text()) | {"window": window, "margin": margin}
    (tmp_path / "parser.json").write_text(json.dumps(form))
    with pytest.raises(ModelError, match=r"is damaged \(parser.json: "):
        ParserConfig.read(tmp_path)


NAMES: tuple[Any, ...] = (
    "FOOD",
    [1, 2],
    [["FOOD"]],
    [None],
    ["FOOD", "FOOD"],
    [""],
    ["\x1b[31mFOOD"],
    ["\ud800"],
    ["x" * 5000],
)
NUMBERS: tuple[float, ...] = (float("nan"), float("inf"), 1e400, -1e308, 1e7)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (("taxonomy", "categories"), NAMES),
        (("taxonomy", "polarities"), NAMES),
        (("taxonomy", "implicit"), NAMES),
        (("languages",), NAMES),
        *((("calibration", name), NUMBERS) for name in ("tag_scale", "polarity_scale", "implicit_bias")),
        (("calibration", "threshold"), (*NUMBERS, -0.1, 1.5)),
        (("transitions", 3, 2), NUMBERS),
        (("opinion_transitions", 1, 1), NUMBERS),
        (("link_bias", 5), NUMBERS),
    ],
    ids=str,
)
def test_names_and_numbers_that_would_be_wrong_answers_are_refused(
    folder: Path, tmp_path: Path, path: tuple[str | int, ...], values: tuple[Any, ...]
) -> None:
    for value in values:
        form = json.loads((folder / "parser.json").read_text())
        node = form
        for key in path[:-1]:
            node = node[key]
        assert path[-1] in node or isinstance(path[-1], int)
        node[path[-1]] = value
        (tmp_path / "parser.json").write_text(json.dumps(form))
        with pytest.raises(ModelError, match=r"is damaged \(parser.json: .*; fetch it again") as caught:
            ParserConfig.read(tmp_path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"categories": ["FOOD"]}, "tag_logits of width 27, not 3"),
        ({"polarities": ["negative", "positive", "very", "very much", "x"]}, "polarity_logits of width "),
        ({"implicit": [f"CATEGORY {number}" for number in range(200)]}, "implicit_logits of width "),
    ],
    ids=str,
)
def test_labels_that_the_graph_does_not_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    monkeypatch.undo()
    folder = Path(shutil.copytree(pretrained.model_folder("pretrained-fast"), tmp_path / "parser"))
    form = json.loads((folder / "parser.json").read_text())
    del form["transitions"]
    (folder / "parser.json").write_text(json.dumps(form | {"taxonomy": form["taxonomy"] | change}))
    with pytest.raises(ModelError, match=f"the model has an output {words}"):
        AspectParser(folder)


EXTERNAL: dict[str, Callable[[Path, Path], str]] = {
    "absolute": lambda folder, secret: str(secret),
    "above": lambda folder, secret: f"../{secret.name}",
    "link": lambda folder, secret: link(folder / "weights.bin", secret),
    "link to a folder": lambda folder, secret: f"{link(folder / 'weights', secret.parent)}/{secret.name}",
}


def link(path: Path, target: Path) -> str:
    path.symlink_to(target)
    return path.name


def graph(location: str, domain: str = "") -> bytes:
    """Return an ONNX model that adds four numbers of an external file to its input."""
    from onnx import TensorProto, helper

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    node = helper.make_node("Add", ["x", "w"], ["y"], domain=domain)
    sets = [helper.make_opsetid(name, 17) for name in {"", domain}]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [tensor]), opset_imports=sets)
    model.ir_version = 9
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", EXTERNAL)
def test_a_graph_reads_no_file_outside_its_folder(
    tmp_path: Path, kind: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the engine is real here
    pytest.importorskip(engine)
    secret, folder = tmp_path / "secret.bin", tmp_path / "model"
    secret.write_bytes(b"\0" * 16)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(graph(EXTERNAL[kind](folder, secret)))
    with pytest.raises(Exception, match=r"(?i)outside|escapes|not allowed"):
        engines.load(folder / "model.onnx", engine)


def test_a_graph_names_no_operator_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (tmp_path / "weights.bin").write_bytes(b"\0" * 16)
    (tmp_path / "model.onnx").write_bytes(graph("weights.bin", domain="my.operators"))
    with pytest.raises(Exception, match=r"my\.operators"):
        engines.load(tmp_path / "model.onnx")


WATCH = """
import pickle, sys
from pathlib import Path

folder, read = Path(sys.argv[1]), set()

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, Path)) and Path(arguments[0]).is_relative_to(folder):
        read.add(Path(arguments[0]).name)
    if event == "pickle.find_class":
        sys.exit("it unpickles")

from reviews_parsing import AspectParser
sys.addaudithook(watch)
sys.path.append(str(folder))
assert AspectParser(folder).parse(["The ramen was great but the waiter was rude."])[0].aspects
assert not [name for name, module in sys.modules.items() if str(folder) in str(getattr(module, "__file__", ""))]
print(sorted(read))
"""


def test_a_parser_opens_its_own_files_only(tmp_path: Path) -> None:
    """No pickle, no module, and none of the other files in the folder."""
    folder = Path(shutil.copytree(pretrained.model_folder(), tmp_path / "parser"))
    for name in (
        "python_model.pkl",
        "sitecustomize.py",
        "tokenizer_config.json",
        "pytorch_model.bin",
        "model.onnx.data",
    ):
        (folder / name).write_bytes(pickle.dumps(print))
    done = subprocess.run([sys.executable, "-c", WATCH, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # The engine and the tokenizer open their files without Python.
    assert done.stdout.strip() == "['parser.json']"


def test_a_file_that_is_too_large_is_refused_before_it_is_read(folder: Path) -> None:
    original = (folder / "tokenizer.json").read_bytes()
    try:
        os.truncate(folder / "tokenizer.json", 2**26 + 1)
        with pytest.raises(ModelError, match=r"tokenizer.json has 67,108,865 bytes, more than"):
            require_loadable(folder)
    finally:
        (folder / "tokenizer.json").write_bytes(original)
