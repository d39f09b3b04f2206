"""Files in buckets are read and written like files in folders, in either kind of store."""

from __future__ import annotations

import gzip
import json
import re
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ports import free_port
from reviews_parsing.batch import parse_files
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import object_store
from reviews_parsing.io.globs import translate
from reviews_parsing.parser import AspectParser
from stores import Store

ROWS = [{"id": number, "text": f"Lovely soup, slow waiter {number}."} for number in range(20)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def test_a_folder_in_a_bucket_becomes_a_folder_in_a_bucket(parser: AspectParser, bucket: Store) -> None:
    bucket.put("reviews/in/a.jsonl.gz", gzip.compress(LINES.encode() + b"{broken\n"))
    bucket.put("reviews/in/deep/b.csv", b"id,text\n20,Warm bread\n")
    bucket.put("reviews/in/_old/c.csv", b"none,of,ours\n")
    with bucket.files.open_output_stream("reviews/in/c.parquet") as stream:
        pq.write_table(pa.table({"id": [7], "text": ["Warm bread"]}), stream)
    inputs, output = [bucket.url("reviews/in/a*.gz"), bucket.url("reviews/in/c.parquet")], bucket.url("reviews/out/")
    report = parse_files(parser, inputs, output, part_rows=8)
    assert (report.rows, report.rejected, report.rejects) == (21, 1, f"{output}_rejects-*.jsonl")
    found = bucket.names("reviews/out")
    assert found == ["_manifest.json", "_rejects-00002.jsonl", *(f"part-{n:05d}.parquet" for n in range(4))]
    before = {name: bucket.read(f"reviews/out/{name}") for name in found}
    assert [row["id"] for row in pq.read_table("reviews/out", filesystem=bucket.files).to_pylist()] == [*range(20), 7]
    bucket.files.delete_file("reviews/out/part-00001.parquet")
    again = parse_files(parser, inputs, output, part_rows=8, resume=True)
    assert (again.rows, again.before) == (21, 13)
    assert {name: bucket.read(f"reviews/out/{name}") for name in found} == before
    parse_files(parser, [bucket.url("reviews/in")], bucket.url("reviews/out.jsonl"))
    ids = [json.loads(line)["id"] for line in bucket.read("reviews/out.jsonl").splitlines()]
    assert ids == [*range(20), 7, "20"]
    with pytest.raises(DataError, match=f"{output} is not empty: go on with it by --resume"):
        parse_files(parser, [bucket.url("reviews/in/c.parquet")], output)


def test_one_file_in_a_bucket(parser: AspectParser, bucket: Store) -> None:
    source, output = bucket.url("reviews/one.csv"), bucket.url("reviews/one.jsonl")
    bucket.put("reviews/one.csv", b"id,text\n1,Warm bread\n2\n")
    report = parse_files(parser, [source], output)
    assert report.rejects == bucket.url("reviews/one.rejects.jsonl")
    assert json.loads(bucket.read("reviews/one.jsonl"))["id"] == "1"
    assert json.loads(bucket.read("reviews/one.rejects.jsonl"))["raw"] == "2"
    bucket.put("reviews/one.csv", b"id,text\n1,Warm bread\n")
    parse_files(parser, [source], output)
    assert bucket.names("reviews") == ["one.csv", "one.jsonl"]


def test_what_is_not_there(parser: AspectParser, bucket: Store, tmp_path: Path) -> None:
    def refused(source: str, output: str) -> str:
        with pytest.raises(DataError) as error:
            parse_files(parser, [source], output)
        (line,) = str(error.value).splitlines()
        return line

    (tmp_path / "in.csv").write_text("text\nWarm bread\n")
    local, out = str(tmp_path / "in.csv"), str(tmp_path / "out.parquet")
    file, glob, nobodys = (bucket.url(path) for path in ("reviews/no.csv", "reviews/no*.csv", "nobodys-bucket/"))
    assert refused(file, out).startswith(f"{file} does not exist, or holds no file")
    assert refused(glob, out).startswith(f"{glob} matches no file")
    assert "there is no such bucket" in refused(f"{nobodys}in/", out)
    assert "there is no such bucket" in refused(f"{nobodys}in.csv", out)
    assert "there is no such bucket" in refused(local, f"{nobodys}out/")
    assert "there is no such bucket" in refused(local, f"{nobodys}out.parquet")
    assert "names no bucket" in refused(bucket.url(""), out)
    assert not Path(out).exists()


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    monkeypatch.setattr(object_store, "GOOGLE_RETRY_LIMIT", timedelta(seconds=0.1))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
    for file in ("gs://reviews/a.csv", "s3://reviews/a.csv"):
        with pytest.raises(DataError, match=f"^{file} cannot be reached .the store cannot be reached.: check"):
            filesystems.stat(file)


@pytest.mark.parametrize(
    ("pattern", "matched", "other"),
    [
        ("s3://b/*.csv", "s3://b/x.csv", "s3://b/d/x.csv"),
        ("s3://b/**/*.csv", "s3://b/c/d/x.csv", "s3://b/c/x.tsv"),
        ("s3://b/**/*.csv", "s3://b/x.csv", "s3://b/x.csv.gz"),
        ("s3://b/[!a]?.csv", "s3://b/xy.csv", "s3://b/ay.csv"),
    ],
)
def test_globs_of_urls(pattern: str, matched: str, other: str) -> None:
    assert re.fullmatch(translate(pattern), matched)
    assert not re.fullmatch(translate(pattern), other)
