"""Whatever runs the graph, the answers are the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reviews_parsing import AspectParser, ModelError, data


def test_every_engine_gives_the_same_answers(champion_folder: Path, parser: AspectParser) -> None:
    texts = [review.text for review in data.read_splits("corpus")["test"]]
    other = AspectParser(champion_folder, engine="openvino")
    assert (parser.engine, other.engine) == ("onnxruntime", "openvino")
    same, moved = 0, []
    for one, two in zip(parser.parse(texts), other.parse(texts), strict=True):
        found = [[(a.span, a.entity_group, a.polarity) for a in parsed.aspects] for parsed in (one, two)]
        if found[0] == found[1]:
            same += 1
            moved += [abs((a.score or 0) - (b.score or 0)) for a, b in zip(one.aspects, two.aspects, strict=True)]
    # What lies a last digit from a step of the rounding may fall on either side of it.
    assert same >= 0.97 * len(texts)
    assert sum(moved) / len(moved) < 0.005
    assert max(moved) < 0.1


def test_auto_is_one_of_those_installed(champion_folder: Path) -> None:
    assert AspectParser(champion_folder, engine="auto").engine in ("onnxruntime", "openvino")


def test_an_engine_that_there_is_not_is_named_with_those_that_there_are(champion_folder: Path) -> None:
    with pytest.raises(ModelError, match="choose one of onnxruntime, openvino, auto"):
        AspectParser(champion_folder, engine="abacus")


def test_without_openvino_auto_is_onnx_runtime_and_openvino_says_what_to_install(champion_folder: Path) -> None:
    program = f"""
import importlib.util
from pathlib import Path
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "openvino" else found(name, *more)
from reviews_parsing import AspectParser, ModelError
folder = Path({str(champion_folder)!r})
assert AspectParser(folder, engine="auto").engine == "onnxruntime"
try:
    AspectParser(folder, engine="openvino")
except ModelError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "the engine openvino is not installed; run: pip install 'reviews-parsing[openvino]'\n"
