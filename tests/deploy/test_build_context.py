"""Build contexts of the images: no labelled review and, for the server, no model, which comes from the registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from ports import free_port
from reviews_parsing import pretrained

from .rendering import PROJECT

TRAINING = ("src/reviews_parsing/pretrained/checkpoint/", "src/reviews_parsing/data/corpus/")
MODELS = [f"src/reviews_parsing/pretrained/{folder}/" for folder in pretrained.MODELS.values()]
SERVER_IGNORE = PROJECT / ".dockerignore"
LARGEST = 2.5e6


def is_included(name: str, ignore: Path) -> bool:
    """Return whether a builder reads a file: the last pattern that matches it or a folder above it decides."""
    paths = [name, *map(str, Path(name).parents)]
    included = True
    for line in ignore.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        bare = pattern.removeprefix("**/")
        if any(fnmatch(Path(path).name if bare != pattern else path, bare) for path in paths):
            included = line.startswith("!")
    return included


def files(ignore: Path) -> list[str]:
    """Return what a builder reads of this checkout."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    present = {name for name in listed.stdout.splitlines() if (PROJECT / name).is_file()}
    present |= {str(path.relative_to(PROJECT)) for path in (PROJECT / "src").rglob("*") if path.is_file()}
    return sorted(name for name in present if is_included(name, ignore))


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files of the server's build context."""
    folder = tmp_path_factory.mktemp("context")
    for name in files(SERVER_IGNORE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)
    return folder


DOCKERFILES = PROJECT / "deploy"
IGNORES = {
    "server": SERVER_IGNORE,
    "tools": DOCKERFILES / "tools" / "Dockerfile.dockerignore",
    "ray": DOCKERFILES / "ray" / "Dockerfile.dockerignore",
    "train": DOCKERFILES / "train" / "Dockerfile.dockerignore",
}


def test_training_has_the_corpus_and_the_checkpoint_and_takes_its_champion_from_the_registry() -> None:
    assert all(is_included(f"{folder}file", IGNORES["train"]) for folder in TRAINING)
    assert not any(is_included(f"{model}model.onnx", IGNORES["train"]) for model in MODELS)


@pytest.mark.parametrize("image", [image for image in IGNORES if image != "train"])
def test_images_are_built_without_what_only_training_reads(image: str) -> None:
    ignore = IGNORES[image]
    for folder in TRAINING:
        assert not is_included(f"{folder}file", ignore)
    # Ray's workers may parse with a pretrained model; the server's comes from the registry, the page asks the server.
    for model in MODELS:
        assert is_included(f"{model}model.onnx", ignore) == (image == "ray")
    assert {"pyproject.toml", "requirements.lock", "src/reviews_parsing/pretrained/__init__.py"} <= set(files(ignore))


def test_the_context_of_the_server_is_small() -> None:
    assert sum((PROJECT / name).stat().st_size for name in files(SERVER_IGNORE)) <= LARGEST


IMPORTED = """
from importlib import import_module
from reviews_parsing import pretrained
from reviews_parsing.errors import ModelError
for name in ("registry", "data", "parser", "serving.repository", "serving.runtime", "serving.server", "cli.app"):
    import_module(f"reviews_parsing.{name}")
assert not pretrained.is_installed()
try:
    pretrained.model_folder()
except ModelError as error:
    print(error)
"""


def run(context: Path, home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "REVIEWS_PARSING_"))}
    variables |= {"PYTHONPATH": str(context / "src"), "REVIEWS_PARSING_HOME": str(home)}
    return subprocess.run([sys.executable, *command], env=variables, capture_output=True, text=True, check=False)


def test_the_package_imports_without_them_and_says_so_in_one_line(context: Path, tmp_path: Path) -> None:
    done = run(context, tmp_path, "-c", IMPORTED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the pretrained model is not installed here")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve"], "champion"),
        (["parse", "--model", "pretrained", "A text."], "the pretrained model is not installed here"),
        (["data", "stats", "corpus"], "corpus"),
    ],
)
def test_a_command_that_needs_them_ends_in_one_line(
    context: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    ports = [f"--{name}-port={free_port()}" for name in ("http", "grpc", "metrics")] if arguments == ["serve"] else []
    done = run(context, tmp_path, "-m", "reviews_parsing.cli", *arguments, *ports)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
