"""A file is under its final name when it is whole, and never before; memory does not grow with it."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reviews_parsing.batch import parse_files
from reviews_parsing.batch.writers import ROW_GROUP_ROWS
from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser

from .tables import Table, read, write

SETUP = """
import signal
import sys
from pathlib import Path
from reviews_parsing.batch import parse_files
from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser
# Python leaves SIGINT alone where whoever started it ignores it, as shells do for what they put in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
folder, *names = sys.argv[1:]
parser = AspectParser(Path(folder))
"""


def program(body: str, *arguments: Path | str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SETUP + body, *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_full_disk_is_one_line_and_leaves_nothing(champion_folder: Path, tmp_path: Path, form: str) -> None:
    rows = [{"text": "", "noise": secrets.token_hex(200)} for _ in range(500)]
    write(Table(["text", "noise"], rows), tmp_path / "in.parquet")
    body = """
import resource
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
try:
    parse_files(parser, ["in.parquet"], Path(names[0]))
except DataError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)  # coverage.py writes at the end
"""
    output = f"out.{form}"
    (tmp_path / output).write_bytes(b"of yesterday")
    out, err = program(body, champion_folder, output, cwd=tmp_path).communicate(timeout=60)
    assert (out, err) == (f"{output} cannot be written (File too large): nothing was changed there\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", output]
    assert (tmp_path / output).read_bytes() == b"of yesterday"


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_interruption_leaves_nothing(champion_folder: Path, tmp_path: Path, form: str) -> None:
    text = "The soup was cold, the bread was warm and the harbour glittered. " * 20
    source = write(Table(["text"], [{"text": text}] * 1000), tmp_path / "in.csv")
    process = program("parse_files(parser, ['in.csv'], Path(names[0]))", champion_folder, f"out.{form}", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while list(tmp_path.iterdir()) == [source] and process.poll() is None and time.monotonic() < deadline:
        pass
    assert [path.name for path in tmp_path.iterdir() if path != source] != [f"out.{form}"]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert err.strip().endswith("KeyboardInterrupt")
    assert list(tmp_path.iterdir()) == [source]


def test_an_input_that_changes_on_the_way_leaves_nothing(parser: AspectParser, tmp_path: Path) -> None:
    source = write(Table(["text"], [{"text": ""}] * 3000), tmp_path / "in.csv")

    def grow(done: int, total: int, rows: int) -> None:
        with source.open("a", encoding="utf-8") as file:
            file.write("one,too many\n" * 2000)

    with pytest.raises(DataError, match=r"in\.csv has changed while it was read"):
        parse_files(parser, [str(source)], tmp_path / "out.parquet", progress=grow)
    assert list(tmp_path.iterdir()) == [source]


def test_parquet_is_written_in_compressed_row_groups(parser: AspectParser, tmp_path: Path) -> None:
    rows = [{"text": "", "id": str(number)} for number in range(ROW_GROUP_ROWS + 100)]
    parse_files(parser, [str(write(Table(["text", "id"], rows), tmp_path / "in.parquet"))], tmp_path / "out.parquet")
    metadata = pq.read_metadata(tmp_path / "out.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS, 100]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert [row["id"] for row in read(tmp_path / "out.parquet")[1]] == [row["id"] for row in rows]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize(
    ("form", "target"), [("csv", "jsonl"), ("jsonl", "csv"), ("parquet", "parquet"), ("-", "parquet")]
)
def test_memory_is_flat(champion_folder: Path, tmp_path: Path, form: str, target: str) -> None:
    small = [{"text": "", "noise": secrets.token_hex(4000)} for _ in range(600)]
    suffix = "jsonl" if form == "-" else form
    sizes = []
    for name, times in (("small", 4), ("large", 28)):
        path = tmp_path / f"{name}.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.Table.from_pylist(small * times), path, row_group_size=10**9, use_dictionary=False)
        else:
            write(Table(["text", "noise"], small * times), path)
        sizes.append(path.stat().st_size)
    body = """
import json
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
peaks = []
for size in ("small", "large"):
    source = f"{size}.{names[0]}"
    if names[2:]:
        sys.stdin = open(source, encoding="utf-8")
    parse_files(parser, ["-" if names[2:] else source], Path(f"out.{names[1]}"))
    peaks.append(peak())
print(json.dumps(peaks))
"""
    extra = ["stdin"] if form == "-" else []
    out, err = program(body, champion_folder, suffix, target, *extra, cwd=tmp_path).communicate(timeout=120)
    assert err == ""
    before, after = json.loads(out)
    assert after - before < (sizes[1] - sizes[0]) / 2
