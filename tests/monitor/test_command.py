"""`reviews-parsing monitor`: what it prints, how it ends, and a page that asks nothing of any network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from reviews_parsing.monitor import Profile

from .conftest import Keep

# Evidently would tell its makers how it is used: here any connection is a failure.
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


def test_alike_ends_with_0_and_says_so(with_champion: Path, profile: Profile, keep: Keep) -> None:
    seen = profile.numbers[::2]
    done = monitor(keep(seen), "--since", "1h")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(seen)} reviews" in done.stdout
    assert "no drift" in done.stdout


def test_drifted_ends_with_3_and_a_page(with_champion: Path, profile: Profile, keep: Keep, tmp_path: Path) -> None:
    shouted = profile.numbers.copy()
    shouted[:, profile.gauge.names.index("capitals")] = 1
    folder, page = keep(shouted), tmp_path / "drift.html"
    done = monitor(folder, "-o", page, "--json")
    assert (done.returncode, done.stderr) == (3, "")
    form = json.loads(done.stdout)
    assert (form["drifted"], form["reviews"]) == (True, len(shouted))
    assert (form["versions"], form["report"]) == (["1"], str(page))
    first, *others = form["changes"]
    assert (first["number"], first["seen"], first["drifted"]) == ("capitals", 1, True)
    assert not any(change["drifted"] for change in others)
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in profile.gauge.names)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=.?https?:", text)
    assert "capitals" in monitor(folder).stdout


def test_what_it_cannot_tell_ends_with_1_and_a_line(
    with_champion: Path, champion_folder: Path, profile: Profile, keep: Keep, tmp_path: Path
) -> None:
    folder = keep(np.zeros((29, len(profile.gauge.names)), np.float32))
    old = tmp_path / "old"
    old.mkdir()
    (old / "parser.json").write_bytes((champion_folder / "parser.json").read_bytes())
    for arguments, said in (
        ([folder], "the window holds 29 reviews"),
        ([tmp_path / "none"], "does not exist"),
        ([folder, "--model", old], "has no profile.parquet"),
    ):
        done = monitor(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.strip().splitlines()
        assert said in line
    assert monitor(folder, "--since", "soon").returncode == 2
