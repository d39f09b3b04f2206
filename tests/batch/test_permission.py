"""Tests of missing permissions: one line of error before any work, and no files left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Root may do everything, unless it gives that up. Nothing is parsed here, so there is no need of a model.
AS_ANYBODY = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
PROGRAM = """
import json
import sys
from pathlib import Path

from reviews_parsing.batch import parse_files
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse, check_targets

def said(function, *arguments):
    try:
        function(*arguments)
    except DataError as error:
        return str(error)

print(json.dumps([
    *(said(parse_files, None, [name], name_out) for name, name_out in json.loads(sys.argv[1])),
    *(said(analyse, [name]) for name in ("closed", "closed/in.parquet", "closed/*.parquet")),
    *(said(check_targets, *targets) for targets in (
        (Path("locked/r.html"), None), (None, Path("locked")), (None, Path("locked/t")), (Path("closed/r.html"), None)
    )),
]))
"""


@pytest.fixture
def places(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text("text\nFine soup\n")
    for name, mode in {"secret.csv": 0, "secret.parquet": 0, "secret.jsonl.gz": 0}.items():
        (tmp_path / name).write_bytes(b"text\nFine soup\n")
        (tmp_path / name).chmod(mode)
    for name, mode in {"locked": 0o555, "closed": 0}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    return tmp_path


def test_no_permission(places: Path) -> None:
    tries = {
        ("secret.csv", "out.csv"): "secret.csv cannot be read (Permission denied)",
        ("secret.jsonl.gz", "out.csv"): "secret.jsonl.gz cannot be read (Permission denied)",
        ("secret.parquet", "out.csv"): "secret.parquet cannot be read (Permission denied)",
        ("closed", "out.csv"): "closed cannot be read (Permission denied)",
        (".", "out.csv"): "./closed cannot be read (Permission denied)",
        ("closed/in.csv", "out.csv"): "closed/in.csv cannot be reached (Permission denied)",
        ("in.csv", "locked/out.csv"): "locked cannot be written to (no permission)",
        ("in.csv", "closed/out.csv"): "closed/out.csv cannot be reached (Permission denied)",
    }
    others = [
        "closed cannot be read (Permission denied)",
        "closed/in.parquet cannot be reached (Permission denied)",
        "closed/*.parquet cannot be reached (Permission denied)",
        "locked cannot be written to (no permission)",
        "locked cannot be written to (no permission)",
        "locked cannot be written to (no permission)",
        "closed/r.html cannot be reached (Permission denied)",
    ]
    command = [*AS_ANYBODY, sys.executable, "-c", PROGRAM, json.dumps(list(tries))]
    done = subprocess.run(command, cwd=places, capture_output=True, text=True, check=False)
    (places / "closed").chmod(0o755)
    assert done.stderr == ""
    for said, expected in zip(json.loads(done.stdout), [*tries.values(), *others], strict=True):
        assert said.startswith(expected)
        assert "\n" not in said
    left = sorted(path.name for path in places.rglob("*"))
    assert left == ["closed", "in.csv", "locked", "secret.csv", "secret.jsonl.gz", "secret.parquet"]
