"""A folder of parts: every review once, whatever happens on the way."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reviews_parsing.batch import parse_files
from reviews_parsing.errors import DataError
from reviews_parsing.io.filesystems import Folder
from reviews_parsing.parser import AspectParser

from .tables import PRAISE

POINTS = int(os.environ.get("KILL_POINTS", "100"))
ROWS = 160


def reviews(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"{number:04d}", "text": f"{PRAISE[number % len(PRAISE)]} at table {number}."} for number in range(count)
    ]


def jsonl(path: Path, rows: list[dict[str, Any]], bad: int = 0) -> Path:
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    for number in range(bad):
        lines.insert(number * len(lines) // bad, b"{broken %d\n" % number)
    data = b"".join(lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_parts_are_one_table(parser: AspectParser, tmp_path: Path) -> None:
    rows = reviews(50)
    source, folder = jsonl(tmp_path / "in.jsonl", rows, bad=3), tmp_path / "parsed"
    report = parse_files(parser, [str(source)], folder, part_rows=20)
    names = ["_manifest.json", "_rejects-00000.jsonl", "_rejects-00001.jsonl"]
    assert sorted(content(folder)) == [*names, "part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    table = pq.read_table(folder)
    assert table.drop_columns(["aspects"]).to_pylist() == rows
    parse_files(parser, [str(source)], tmp_path / "one.parquet")
    assert table.equals(pq.read_table(tmp_path / "one.parquet"))
    rejects = [json.loads(line) for path in sorted(folder.glob("_rejects*")) for line in path.read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [1, 18, 35]
    assert (report.rows, report.rejected, report.rejects) == (50, 3, f"{folder}/_rejects-*.jsonl")
    assert report.aspects == sum(map(len, table["aspects"].to_pylist()))


def test_what_went_before_is_counted(parser: AspectParser, tmp_path: Path) -> None:
    source, folder = jsonl(tmp_path / "in.jsonl", reviews(50), bad=3), tmp_path / "parsed"
    whole = parse_files(parser, [str(source)], folder, part_rows=20)
    before = content(folder)
    (folder / "part-00001.parquet").unlink()
    (folder / ".part-00001.parquet.0a1b2c3d.new").write_bytes(b"half")
    seen: list[tuple[int, int, int]] = []
    again = parse_files(
        parser, [str(source)], folder, part_rows=20, resume=True, progress=lambda *done: seen.append(done)
    )
    assert content(folder) == before
    assert (again.rows, again.parsed, again.rejected, again.counts) == (50, 50, 3, whole.counts)
    assert again.before == 31
    assert seen == [(33, 53, 33), (53, 53, 53), (53, 53, 53)]


def test_zipped_inputs_and_several_are_cut_in_the_same_places(parser: AspectParser, tmp_path: Path) -> None:
    rows = reviews(30)
    with pa.output_stream(tmp_path / "a.jsonl.zst", compression="zstd") as file:
        file.write(jsonl(tmp_path / "raw", rows[:17]).read_bytes())
    jsonl(tmp_path / "b.jsonl.gz", rows[17:])
    (tmp_path / "in").mkdir()
    pq.write_table(pa.Table.from_pylist(rows[:25]), tmp_path / "in" / "a.parquet", row_group_size=4)
    (tmp_path / "in" / "deep").mkdir()
    text = "id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in rows[25:])
    (tmp_path / "in" / "deep" / "b.csv").write_text(text, encoding="utf-8")
    (tmp_path / "in" / "_notes.csv").write_text("none,of,ours\n", encoding="utf-8")
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    for source in (str(tmp_path / "?.jsonl.*"), f"{tmp_path}/in"):
        folder = tmp_path / f"parsed{len(source)}"
        parse_files(parser, [source], folder, part_rows=7)
        assert pq.read_table(folder).drop_columns(["aspects"]).to_pylist() == rows
        before = content(folder)
        for number in (1, 3, 4):
            (folder / f"part-{number:05d}.parquet").unlink()
        parse_files(parser, [source], folder, part_rows=7, resume=True)
        assert content(folder) == before


def test_an_input_without_rows_is_a_part_without_rows(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n", encoding="utf-8")
    assert parse_files(parser, [str(tmp_path / "in.csv")], f"{tmp_path}/out.d/").rows == 0
    assert pq.read_table(tmp_path / "out.d").column_names == ["id", "text", "aspects"]


def test_only_the_same_goes_on(parser: AspectParser, tmp_path: Path) -> None:
    source, folder = jsonl(tmp_path / "in.jsonl", reviews(5)), tmp_path / "parsed"

    def refused(*inputs: Path, **options: Any) -> str:
        with pytest.raises(DataError) as error:
            parse_files(parser, [str(path) for path in inputs or (source,)], folder, **options)
        return str(error.value)

    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    assert refused() == f"{folder} is not empty: write to another folder"
    assert "holds no _manifest.json" in refused(resume=True)
    (folder / "mine.txt").unlink()
    parse_files(parser, [str(source)], folder, resume=True)
    before = content(folder)
    assert "is not empty: go on with it by --resume, or write to another folder" in refused()
    assert "other values of --min-score: give" in refused(resume=True, min_score=0.5)
    assert "of --text-column, --spans-only and --part-rows" in refused(
        resume=True, text_column="id", spans_only=True, part_rows=2
    )
    other = jsonl(tmp_path / "other.jsonl", reviews(5))
    assert "other values of the inputs" in refused(other, resume=True)
    os.utime(source, ns=(0, 0))
    assert "other values of the inputs" in refused(resume=True)
    assert content(folder) == before
    (folder / "part-00000.parquet").write_bytes(b"PAR1")
    os.utime(source, ns=(0, 0))
    (folder / "_manifest.json").write_bytes(b"{}")
    assert "is no manifest of this version" in refused(resume=True)


def test_one_run_at_a_time_writes_to_a_folder(parser: AspectParser, tmp_path: Path) -> None:
    source, folder = jsonl(tmp_path / "in.jsonl", reviews(5)), tmp_path / "parsed"
    parse_files(parser, [str(source)], folder)
    before = content(folder)
    (folder / "part-00000.parquet").unlink()
    with Folder(str(folder)).lock(), pytest.raises(DataError, match="parsed is written to by another run: wait for it"):
        parse_files(parser, [str(source)], folder, resume=True)
    assert sorted(content(folder)) == ["_manifest.json"]
    parse_files(parser, [str(source)], folder, resume=True)
    assert content(folder) == before


def test_another_model_does_not_go_on(
    parser: AspectParser, tmp_path: Path, champion_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = jsonl(tmp_path / "in.jsonl", reviews(5)), tmp_path / "parsed"
    parse_files(parser, [str(source)], folder)
    for file in champion_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = tmp_path / "parser.json"
    config.write_text(config.read_text().replace('"margin": ', '"margin": 1'))
    with pytest.raises(DataError, match="other values of the model"):
        parse_files(AspectParser(tmp_path), [str(source)], folder, resume=True)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_killed_anywhere_and_resumed_every_review_comes_out_once(parser: AspectParser, tmp_path: Path) -> None:
    """At a hundred points; KILL_POINTS=1000 takes longer."""
    source = jsonl(tmp_path / "in.jsonl", reviews(ROWS), bad=7)
    folder, options = tmp_path / "parsed", {"part_rows": 4}
    parser = AspectParser(parser.folder, threads=1)  # threads do not survive a fork
    began = time.monotonic()
    wait(start(parser, source, tmp_path / "whole", options))
    seconds = time.monotonic() - began
    expected, points = content(tmp_path / "whole"), random.Random(11)
    manifest = expected.pop("_manifest.json")
    killed = 0
    while killed < POINTS:
        child = start(parser, source, folder, options)
        # Some at once, before there is anything; most while parts are written.
        status = wait(child, until=points.uniform(0, seconds / 3) * points.choice([0.1, 1, 1]))
        if status is None:
            os.kill(child, signal.SIGKILL)
            # Or it has ended by itself meanwhile.
            status = wait(child)
        if status == -signal.SIGKILL:
            killed += 1
        else:
            assert status == 0
            check(folder, expected, manifest)
            for path in folder.iterdir():
                path.unlink()
    assert wait(start(parser, source, folder, options)) == 0
    check(folder, expected, manifest)


def check(folder: Path, expected: dict[str, bytes], manifest: bytes) -> None:
    found = content(folder)
    assert found.pop("_manifest.json") == manifest
    assert found == expected
    assert pq.read_table(folder)["id"].to_pylist() == [f"{number:04d}" for number in range(ROWS)]


def start(parser: AspectParser, source: Path, folder: Path, options: dict[str, Any]) -> int:
    """Return a forked process that parses; the model is already loaded."""
    if child := os.fork():
        return child
    status = 1
    try:
        parse_files(parser, [str(source)], folder, resume=True, **options)
        status = 0
    finally:
        os._exit(status)
    raise AssertionError


def wait(child: int, until: float | None = None) -> int | None:
    """Return the exit status of a process, negative for a signal; None if it still runs after `until` seconds."""
    deadline = time.monotonic() + (60 if until is None else until)
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            assert until is not None, "it does not end"
            return None
        time.sleep(0.001)
