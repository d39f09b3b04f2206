"""Tests of the counts and samples of traffic, and of their independence of requests."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reviews_parsing import AspectParser, data
from reviews_parsing.monitor import Profile, read_traffic
from reviews_parsing.serving.traffic import WAITING, Collector, Sample, Watched, watch
from reviews_parsing.settings import Settings

from .client import DEADLINE, Server
from .conftest import Start

PATIENT = {"REVIEWS_PARSING_MAX_WAIT": "60"}


@pytest.fixture
def profile(champion_folder: Path) -> Profile:
    return Profile.read(champion_folder)


def until(condition: Callable[[], object], otherwise: object) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, otherwise


def counted(server: Server, number: str) -> float:
    return server.counter("reviews_parsing_traffic_total", number=number)


def test_a_server_keeps_the_numbers_of_what_it_saw(
    start: Start, parser: AspectParser, profile: Profile, tmp_path: Path
) -> None:
    texts = [review.text for review in data.read_splits("corpus")["test"][:40]]
    with start(REVIEWS_PARSING_TRAFFIC=str(tmp_path / "traffic"), **PATIENT) as server:
        assert server.counter("reviews_parsing_traffic_total") == 0
        assert all(server.infer(texts[i : i + 8]).status == 200 for i in range(0, 40, 8))
        until(lambda: counted(server, "words") == 40, "not every review is counted")
        food = {
            answer: server.counter("reviews_parsing_traffic_expected", number="category FOOD", bin=answer)
            for answer in ("yes", "no")
        }
        assert server.stop() == 0
    window = read_traffic(tmp_path / "traffic", profile)
    np.testing.assert_allclose(
        np.sort(window.features, axis=0), np.sort(profile.extractor.extract(parser, texts), axis=0), atol=1e-2
    )
    share = profile.features[:, profile.extractor.names.index("category FOOD")].mean()
    assert food == {"yes": pytest.approx(share), "no": pytest.approx(1 - share)}


def test_a_folder_that_cannot_be_written_costs_no_request(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with start(REVIEWS_PARSING_TRAFFIC=str(tmp_path / "file" / "traffic"), **PATIENT) as server:
        assert server.infer(["The pho was lovely."] * 3).status == 200
        until(lambda: counted(server, "words") == 3, "not every review is counted")
        assert server.stop() == 0
        assert "3 reviews of traffic are lost" in server.log
        assert "pho" not in server.log


def test_a_model_without_a_profile_is_served_and_not_watched(
    parser: AspectParser, champion_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(champion_folder / "parser.json", tmp_path)
    found = watch(parser, tmp_path, "1", Settings(traffic=tmp_path / "traffic"))
    ((prepared, logits),) = parser.encoded(["Lovely pho."])
    found.observe(prepared, logits, parser.finish(prepared, logits))
    found.close()
    assert "traffic is not watched: the model in" in caplog.text
    assert not (tmp_path / "traffic").exists()


def test_what_is_wrong_with_a_batch_is_logged_without_its_text(
    parser: AspectParser, profile: Profile, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Collector().counts("1", profile)
    watched = Watched(parser, profile, counts, None)
    ((prepared, logits),) = parser.encoded(["Lovely pho."])
    parsed = parser.finish(prepared, logits)
    with caplog.at_level(logging.ERROR):
        watched.observe(prepared, logits, [*parsed, *parsed])
        watched.observe(prepared, logits, parsed)
        watched.close()
    assert counts.snapshot[0].sum() == 1
    assert caplog.messages == ["traffic is not counted: ValueError"]


def test_what_cannot_be_looked_at_in_time_goes_by(parser: AspectParser, profile: Profile) -> None:
    """While a thread that writes is held up, neither memory grows nor anybody waits."""
    held = threading.Event()

    class Slow(Sample):
        def add(self, numbers: object) -> None:
            assert held.wait(DEADLINE)

    counts = Collector().counts("1", profile)
    watched = Watched(parser, profile, counts, Slow(Path("nowhere"), profile, "1", rows=1, files=1))
    ((prepared, logits),) = parser.encoded(["Lovely pho."])
    parsed = parser.finish(prepared, logits)
    for _ in range(3 * WAITING):
        watched.observe(prepared, logits, parsed)
    held.set()
    watched.close()
    assert WAITING <= counts.snapshot[0].sum() <= WAITING + 1


def test_a_minute_is_sampled_evenly_and_no_further(profile: Profile, tmp_path: Path) -> None:
    width = len(profile.extractor.names)
    drawn: Counter[int] = Counter()
    for _ in range(300):
        sample = Sample(tmp_path, profile, "1", rows=5, files=1, minute=lambda: 7)
        for row in range(20):
            sample.add(np.full((1, width), row, np.float32))
        sample.flush()
        assert not list(tmp_path.iterdir()), "the minute is not over"
        (rows,) = sample._rows_by_minute.values()
        drawn.update(int(row[0]) for row in rows)
    assert drawn.total() == 300 * 5
    # 75 of each are expected, with a standard deviation of 7.5.
    assert all(35 < drawn[row] < 115 for row in range(20))


def test_minutes_that_are_over_are_written_and_the_last_one_at_the_end(profile: Profile, tmp_path: Path) -> None:
    now = [int(time.time()) // 60 - 1]
    sample = Sample(tmp_path, profile, "1", rows=5, files=9, minute=lambda: now[0])
    sample.add(profile.features[:20])
    now[0] += 1
    sample.add(profile.features[:3])
    sample.flush()
    assert len(read_traffic(tmp_path, profile).features) == 5
    sample.flush(include_current=True)
    assert len(read_traffic(tmp_path, profile).features) == 8
    sample.flush(include_current=True)
    assert len(list(tmp_path.iterdir())) == 2


def test_prometheus_is_told_of_every_version_with_few_labels(profile: Profile) -> None:
    collector = Collector()
    for version in ("1", "2"):
        collector.counts(version, profile).add(profile.features)
    seen, expected = collector.collect()
    assert len(seen.samples) == len(expected.samples) < 2 * 5 * len(profile.extractor.names)
    assert {sample.labels["version"] for sample in seen.samples} == {"1", "2"}
    of_words = [sample.value for sample in expected.samples if sample.labels["number"] == "words"]
    assert sum(of_words) == pytest.approx(2)
    assert collector.counts("1", profile).snapshot[0].sum() == len(profile.features)
