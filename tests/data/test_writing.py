import errno
import os
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reviews_parsing import data
from reviews_parsing.cli.app import app
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Opinion, Review

RICH = Review(
    "a",
    "Ribs and slaw, yum",
    (
        Aspect("FOOD", "Ribs", 0, 4, "positive", Opinion("yum", 15, 18)),
        Aspect("FOOD", "Ribs and slaw", 0, 13, "positive"),
        Aspect("PRICE", "Ribs", 0, 4),
        Aspect("OVERALL", polarity="positive", score=0.5),
    ),
    {"city": "Graz"},
)


@pytest.mark.parametrize(
    ("name", "losses"),
    [
        ("x.jsonl", {}),
        ("x.parquet", {}),
        ("folder", {}),
        ("x.conll", {"implicit aspects": 1, "opinions": 1, "overlapping aspects": 2, "polarities": 1}),
    ],
)
def test_losses_are_counted(tmp_path: Path, name: str, losses: dict[str, int]) -> None:
    assert data.write([RICH], tmp_path / name) == Counter(losses)
    (decoded,) = data.read(tmp_path / name)
    assert (decoded.id, decoded.text) == (RICH.id, RICH.text)


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        (
            "x.xml",
            None,
            r"x\.xml: \.xml files can be read but not written: give one of \.jsonl, \.conll, \.parquet, \.acos",
        ),
        ("x.arrow", None, r"x\.arrow: \.arrow files can be read but not written"),
        ("x.xml", "semeval14", "format 'semeval14' can be read but not written: give one of jsonl, conll, hf, acos"),
        ("x", "semeval16", "format 'semeval16' can be read but not written"),
    ],
)
def test_formats_that_are_only_read_are_refused(tmp_path: Path, name: str, format: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        data.write([RICH], tmp_path / name, format)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_several_splits_need_a_folder(tmp_path: Path) -> None:
    splits = {"train": [RICH], "test": [RICH]}
    with pytest.raises(DataError, match=r"x\.jsonl is one file, for splits train, test: name one with --split"):
        data.write_splits(splits, tmp_path / "x.jsonl")
    assert not data.write_splits(splits, tmp_path / "folder")
    assert list(data.read_splits(tmp_path / "folder")) == ["train", "test"]


def test_edges_on_white_space_move_and_are_counted(tmp_path: Path) -> None:
    review = Review("a", "Hot ribs ", (Aspect("FOOD", " ribs ", 3, 9), Aspect("STAFF", " ", 3, 4)))
    losses = data.write([review], tmp_path / "x.conll")
    assert losses == Counter({"span edges": 1, "overlapping aspects": 1})
    empty = Review("a", "Hot ribs", (Aspect("FOOD", " ", 3, 4),))
    assert data.write([empty], tmp_path / "x.conll") == Counter({"aspects that cover no token": 1})


@pytest.mark.parametrize("name", ["x.jsonl", "folder"])
def test_a_full_disk_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data.write([RICH], tmp_path / name)

    def raise_full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", raise_full)
        patch.setattr(Path, "write_bytes", raise_full)
        with pytest.raises(
            DataError, match=rf"{name} cannot be written \(No space left on device\): nothing was changed"
        ):
            data.write([RICH, RICH], tmp_path / name)
    assert len(data.read(tmp_path / name)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_cannot_be_replaced_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.write([RICH], tmp_path / "folder")
    replace = Path.replace
    failures: list[Path] = []

    def fail_on_new(self: Path, target: Path) -> Path:
        # The first move out of the staging folder is that of the new folder, the second puts the old one back.
        if ".new" in (self.suffix, self.parent.suffix) and not failures:
            failures.append(self)
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail_on_new)
        with pytest.raises(DataError, match="Permission denied"):
            data.write([RICH, RICH], tmp_path / "folder")
    assert len(data.read(tmp_path / "folder")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_an_interrupted_write_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.write([RICH], tmp_path / "x.jsonl")
    assert not list(tmp_path.iterdir())


def test_invalid_targets_are_one_line_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no reviews to write to .*x.jsonl"):
        data.write([], tmp_path / "x.jsonl")
    with pytest.raises(DataError, match=r"unknown ending '.csv': give one of .jsonl"):
        data.write([RICH], tmp_path / "x.csv")
    with pytest.raises(DataError, match=r"cannot be written \(No such file or directory\)"):
        data.write([RICH], tmp_path / "none" / "x.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"cannot be written \(Is a directory\)"):
        data.write([RICH], tmp_path / "folder", format="jsonl")
    with pytest.raises(DataError, match="lone surrogate U\\+D83C"):
        data.write([Review("a", "half \ud83c")], tmp_path / "x.conll")
    assert not list((tmp_path / "folder").iterdir())


def test_an_output_does_not_replace_an_input(tmp_path: Path) -> None:
    file, link = tmp_path / "a.jsonl", tmp_path / "link.jsonl"
    file.write_text('{"id": "1", "text": "Nice soup", "aspects": []}\n')
    link.symlink_to(file)
    before = file.read_bytes()
    for arguments in (["convert", file, link, "--to", "conll"], ["suggest", file, "-n", "1", "-o", file]):
        result = CliRunner().invoke(app, ["data", *map(str, arguments)])
        assert "is also an input: write to another file" in str(result.exception)
    assert file.read_bytes() == before
