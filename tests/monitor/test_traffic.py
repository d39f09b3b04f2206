"""Traffic files and profiles: round trips, time windows, and one line per mistake."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reviews_parsing import DataError, ModelError
from reviews_parsing.monitor import Profile, Quintiles, detect_drift, read_traffic, write_traffic

from .conftest import WriteTraffic


def test_traffic_round_trip(profile: Profile, write_folder: WriteTraffic) -> None:
    write_folder(profile.features[:40])
    window = read_traffic(write_folder(profile.features[40:], version="2"), profile)
    np.testing.assert_array_equal(np.sort(window.features, axis=0), np.sort(profile.features, axis=0))
    assert window.versions == ("1", "2")
    assert window.end - window.begin in (timedelta(minutes=1), timedelta(minutes=2))


def test_a_file_holds_features_and_minutes_and_nothing_else(profile: Profile, write_folder: WriteTraffic) -> None:
    (file,) = write_folder(profile.features[:40]).iterdir()
    schema = pq.read_schema(file)
    assert schema.names == ["at", *profile.extractor.names]
    assert {str(schema.field(name).type) for name in profile.extractor.names} == {"float"}
    assert len(schema.metadata[b"reviews_parsing"]) < 100


def test_since_excludes_older_rows(profile: Profile, write_folder: WriteTraffic) -> None:
    write_folder(profile.features[:40], minutes_ago=90)
    folder = write_folder(profile.features[40:75], minutes_ago=10)
    assert len(read_traffic(folder, profile, timedelta(hours=1)).features) == 35
    assert len(read_traffic(folder, profile, timedelta(hours=2)).features) == 75
    with pytest.raises(DataError, match=r"no traffic in the last 0:05:00 .*--since"):
        read_traffic(folder, profile, timedelta(minutes=5))


def test_the_oldest_files_are_deleted(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "unrelated.txt").touch()
    minutes = np.zeros(1, np.int64)
    for _ in range(4):
        write_traffic(tmp_path, profile, "1", minutes, profile.features[:1], max_files=2)
    assert len(list(tmp_path.iterdir())) == 3


def test_traffic_of_another_model_is_ignored(profile: Profile, write_folder: WriteTraffic) -> None:
    another_profile = replace(profile, digest="another")
    folder = write_folder(profile.features[:50], version="4", profile=another_profile)
    with pytest.raises(DataError, match=r"is of another model \(version 4\); name that model with --model"):
        read_traffic(folder, profile)
    write_folder(profile.features[:40])
    assert len(read_traffic(folder, profile).features) == 40
    assert read_traffic(folder, another_profile).versions == ("4",)


def test_each_mistake_has_a_line(profile: Profile, write_folder: WriteTraffic, tmp_path: Path) -> None:
    def read_message(folder: Path) -> str:
        with pytest.raises(DataError) as error:
            read_traffic(folder, profile)
        return str(error.value)

    assert "does not exist; give the folder that REVIEWS_PARSING_TRAFFIC names" in read_message(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "is not a folder" in read_message(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "holds no traffic" in read_message(tmp_path / "empty")
    folder = write_folder(profile.features)
    (folder / "traffic-99990101T000000Z-0.parquet").write_bytes(b"PAR1")
    assert "traffic-99990101T000000Z-0.parquet is not a traffic file" in read_message(folder)


def test_a_missing_or_damaged_profile_has_a_line(champion_folder: Path, tmp_path: Path) -> None:
    shutil.copy(champion_folder / "parser.json", tmp_path)
    with pytest.raises(ModelError, match=r"has no profile.parquet to compare with; train it again"):
        Profile.read(tmp_path)
    (tmp_path / "profile.parquet").write_bytes((champion_folder / "profile.parquet").read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"profile.parquet is damaged"):
        Profile.read(tmp_path)


def test_profile_round_trip(profile: Profile, champion_folder: Path, tmp_path: Path) -> None:
    shutil.copy(champion_folder / "parser.json", tmp_path)
    profile.write(tmp_path)
    copy = Profile.read(tmp_path)
    np.testing.assert_array_equal(copy.features, profile.features)
    assert (copy.extractor.names, copy.extractor.alphabet) == (profile.extractor.names, profile.extractor.alphabet)


def _without_foreign(file: Path) -> None:
    """Write a file as versions did that identified no languages."""
    with pq.ParquetFile(pa.BufferReader(file.read_bytes())) as content:
        table = content.read()
    pq.write_table(table.drop_columns(["foreign"]), file)


@pytest.mark.parametrize("languages", ["en", ""])
def test_a_profile_of_an_older_version_expects_no_foreign_texts(
    profile: Profile, champion_folder: Path, tmp_path: Path, languages: str
) -> None:
    config = json.loads((champion_folder / "parser.json").read_text())
    (tmp_path / "parser.json").write_text(json.dumps({**config, "languages": languages.split()}))
    profile.write(tmp_path)
    _without_foreign(tmp_path / "profile.parquet")
    foreign = Profile.read(tmp_path).features[:, profile.extractor.names.index("foreign")]
    assert not foreign.any() if languages else np.isnan(foreign).all()


def test_traffic_of_an_older_version_is_read(profile: Profile, write_folder: WriteTraffic) -> None:
    column = profile.extractor.names.index("foreign")
    features = profile.features[:40].copy()
    features[:, column] = 1
    (file,) = write_folder(features).iterdir()
    _without_foreign(file)
    window = read_traffic(file.parent, profile)
    assert np.isnan(window.features[:, column]).all()
    assert detect_drift(profile.extractor.names, profile.features, window.features).foreign is None
    window = read_traffic(write_folder(features), profile)
    foreign = detect_drift(profile.extractor.names, profile.features, window.features).foreign
    assert foreign is not None
    assert (foreign.reviews, foreign.count) == (40, 40)


def test_quintiles_hold_a_fifth_each_and_every_review_once(profile: Profile) -> None:
    quintiles = Quintiles.fit(profile.features, profile.extractor.names)
    defined = (~np.isnan(profile.features)).sum(axis=0)
    counts = quintiles.count(profile.features)
    np.testing.assert_array_equal(counts.sum(axis=1), defined)
    shares = quintiles.shares(profile.features)[quintiles.names.index("embedding_1")]
    assert (np.abs(shares - 0.2) < 0.01).all()
    food = {label: count for (name, label), count in quintiles.cells(counts) if name == "category FOOD"}
    assert food == {
        "no": (profile.features[:, quintiles.names.index("category FOOD")] == 0).sum(),
        "yes": defined[-1] - food["no"],
    }
    labels = [label for label, _ in quintiles.cells(counts)]
    assert len(set(labels)) == len(labels)
