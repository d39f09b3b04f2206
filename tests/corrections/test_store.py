"""Store of corrections: append-only, with conflict detection and label checks."""

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
from reviews_parsing.corrections import Correction, CorrectionConflict, CorrectionStatus, CorrectionStore
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Opinion, Review

TEXT = "Divine 🍜 ramen, gruff host."
RAMEN = Aspect("FOOD", "ramen", 9, 14, "positive", Opinion("Divine", 0, 6))
HOST = Aspect("STAFF", "host", 22, 26, "negative")
ANSWER = (replace(RAMEN, score=0.91, polarity_score=0.8), Aspect("PLACE", polarity="negative", score=0.5))


def correction(*aspects: Aspect, text: str = TEXT, author: str | None = None) -> Correction:
    return Correction(text, aspects, ANSWER, "reviews-parsing-ner-aspects", "3", author)


def test_a_saved_correction_is_read_by_another_store(tmp_path: Path) -> None:
    original = correction(RAMEN, HOST, Aspect("OVERALL", polarity="positive"), author="Ana")
    assert CorrectionStore(tmp_path / "new" / "folder" / "c.db").save(original, base_revision=None) == 1
    latest = CorrectionStore(tmp_path / "new" / "folder" / "c.db").find_latest(TEXT)
    assert latest is not None
    assert (latest.number, latest.correction) == (1, original)
    assert CorrectionStore(tmp_path / "new" / "folder" / "c.db").find_latest("Never seen.") is None


def test_the_default_file_is_in_the_home_folder(tmp_path: Path) -> None:
    assert CorrectionStore().path == tmp_path / "home" / "corrections.db"
    assert (CorrectionStore().find_latest(TEXT), CorrectionStore().list_latest()) == (None, [])
    assert not CorrectionStore().path.exists()


def test_every_revision_is_stored_and_the_last_one_counts(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.db")
    second_text = "Fine soup."
    assert store.save(correction(RAMEN), None) == 1
    assert store.save(correction(text=second_text), None) == 1
    assert store.save(correction(RAMEN, HOST), base_revision=1) == 2
    assert [revision.correction.aspects for revision in store.list_revisions(TEXT)] == [(RAMEN,), (RAMEN, HOST)]
    assert [(revision.correction.text, revision.number) for revision in store.list_latest()] == [
        (second_text, 1),
        (TEXT, 2),
    ]


def test_a_concurrent_correction_is_a_conflict_with_the_stored_one(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.db")
    store.save(correction(RAMEN, author="Ana"), None)
    for base_revision in (None, 7):
        with pytest.raises(CorrectionConflict, match=r"Ana corrected this text meanwhile \(revision 1, ") as error:
            store.save(correction(HOST, author="Bo"), base_revision)
        assert error.value.latest.correction.aspects == (RAMEN,)
    assert store.save(correction(HOST, author="Bo"), error.value.latest.number) == 2


def test_equal_concurrent_corrections_do_not_conflict(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.db")
    assert [store.save(correction(RAMEN), None) for _ in range(2)] == [1, 1]
    assert len(store.list_revisions(TEXT)) == 1


def test_corrected_aspects_have_no_scores_and_times_are_utc(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.db")
    time = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    store.save(replace(correction(*ANSWER[:1]), corrected_at=time), None)
    latest = store.list_latest()[0].correction
    assert (latest.aspects, latest.predicted_aspects) == ((RAMEN,), ANSWER)
    assert (latest.corrected_at, latest.corrected_at.tzinfo) == (time, UTC)


@pytest.mark.parametrize(
    ("invalid", "message"),
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
def test_invalid_labels_are_errors_and_nothing_is_saved(tmp_path: Path, invalid: Aspect, message: str) -> None:
    store = CorrectionStore(tmp_path / "c.db")
    with pytest.raises(DataError, match=message):
        store.save(correction(HOST, invalid), None)
    assert store.list_latest() == []


def test_a_span_may_have_two_categories(tmp_path: Path) -> None:
    aspects = (HOST, replace(HOST, entity_group="SERVICE"))
    store = CorrectionStore(tmp_path / "c.db")
    store.save(correction(*aspects), None)
    assert store.list_latest()[0].correction.aspects == aspects


@pytest.mark.parametrize("text", ["", "  \n", "half \ud83c"])
def test_blank_and_unencodable_texts_are_errors(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"the text is empty|lone surrogate U\+D83C"):
        CorrectionStore(tmp_path / "c.db").save(correction(text=text), None)
    with pytest.raises(DataError, match="half of a surrogate pair"):
        CorrectionStore(tmp_path / "c.db").save(correction(author="\udc00"), None)


@properties
@given(review=reviews())
def test_any_review_survives_the_round_trip(tmp_path_factory: pytest.TempPathFactory, review: Review) -> None:
    store = CorrectionStore(tmp_path_factory.mktemp("store") / "c.db")
    original = Correction(review.text, review.aspects, review.aspects, review.id)
    try:
        store.save(original, None)
    except DataError:
        assert store.list_latest() == []
    else:
        assert [revision.correction for revision in store.list_latest()] == [original]


WRITER = """
import sys
from pathlib import Path
from reviews_parsing.corrections import Correction, CorrectionConflict, CorrectionStatus, CorrectionStore
from reviews_parsing.schema import Aspect
store = CorrectionStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
for number in range(20):
    latest = store.find_latest("Good.")
    while True:
        try:
            correction = Correction("Good.", (Aspect(f"{sys.argv[2]}-{number}"),), (), "model")
            store.save(correction, latest.number if latest else None)
            break
        except CorrectionConflict as conflict:
            latest = conflict.latest
"""


def test_concurrent_processes_and_threads_save_every_correction_once(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, path, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in "ABC"
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    store = CorrectionStore(path)
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(store.save, correction(text=f"Text {number}."), None) for number in range(40)]
        for writer in writers:
            assert writer.communicate()[1] is None
    assert [future.result() for future in futures] == [1] * 40
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    revisions = store.list_revisions("Good.")
    assert [revision.number for revision in revisions] == list(range(1, 61))
    groups = [revision.correction.aspects[0].entity_group for revision in revisions]
    for name in "ABC":
        assert [group for group in groups if group.startswith(name)] == [f"{name}-{number}" for number in range(20)]
    assert len(store.list_latest()) == 41


def test_a_locked_store_is_a_one_line_error(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.db", lock_timeout=0.05)
    store.save(correction(RAMEN), None)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DataError, match=r"c\.db was locked by another program for 0\.05 s: .+"):
            store.save(correction(HOST), 1)
        assert len(store.list_latest()) == 1  # readers do not wait
    assert store.save(correction(HOST), 1) == 2


def test_files_that_are_not_stores_are_unchanged(tmp_path: Path) -> None:
    for name in ("prose", "other", "later", "folder"):
        path = tmp_path / name
        if name == "prose":
            path.write_text("Dear diary, " * 100)
        elif name == "folder":
            path.mkdir()
        else:
            with closing(sqlite3.connect(path)) as database, database:
                database.execute("CREATE TABLE notes (a)" if name == "other" else "CREATE TABLE corrections (a)")
                database.execute(f"PRAGMA user_version = {0 if name == 'other' else 9}")
    for name, message in (
        ("prose", "is not a SQLite file"),
        ("other", "is another SQLite database"),
        ("later", "has format 9, not 1"),
        ("folder", "cannot be used"),
    ):
        content = (tmp_path / name).read_bytes() if name != "folder" else b""
        with pytest.raises(DataError, match=message) as error:
            CorrectionStore(tmp_path / name).save(correction(RAMEN), None)
        assert "\n" not in str(error.value)
        assert name == "folder" or (tmp_path / name).read_bytes() == content
    with pytest.raises(DataError, match="cannot be used"):
        CorrectionStore(tmp_path / "prose" / "c.db").save(correction(RAMEN), None)


def test_pending_corrections_are_not_exported_until_they_are_approved(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.db")
    store.save(correction(RAMEN), None)
    store.save(correction(HOST, author="a stranger"), 1, approved=False)
    store.save(correction(text="Fine soup."), None, approved=False)
    pending = [revision for revision in store.list_latest() if revision.status is CorrectionStatus.PENDING]
    assert [(revision.number, revision.correction.text) for revision in pending] == [(2, TEXT), (1, "Fine soup.")]
    assert [revision.correction.aspects for revision in store.list_latest(approved_only=True)] == [(RAMEN,)]
    store.decide([pending[0].id], CorrectionStatus.APPROVED)
    assert [revision.correction.aspects for revision in store.list_latest(approved_only=True)] == [(HOST,)]
    with pytest.raises(DataError, match="there is no correction 99"):
        store.decide([pending[1].id, 99], CorrectionStatus.APPROVED)
    assert len(store.list_latest(approved_only=True)) == 1


def test_a_rejected_revision_counts_no_longer(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.db")
    store.save(correction(RAMEN), None)
    store.save(correction(HOST), 1, approved=False)
    store.decide([store.list_latest()[0].id], CorrectionStatus.REJECTED)
    latest = store.find_latest(TEXT)
    assert latest is not None
    assert (latest.number, latest.correction.aspects) == (1, (RAMEN,))
    assert store.save(correction(RAMEN, HOST), base_revision=1) == 3
    assert [revision.status for revision in store.list_revisions(TEXT)] == ["approved", "rejected", "approved"]


def test_a_store_of_an_older_release_is_pending(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.db")
    store.save(correction(RAMEN), None)
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("DROP TABLE decisions")
    assert [revision.status for revision in store.list_latest()] == [CorrectionStatus.PENDING]
