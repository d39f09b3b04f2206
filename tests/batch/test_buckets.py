"""Files in buckets are read and written like files in folders; an S3 server on loopback stands for the store."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from reviews_parsing.batch import parse_files
from reviews_parsing.batch.sources import _translate
from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser

ROWS = [{"id": number, "text": f"Lovely soup, slow waiter {number}."} for number in range(20)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> pafs.S3FileSystem:
    """A bucket `reviews`, and the environment of somebody who may use it."""
    for name, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "mine", "SECRET_ACCESS_KEY": "mine"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    store = pafs.S3FileSystem(endpoint_override=endpoint, allow_bucket_creation=True)
    store.create_dir("reviews")
    return store


def put(store: pafs.S3FileSystem, path: str, data: bytes) -> None:
    with store.open_output_stream(path, compression=None) as stream:
        stream.write(data)


def names(store: pafs.S3FileSystem, folder: str) -> list[str]:
    return sorted(info.base_name for info in store.get_file_info(pafs.FileSelector(folder)))


def test_a_folder_in_a_bucket_becomes_a_folder_in_a_bucket(parser: AspectParser, store: pafs.S3FileSystem) -> None:
    put(store, "reviews/in/a.jsonl.gz", gzip.compress(LINES.encode() + b"{broken\n"))
    put(store, "reviews/in/deep/b.csv", b"id,text\n20,Warm bread\n")
    put(store, "reviews/in/_old/c.csv", b"none,of,ours\n")
    with store.open_output_stream("reviews/in/c.parquet") as stream:
        pq.write_table(pa.table({"id": [7], "text": ["Warm bread"]}), stream)
    inputs = ["s3://reviews/in/a*.gz", "s3://reviews/in/c.parquet"]
    report = parse_files(parser, inputs, "s3://reviews/out/", part_rows=8)
    assert (report.rows, report.rejected, report.rejects) == (21, 1, "s3://reviews/out/_rejects-*.jsonl")
    found = names(store, "reviews/out")
    assert found == ["_manifest.json", "_rejects-00002.jsonl", *(f"part-{n:05d}.parquet" for n in range(4))]
    before = {name: store.open_input_file(f"reviews/out/{name}").read() for name in found}
    assert [row["id"] for row in pq.read_table("reviews/out", filesystem=store).to_pylist()] == [*range(20), 7]
    store.delete_file("reviews/out/part-00001.parquet")
    again = parse_files(parser, inputs, "s3://reviews/out/", part_rows=8, resume=True)
    assert (again.rows, again.before) == (21, 13)
    assert {name: store.open_input_file(f"reviews/out/{name}").read() for name in found} == before
    parse_files(parser, ["s3://reviews/in"], "s3://reviews/out.jsonl")
    with store.open_input_file("reviews/out.jsonl") as file:
        assert [json.loads(line)["id"] for line in file.read().splitlines()] == [*range(20), 7, "20"]
    with pytest.raises(DataError, match="s3://reviews/out/ is not empty: go on with it by --resume"):
        parse_files(parser, ["s3://reviews/in/c.parquet"], "s3://reviews/out/")


def test_one_file_in_a_bucket(parser: AspectParser, store: pafs.S3FileSystem, tmp_path: Path) -> None:
    put(store, "reviews/one.csv", b"id,text\n1,Warm bread\n2\n")
    report = parse_files(parser, ["s3://reviews/one.csv"], "s3://reviews/one.jsonl")
    assert report.rejects == "s3://reviews/one.rejects.jsonl"
    with store.open_input_file("reviews/one.jsonl") as file:
        assert json.loads(file.read())["id"] == "1"
    with store.open_input_file("reviews/one.rejects.jsonl") as file:
        assert json.loads(file.read())["raw"] == "2"
    put(store, "reviews/one.csv", b"id,text\n1,Warm bread\n")
    parse_files(parser, ["s3://reviews/one.csv"], "s3://reviews/one.jsonl")
    assert "one.rejects.jsonl" not in names(store, "reviews")


def test_what_is_not_there(parser: AspectParser, store: pafs.S3FileSystem, tmp_path: Path) -> None:
    def refused(source: str, output: str) -> str:
        with pytest.raises(DataError) as error:
            parse_files(parser, [source], output)
        (line,) = str(error.value).splitlines()
        return line

    (tmp_path / "in.csv").write_text("text\nWarm bread\n")
    local, out = str(tmp_path / "in.csv"), str(tmp_path / "out.parquet")
    assert refused("s3://reviews/no.csv", out).startswith("s3://reviews/no.csv does not exist, or holds no file")
    assert refused("s3://reviews/no*.csv", out).startswith("s3://reviews/no*.csv matches no file")
    assert "there is no such bucket" in refused("s3://nobodys-bucket/in/", out)
    assert "there is no such bucket" in refused(local, "s3://nobodys-bucket/out/")
    assert "there is no such bucket" in refused(local, "s3://nobodys-bucket/out.parquet")
    assert "names no bucket" in refused("s3://", out)
    assert not Path(out).exists()


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
    import re

    assert re.fullmatch(_translate(pattern), matched)
    assert not re.fullmatch(_translate(pattern), other)
