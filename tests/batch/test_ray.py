"""Ray's workers write the very parts that one machine writes, whichever of them is killed under way.

One cluster of two workers, for starting one takes the longest of all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from reviews_parsing.batch import Ray, parse_files
from reviews_parsing.errors import ClusterError, DataError
from reviews_parsing.parser import AspectParser

from .tables import PRAISE

pytest.importorskip("ray.data", reason="needs the extra ray")
# Ray's own code gives rise to warnings of its dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    rows = [{"id": number, "text": f"{PRAISE[number % 5]} at table {number}."} for number in range(160)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n", encoding="utf-8")
    return path


# In a process of its own: Ray leaves processes behind it for a moment, of which Python would warn.
PROGRAM = """
import json
import os
import signal
import sys
from pathlib import Path

import psutil

from reviews_parsing.batch import Ray, parse_files
from reviews_parsing.parser import AspectParser

model, source, output = sys.argv[1:]
killed, seen = [], []


def progress(*done):
    seen.append(done)
    if not killed:
        ours = psutil.Process().children(recursive=True)
        worker = next(child for child in ours if child.name().startswith("ray::MapWorker"))
        killed.append(worker.pid)
        os.kill(worker.pid, signal.SIGKILL)


options = {"part_rows": 10, "resume": True, "executor": Ray(workers=2), "progress": progress}
report = parse_files(AspectParser(Path(model)), [source], output, **options)
print(json.dumps([report.rows, report.rejected, killed, seen]))
"""


def test_a_worker_that_is_killed_loses_nothing(
    parser: AspectParser, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # it would keep a token in the user's home
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 would starve them beside other tests
    parse_files(parser, [str(source)], tmp_path / "one", part_rows=10)
    command = [sys.executable, "-c", PROGRAM, str(parser.folder), str(source), str(tmp_path / "many")]
    for _ in range(5):  # Ray waits 30 s for itself, too little on a machine that does other things
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "no Ray cluster can be started" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    rows, rejected, killed, seen = json.loads(done.stdout.splitlines()[-1])
    assert (rows, rejected) == (160, 1)
    assert len(killed) == 1
    assert not psutil.pid_exists(killed[0])
    assert content(tmp_path / "many") == content(tmp_path / "one")
    assert seen == sorted(seen)
    assert seen[-1] == [161, 161, 161]


def test_what_cannot_be_shared_out(parser: AspectParser, source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only a folder of parts can be shared out by Ray"):
        parse_files(parser, [str(source)], tmp_path / "out.parquet", executor=Ray())


def test_a_cluster_that_is_not_there(
    parser: AspectParser, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ClusterError, match="no Ray cluster can be reached at 'auto' "):
        parse_files(parser, [str(source)], tmp_path / "out", executor=Ray("auto"))


def test_a_finished_folder_needs_no_cluster(parser: AspectParser, source: Path, tmp_path: Path) -> None:
    parse_files(parser, [str(source)], tmp_path / "out")
    report = parse_files(parser, [str(source)], tmp_path / "out", resume=True, executor=Ray("127.0.0.1:1"))
    assert (report.rows, report.before) == (160, 160)
