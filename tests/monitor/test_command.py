"""`reviews-parsing monitor`: output, exit status, and an HTML report without network access."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from reviews_parsing.monitor import Profile

from .conftest import WriteTraffic

ANSWERS = "version 1 of reviews-parsing-ner-aspects, the champion, answers\n"
# Evidently has usage telemetry: any connection is a failure here.
OFFLINE = """
import socket, sys
def refuse(*_): raise SystemExit("it connects")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from reviews_parsing.cli import main
sys.argv = ["reviews-parsing", *sys.argv[1:]]
main()
"""


def monitor(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", OFFLINE, "monitor", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_no_drift_exits_with_0(with_champion: Path, profile: Profile, write_folder: WriteTraffic) -> None:
    window = profile.features[::2]
    result = monitor(write_folder(window), "--since", "1h")
    assert (result.returncode, result.stderr) == (0, ANSWERS)
    assert f"{len(window)} reviews" in result.stdout
    assert "no drift" in result.stdout
    assert (
        f"0 of {len(window)} reviews in a language that the model does not read (0.0%; 0.0% expected)" in result.stdout
    )


def test_drift_exits_with_3_and_writes_a_report(
    with_champion: Path, profile: Profile, write_folder: WriteTraffic, tmp_path: Path
) -> None:
    capitals = profile.features.copy()
    capitals[:, profile.extractor.names.index("capitals")] = 1
    capitals[:7, profile.extractor.names.index("foreign")] = 1
    folder, page = write_folder(capitals), tmp_path / "drift.html"
    result = monitor(folder, "-o", page, "--json")
    assert (result.returncode, result.stderr) == (3, ANSWERS)
    document = json.loads(result.stdout)
    assert (document["drifted"], document["reviews"]) == (True, len(capitals))
    assert (document["versions"], document["report"]) == (["1"], str(page))
    assert document["foreign"] == {"reviews": 7, "of": len(capitals), "expected": 0}
    first, *rest = document["changes"]
    assert (first["number"], first["seen"], first["drifted"]) == ("capitals", 1, True)
    assert not any(change["drifted"] for change in rest)
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in profile.extractor.names)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=.?https?:", text)
    assert "capitals" in monitor(folder).stdout


def test_an_impossible_comparison_exits_with_1_and_a_line(
    with_champion: Path, champion_folder: Path, profile: Profile, write_folder: WriteTraffic, tmp_path: Path
) -> None:
    folder = write_folder(np.zeros((29, len(profile.extractor.names)), np.float32))
    older = tmp_path / "older"
    older.mkdir()
    (older / "parser.json").write_bytes((champion_folder / "parser.json").read_bytes())
    for arguments, message in (
        ([folder], "the window holds 29 reviews"),
        ([tmp_path / "none"], "does not exist"),
        ([folder, "--model", older], "has no profile.parquet"),
    ):
        result = monitor(*arguments)
        assert (result.returncode, result.stdout) == (1, "")
        (line,) = result.stderr.replace(ANSWERS, "").strip().splitlines()
        assert message in line
    assert monitor(folder, "--since", "soon").returncode == 2
