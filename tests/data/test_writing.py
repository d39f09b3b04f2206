import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from reviews_parsing import data
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
    ("name", "lost"),
    [
        ("x.jsonl", {}),
        ("x.parquet", {}),
        ("folder", {}),
        ("x.conll", {"implicit aspects": 1, "opinions": 1, "overlapping aspects": 2, "polarities": 1}),
        ("x.xml", {"meta city": 1, "opinions": 1, "scores": 1}),
    ],
)
def test_what_a_format_cannot_hold_is_counted(tmp_path: Path, name: str, lost: dict[str, int]) -> None:
    assert data.write([RICH], tmp_path / name) == Counter(lost)
    (found,) = data.read(tmp_path / name)
    assert (found.id, found.text) == (RICH.id, RICH.text)


def test_the_form_of_2014_has_no_categories_for_terms(tmp_path: Path) -> None:
    lost = data.write([RICH], tmp_path / "x.xml", format="semeval14")
    assert lost == Counter({"meta city": 1, "opinions": 1, "scores": 1, "categories": 3})


def test_edges_on_white_space_move_and_are_counted(tmp_path: Path) -> None:
    review = Review("a", "Hot ribs ", (Aspect("FOOD", " ribs ", 3, 9), Aspect("STAFF", " ", 3, 4)))
    lost = data.write([review], tmp_path / "x.conll")
    assert lost == Counter({"span edges": 1, "overlapping aspects": 1})
    empty = Review("a", "Hot ribs", (Aspect("FOOD", " ", 3, 4),))
    assert data.write([empty], tmp_path / "x.conll") == Counter({"aspects that cover no token": 1})


@pytest.mark.parametrize("name", ["x.jsonl", "folder"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data.write([RICH], tmp_path / name)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr(Path, "write_text", full)
        with pytest.raises(
            DataError, match=rf"{name} cannot be written \(No space left on device\): nothing was changed"
        ):
            data.write([RICH, RICH], tmp_path / name)
    assert len(data.read(tmp_path / name)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_cannot_take_its_place_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.write([RICH], tmp_path / "folder")
    replace = Path.replace

    def stubborn(self: Path, target: Path) -> Path:
        if self.suffix == ".new":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stubborn)
        with pytest.raises(DataError, match="Permission denied"):
            data.write([RICH, RICH], tmp_path / "folder")
    assert len(data.read(tmp_path / "folder")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_stop_in_the_middle_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        data.write([RICH], tmp_path / "x.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_bad_target_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no reviews to write to .*x.jsonl"):
        data.write([], tmp_path / "x.jsonl")
    with pytest.raises(DataError, match=r"the ending '.csv' says no format: give one of jsonl"):
        data.write([RICH], tmp_path / "x.csv")
    with pytest.raises(DataError, match=r"cannot be written \(No such file or directory\)"):
        data.write([RICH], tmp_path / "none" / "x.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"cannot be written \(Is a directory\)"):
        data.write([RICH], tmp_path / "folder", format="jsonl")
    with pytest.raises(DataError, match="lone surrogate U\\+D83C"):
        data.write([Review("a", "half \ud83c")], tmp_path / "x.conll")
    assert not list((tmp_path / "folder").iterdir())
