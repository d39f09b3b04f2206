"""The store of corrections: every revision kept, nobody's work overwritten, wrong labels refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given

from data.strategies import properties, reviews
from reviews_parsing.corrections import Correction, CorrectionConflict, Store
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Opinion, Review

TEXT = "Divine 🍜 ramen, gruff host."
RAMEN = Aspect("FOOD", "ramen", 9, 14, "positive", Opinion("Divine", 0, 6))
HOST = Aspect("STAFF", "host", 22, 26, "negative")
ANSWER = (replace(RAMEN, score=0.91, polarity_score=0.8), Aspect("PLACE", polarity="negative", score=0.5))


def correction(*aspects: Aspect, text: str = TEXT, author: str | None = None) -> Correction:
    return Correction(text, aspects, ANSWER, "reviews-parsing-ner-aspects", "3", author)


def test_what_is_saved_is_found_again_in_any_process(tmp_path: Path) -> None:
    given = correction(RAMEN, HOST, Aspect("OVERALL", polarity="positive"), author="Ana")
    assert Store(tmp_path / "new" / "folder" / "c.db").save(given, seen=None) == 1
    found = Store(tmp_path / "new" / "folder" / "c.db").latest(TEXT)
    assert found is not None
    assert (found.revision, found.correction) == (1, given)
    assert Store(tmp_path / "new" / "folder" / "c.db").latest("Never seen.") is None


def test_unset_the_store_is_in_the_home_folder(tmp_path: Path) -> None:
    assert Store().path == tmp_path / "home" / "corrections.db"
    assert (Store().latest(TEXT), Store().all()) == (None, [])
    assert not Store().path.exists()


def test_every_revision_is_kept_and_the_last_one_counts(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    other = "Fine soup."
    assert store.save(correction(RAMEN), None) == 1
    assert store.save(correction(text=other), None) == 1
    assert store.save(correction(RAMEN, HOST), seen=1) == 2
    assert [saved.correction.aspects for saved in store.history(TEXT)] == [(RAMEN,), (RAMEN, HOST)]
    assert [(saved.correction.text, saved.revision) for saved in store.all()] == [(other, 1), (TEXT, 2)]


def test_who_comes_second_hears_of_the_first_and_loses_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    store.save(correction(RAMEN, author="Ana"), None)
    for seen in (None, 7):
        with pytest.raises(CorrectionConflict, match=r"Ana corrected this text meanwhile \(revision 1, ") as refused:
            store.save(correction(HOST, author="Bo"), seen)
        assert refused.value.theirs.correction.aspects == (RAMEN,)
    assert store.save(correction(HOST, author="Bo"), refused.value.theirs.revision) == 2


def test_two_who_say_the_same_do_not_quarrel(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    assert [store.save(correction(RAMEN), None) for _ in range(2)] == [1, 1]
    assert len(store.history(TEXT)) == 1


def test_labels_of_people_have_no_scores_and_times_are_utc(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    at = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    store.save(replace(correction(*ANSWER[:1]), at=at), None)
    found = store.all()[0].correction
    assert (found.aspects, found.answer) == ((RAMEN,), ANSWER)
    assert (found.at, found.at.tzinfo) == (at, UTC)


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        (replace(RAMEN, word="Ramen"), "is misaligned, 'ramen' stands there"),
        (replace(RAMEN, word="", end=9), "is empty"),
        (replace(RAMEN, end=99), "lies outside the text of 27 characters"),
        (replace(RAMEN, opinion=Opinion("divine", 0, 6)), "opinion 'divine' at 0:6 is misaligned"),
        (replace(HOST, word="host.", end=27), "overlap: keep one"),
        (replace(HOST, polarity="negative"), "share one span"),
        (Aspect("FOOD", "ramen"), "has no offsets"),
    ],
)
def test_wrong_labels_are_refused_and_nothing_is_saved(tmp_path: Path, wrong: Aspect, because: str) -> None:
    store = Store(tmp_path / "c.db")
    with pytest.raises(DataError, match=because):
        store.save(correction(HOST, wrong), None)
    assert store.all() == []


def test_words_may_have_two_categories(tmp_path: Path) -> None:
    both = (HOST, replace(HOST, entity_group="SERVICE"))
    store = Store(tmp_path / "c.db")
    store.save(correction(*both), None)
    assert store.all()[0].correction.aspects == both


@pytest.mark.parametrize("text", ["", "  \n", "half \ud83c"])
def test_texts_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"the text is empty|lone surrogate U\+D83C"):
        Store(tmp_path / "c.db").save(correction(text=text), None)
    with pytest.raises(DataError, match="half of a surrogate pair"):
        Store(tmp_path / "c.db").save(correction(author="\udc00"), None)


@properties
@given(review=reviews())
def test_any_review_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, review: Review) -> None:
    store = Store(tmp_path_factory.mktemp("store") / "c.db")
    given = Correction(review.text, review.aspects, review.aspects, review.id)
    try:
        store.save(given, None)
    except DataError:
        assert store.all() == []
    else:
        assert [saved.correction for saved in store.all()] == [given]


WRITER = """
import sys
from pathlib import Path
from reviews_parsing.corrections import Correction, CorrectionConflict, Store
from reviews_parsing.schema import Aspect
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
for number in range(20):
    seen = store.latest("Good.")
    while True:
        try:
            mine = Correction("Good.", (Aspect(f"{sys.argv[2]}-{number}"),), (), "model")
            store.save(mine, seen.revision if seen else None)
            break
        except CorrectionConflict as conflict:
            seen = conflict.theirs
"""


def test_among_processes_and_threads_every_correction_is_kept_once(tmp_path: Path) -> None:
    place = tmp_path / "c.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, place, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in "ABC"
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    store = Store(place)
    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(store.save, correction(text=f"Text {number}."), None) for number in range(40)]
        for writer in writers:
            assert writer.communicate()[1] is None
    assert [future.result() for future in done] == [1] * 40
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    found = store.history("Good.")
    assert [saved.revision for saved in found] == list(range(1, 61))
    said = [saved.correction.aspects[0].entity_group for saved in found]
    for name in "ABC":
        assert [group for group in said if group.startswith(name)] == [f"{name}-{number}" for number in range(20)]
    assert len(store.all()) == 41


def test_a_store_that_is_locked_says_so_in_one_line(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db", wait=0.05)
    store.save(correction(RAMEN), None)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DataError, match=r"c\.db is locked by another program for more than 0\.05 s: .+"):
            store.save(correction(HOST), 1)
        assert len(store.all()) == 1  # who reads need not wait
    assert store.save(correction(HOST), 1) == 2


def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    for name in ("prose", "other", "later", "folder"):
        place = tmp_path / name
        if name == "prose":
            place.write_text("Dear diary, " * 100)
        elif name == "folder":
            place.mkdir()
        else:
            with closing(sqlite3.connect(place)) as others, others:
                others.execute("CREATE TABLE notes (a)" if name == "other" else "CREATE TABLE corrections (a)")
                others.execute(f"PRAGMA user_version = {0 if name == 'other' else 9}")
    for name, because in (
        ("prose", "is no SQLite file"),
        ("other", "is no such store"),
        ("later", "is a store of format 9, not 1"),
        ("folder", "cannot be used"),
    ):
        was = (tmp_path / name).read_bytes() if name != "folder" else b""
        with pytest.raises(DataError, match=because) as refused:
            Store(tmp_path / name).save(correction(RAMEN), None)
        assert "\n" not in str(refused.value)
        assert name == "folder" or (tmp_path / name).read_bytes() == was
    with pytest.raises(DataError, match="cannot be used"):
        Store(tmp_path / "prose" / "c.db").save(correction(RAMEN), None)
