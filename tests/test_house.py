"""The house keeps its rules: imports go upward, starting is cheap, the lock names no host."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import reviews_parsing
from reviews_parsing.settings import Settings

PACKAGE = Path(reviews_parsing.__file__).parent
PROJECT = PACKAGE.parent.parent


def test_rooms_import_in_one_direction_and_without_circles() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_class_name_has_one_meaning() -> None:
    modules = (ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py"))
    names = Counter(node.name for module in modules for node in ast.walk(module) if isinstance(node, ast.ClassDef))
    assert not {name for name, count in names.items() if count > 1 and not name.startswith("_")}


def test_what_the_package_exports() -> None:
    assert set(reviews_parsing.__all__) == {
        "Aspect",
        "AspectParser",
        "DataError",
        "ModelError",
        "Opinion",
        "ParsedReview",
        "PromotionRefused",
        "Review",
        "ReviewsParsingError",
        "Taxonomy",
        "TrackingError",
    }
    assert all(getattr(reviews_parsing, name) for name in reviews_parsing.__all__)


def test_importing_loads_nothing_heavy_and_help_stays_light() -> None:
    heavy = "torch transformers mlflow mlserver onnxruntime pandas pyarrow sklearn matplotlib lightkube starlette httpx"
    heavy_for_help = f"{heavy} duckdb numpy pydantic tokenizers rich.progress reviews_parsing.schema reviews_parsing.io"
    programs = {
        "import reviews_parsing": f"{heavy_for_help} typer rich",
        "from reviews_parsing.cli import app": heavy_for_help,
    }
    for program, modules in programs.items():
        check = f"{program}; import sys; sys.exit(' '.join(m for m in {modules.split()!r} if m in sys.modules) or 0)"
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_lock_pins_every_dependency_and_names_no_host() -> None:
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [
        *project["project"]["dependencies"],
        *(r for extra in project["project"]["optional-dependencies"].values() for r in extra),
        *project["dependency-groups"]["dev"],
    ]
    names = {re.split(r"[<>=\[;~! ]", requirement)[0].lower() for requirement in declared}
    assert names - pinned == {"torch", project["project"]["name"]}
    assert not {name for name in pinned if name.startswith("nvidia") or name == "triton"}


def test_every_setting_is_documented() -> None:
    pages = ("reference/serving.md", "how-to/models.md", "how-to/rollout.md", "how-to/page.md")
    text = "".join((PROJECT / "docs" / page).read_text(encoding="utf-8") for page in pages)
    for name, field in Settings.model_fields.items():
        variable = str(field.validation_alias or f"REVIEWS_PARSING_{name.upper()}")
        assert f"| `{variable}` |" in text
        if isinstance(field.default, int | float):
            assert f"| `{variable}` | {field.default} |" in text
