"""Files of traffic: what went in comes out, the right window of it, and a line says what is wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reviews_parsing import DataError, ModelError
from reviews_parsing.monitor import Profile, read, write
from reviews_parsing.monitor.bins import Bins

from .conftest import Keep


def test_what_went_in_comes_out(profile: Profile, keep: Keep) -> None:
    keep(profile.numbers[:40])
    window = read(keep(profile.numbers[40:], version="2"), profile)
    np.testing.assert_array_equal(np.sort(window.numbers, axis=0), np.sort(profile.numbers, axis=0))
    assert window.versions == ("1", "2")
    assert window.end - window.begin in (timedelta(minutes=1), timedelta(minutes=2))


def test_a_file_holds_numbers_and_minutes_and_nothing_else(profile: Profile, keep: Keep) -> None:
    (file,) = keep(profile.numbers[:40]).iterdir()
    schema = pq.read_schema(file)
    assert schema.names == ["at", *profile.gauge.names]
    assert {str(schema.field(name).type) for name in profile.gauge.names} == {"float"}
    assert len(schema.metadata[b"reviews_parsing"]) < 100


def test_since_leaves_out_what_was_before(profile: Profile, keep: Keep) -> None:
    keep(profile.numbers[:40], minutes_ago=90)
    folder = keep(profile.numbers[40:75], minutes_ago=10)
    assert len(read(folder, profile, timedelta(hours=1)).numbers) == 35
    assert len(read(folder, profile, timedelta(hours=2)).numbers) == 75
    with pytest.raises(DataError, match=r"no review was seen in the last 0:05:00 .*--since"):
        read(folder, profile, timedelta(minutes=5))


def test_the_oldest_files_go(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    minutes = np.zeros(1, np.int64)
    for _ in range(4):
        write(tmp_path, profile, "1", minutes, profile.numbers[:1], keep=2)
    assert len(list(tmp_path.iterdir())) == 3


def test_of_two_models_the_one_is_compared_that_is_asked_for(profile: Profile, keep: Keep) -> None:
    other = replace(profile, digest="another")
    folder = keep(profile.numbers[:50], version="4", profile=other)
    with pytest.raises(DataError, match=r"is of another model \(version 4\); name that one with --model"):
        read(folder, profile)
    keep(profile.numbers[:40])
    assert len(read(folder, profile).numbers) == 40
    assert read(folder, other).versions == ("4",)


def test_each_mistake_has_a_line(profile: Profile, keep: Keep, tmp_path: Path) -> None:
    def line(folder: Path) -> str:
        with pytest.raises(DataError) as refused:
            read(folder, profile)
        return str(refused.value)

    assert "does not exist; give the folder that REVIEWS_PARSING_TRAFFIC names" in line(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "is no folder" in line(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "holds no traffic" in line(tmp_path / "empty")
    folder = keep(profile.numbers)
    (folder / "traffic-99990101T000000Z-0.parquet").write_bytes(b"PAR1")
    assert "traffic-99990101T000000Z-0.parquet is no file of traffic" in line(folder)


def test_a_profile_that_is_missing_or_damaged_has_a_line(champion_folder: Path, tmp_path: Path) -> None:
    shutil.copy(champion_folder / "parser.json", tmp_path)
    with pytest.raises(ModelError, match=r"has no profile.parquet to compare with; train it again"):
        Profile.read(tmp_path)
    (tmp_path / "profile.parquet").write_bytes((champion_folder / "profile.parquet").read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"profile.parquet is damaged"):
        Profile.read(tmp_path)


def test_a_profile_is_read_as_it_was_written(profile: Profile, champion_folder: Path, tmp_path: Path) -> None:
    shutil.copy(champion_folder / "parser.json", tmp_path)
    profile.write(tmp_path)
    again = Profile.read(tmp_path)
    np.testing.assert_array_equal(again.numbers, profile.numbers)
    assert (again.gauge.names, again.gauge.alphabet) == (profile.gauge.names, profile.gauge.alphabet)


def test_bins_hold_a_fifth_each_and_every_review_once(profile: Profile) -> None:
    bins = Bins.of(profile.numbers, profile.gauge.names)
    known = (~np.isnan(profile.numbers)).sum(axis=0)
    counts = bins.count(profile.numbers)
    np.testing.assert_array_equal(counts.sum(axis=1), known)
    assert (np.abs(bins.shares(profile.numbers)[bins.names.index("embedding_1")] - 0.2) < 0.01).all()
    food = {name: count for (number, name), count in bins.cells(counts) if number == "category FOOD"}
    assert food == {
        "no": (profile.numbers[:, bins.names.index("category FOOD")] == 0).sum(),
        "yes": known[-1] - food["no"],
    }
    labels = [label for label, _ in bins.cells(counts)]
    assert len(set(labels)) == len(labels)
