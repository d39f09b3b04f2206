"""Engines give the same answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reviews_parsing import AspectParser, ModelError, data


def test_every_engine_gives_the_same_answers(champion_folder: Path, parser: AspectParser) -> None:
    texts = [review.text for review in data.read_splits("corpus")["test"]]
    openvino = AspectParser(champion_folder, engine="openvino")
    assert (parser.engine, openvino.engine) == ("onnxruntime", "openvino")
    equal, total, differences = 0, 0, []
    for reviews in zip(parser.parse(texts), openvino.parse(texts), strict=True):
        first, second = ({(a.span, a.entity_group, a.polarity): a.score or 0 for a in r.aspects} for r in reviews)
        equal, total = equal + len(first.keys() & second.keys()), total + max(len(first), len(second))
        differences += [abs(first[key] - second[key]) for key in first.keys() & second.keys()]
    # Activations close to a rounding boundary may be rounded to either side.
    assert equal >= 0.985 * total
    assert sum(differences) / len(differences) < 0.005
    assert max(differences) < 0.1


def test_auto_chooses_an_installed_engine(champion_folder: Path) -> None:
    assert AspectParser(champion_folder, engine="auto").engine in ("onnxruntime", "openvino")


def test_the_error_for_an_unknown_engine_lists_the_engines(champion_folder: Path) -> None:
    with pytest.raises(ModelError, match="choose one of onnxruntime, openvino, auto"):
        AspectParser(champion_folder, engine="abacus")


def test_without_openvino_auto_is_onnx_runtime_and_openvino_is_an_error(champion_folder: Path) -> None:
    program = f"""
import importlib.util
from pathlib import Path
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: None if name == "openvino" else find_spec(name, *args)
from reviews_parsing import AspectParser, ModelError
folder = Path({str(champion_folder)!r})
assert AspectParser(folder, engine="auto").engine == "onnxruntime"
try:
    AspectParser(folder, engine="openvino")
except ModelError as error:
    print(error)
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout == "the engine openvino is not installed; run: pip install 'reviews-parsing[openvino]'\n"
