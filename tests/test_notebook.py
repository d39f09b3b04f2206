"""The notebook runs from top to bottom."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def test_the_notebook_runs_on_a_small_setting(tmp_path: Path) -> None:
    target = tmp_path / "train.ipynb"
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--log-level", "ERROR"]
    parameters = ["-p", "limit", "60", "-p", "epochs", "1"]
    done = subprocess.run(
        [*command, str(PROJECT / "notebooks" / "train.ipynb"), str(target), *parameters],
        env={**os.environ, "IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    cells = json.loads(target.read_text(encoding="utf-8"))["cells"]
    pictures = [o for c in cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads((PROJECT / "notebooks" / "train.ipynb").read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") for cell in cells)
