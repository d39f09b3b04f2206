"""Build contexts of the images: no labelled review and, for the server, no model, which comes from the registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from .rendering import PROJECT

TRAINING = ("src/reviews_parsing/pretrained/checkpoint/", "src/reviews_parsing/data/corpus/")
MODEL = "src/reviews_parsing/pretrained/model/"
SERVER_IGNORE = PROJECT / ".dockerignore"
LARGEST = 2.5e6


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.splitlines() if (PROJECT / name).is_file()]


def included(ignore: Path) -> list[str]:
    """Return the files that a builder reads: the last pattern that matches a file or a folder above it decides."""
    lines = [line.strip() for line in ignore.read_text(encoding="utf-8").splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]

    def is_included(name: str) -> bool:
        paths = [name, *map(str, Path(name).parents)]
        kept = True
        for pattern in patterns:
            bare = pattern.removeprefix("!").removeprefix("**/")
            anywhere = bare != pattern.removeprefix("!")
            if any(fnmatch(Path(path).name if anywhere else path, bare) for path in paths):
                kept = pattern.startswith("!")
        return kept

    return [name for name in tracked_files() if is_included(name)]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the server's build context, and nothing else."""
    folder = tmp_path_factory.mktemp("context")
    for name in included(SERVER_IGNORE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)
    return folder


def test_the_server_is_built_without_models_and_labelled_reviews() -> None:
    names = included(SERVER_IGNORE)
    assert not [name for name in names if name.startswith((*TRAINING, MODEL))]
    assert {"pyproject.toml", "requirements.lock", "src/reviews_parsing/pretrained/__init__.py"} <= set(names)
    assert sum((PROJECT / name).stat().st_size for name in names) <= LARGEST


def test_the_workers_of_ray_are_built_without_what_only_training_reads() -> None:
    names = included(PROJECT / "deploy" / "ray" / "Dockerfile.dockerignore")
    assert not [name for name in names if name.startswith(TRAINING)]
    assert [name for name in names if name.startswith(MODEL)]


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
    done = run(context, tmp_path, "-m", "reviews_parsing.cli", *arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
