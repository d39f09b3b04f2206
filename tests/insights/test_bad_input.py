"""Input from which little can be said: one clear line each, and no wrong figure."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from insights.making import parquet, review
from reviews_parsing.errors import DataError
from reviews_parsing.insights import Insights, analyse, write_report, write_tables

TEXT = "The [soup](FOOD{}) was fine."


def insights(folder: Path, number: int, columns: Any, **options: Any) -> Insights:
    rows = [review(TEXT.format("+-"[n % 3 == 0]), **columns(n)) for n in range(number)]
    return analyse([parquet(folder / "p.parquet", rows)], **options)


def test_one_group_is_not_compared(tmp_path: Path) -> None:
    result = insights(tmp_path, 40, lambda n: {"business": "Hill"})
    [comparison] = result.comparisons
    assert comparison.note == (
        "There is nothing to compare by 'business': all other reviews have the same 'business', or are fewer than 10."
    )
    assert (comparison.tests, comparison.contrasts, result.findings) == ((), (), ())


def test_reviews_of_one_day_have_no_changes(tmp_path: Path) -> None:
    result = insights(tmp_path, 40, lambda n: {"date": "2024-03-05"})
    assert result.notes == ("All dated reviews are of 2024-03-05, so nothing can change over time.",)
    assert (result.changes, result.findings) == ((), ())
    with pytest.raises(DataError, match="no review is dated from 2024-02-01 to 2024-02-29: choose other ranges"):
        analyse([tmp_path / "p.parquet"], compare="month")


def test_ten_thousand_groups_are_pooled(tmp_path: Path) -> None:
    result = insights(tmp_path, 10_100, lambda n: {"business": f"Place {n if n < 10_000 else 0}"})
    [comparison] = result.comparisons
    assert [(group.value, group.reviews) for group in comparison.groups] == [("Place 0", 101), ("9,999 others", 9_999)]
    result = insights(tmp_path, 10_000, lambda n: {"business": f"Place {n}"})
    [comparison] = result.comparisons
    assert "most of its groups have fewer than 10 reviews" in str(comparison.note)
    write_report(result, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 20 * 10**6


def test_ratings_in_words_are_no_ratings(tmp_path: Path) -> None:
    result = insights(tmp_path, 40, lambda n: {"stars": ("good", "bad")[n % 2]})
    assert result.rating is None
    [note] = [note for note in result.notes if "stars" in note]
    assert note.startswith("Column 'stars' is not used as a rating: ")
    with pytest.raises(DataError, match="no ratings in column 'stars'"):
        analyse([tmp_path / "p.parquet"], rating="stars")


def test_a_full_disk_is_one_line_and_leaves_the_former_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = insights(tmp_path, 4, lambda n: {})
    write_report(result, tmp_path / "report.html")
    before = (tmp_path / "report.html").read_bytes()

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    for write, name in ((write_report, "report.html"), (write_tables, "tables")):
        with pytest.raises(DataError, match="No space left on device") as caught:
            write(result, tmp_path / name)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "report.html").read_bytes() == before
