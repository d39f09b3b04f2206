"""Files are whole or nothing, their rejects included, wherever the disk is full or the process is killed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from reviews_parsing.batch import parse_files
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.files import write_bytes
from reviews_parsing.io.staging import staged_files, temporary_folder
from reviews_parsing.model_folder import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from reviews_parsing.schema import ParsedReview

from .faults import KILLED, FaultyFileSystem, disk_full, killed, run_in_child

OUTPUTS = ["out.jsonl", "out.csv", "out.parquet"]
FIRST = b'{"text": "Fine"}\n{"text": "Fi\n'
SECOND = b'{"text": "Dear"}\n{"text": "Loud"}\n{"text": 5}\n{"text": 6}\n'
NO_REJECTS = b'{"text": "Dear"}\n'

State = dict[str, bytes]


class SilentParser:
    """Finds nothing."""

    def parse_iter(
        self, texts: Iterable[str], min_score: float = 0.0, spans_only: bool = False
    ) -> Iterator[ParsedReview]:
        return (ParsedReview(text, ()) for text in texts)


def parse(folder: Path, content: bytes, output: str) -> None:
    source = folder.parent / f"{folder.name}-in.jsonl"
    source.write_bytes(content)
    parse_files(SilentParser(), [str(source)], folder / output)


def state(folder: Path) -> State:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()


def old_and_new(tmp_path: Path, output: str, new: bytes) -> tuple[Path, State, State]:
    """Return a folder with the output of an older run, its state, and the state after the new run."""
    folder, model = tmp_path / "folder", tmp_path / "model"
    for path in (folder, model):
        path.mkdir()
        # Rejects name their input: it has the same name in both.
        parse(path, FIRST, output)
    before = state(folder)
    (model / output).unlink()
    source = folder.parent / f"{folder.name}-in.jsonl"
    source.write_bytes(new)
    for path in model.iterdir():
        path.unlink()
    parse_files(SilentParser(), [str(source)], model / output)
    return folder, before, state(model)


def next_start(folder: Path, output: str) -> None:
    """Begin a run that writes the same files, and end it before it has written them."""
    rejects = f"{folder / Path(output).stem}.rejects.jsonl"
    with staged_files(rejects, str(folder / output)):
        pass


@pytest.mark.parametrize("new", [SECOND, NO_REJECTS], ids=["rejects", "no rejects"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_kill_at_any_change(tmp_path: Path, local: pytest.MonkeyPatch, output: str, new: bytes) -> None:
    folder, before, after = old_and_new(tmp_path, output, new)
    outcomes = set()
    for number in count(1):
        local.setattr(filesystems, "LOCAL", FaultyFileSystem(number, killed))
        status = run_in_child(lambda: parse(folder, new, output))
        local.undo()
        assert (folder / output).read_bytes() in (before[output], after[output])
        next_start(folder, output)
        assert state(folder) in (before, after)
        assert names(folder) == set(state(folder))
        outcomes.add(state(folder) == after)
        if status == 0:
            break
        assert status == KILLED
        restore(folder, before)
    assert outcomes == {False, True}


def restore(folder: Path, content: State) -> None:
    for path in folder.iterdir():
        path.unlink()
    for name, data in content.items():
        (folder / name).write_bytes(data)


def disk_full_at(faulty: FaultyFileSystem, number: int) -> None:
    """Raise at the change of this number only."""
    if faulty.count == number:
        disk_full()


@pytest.mark.parametrize("transient", [True, False], ids=["one call fails", "all calls fail from there on"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_an_error_at_any_change(tmp_path: Path, local: pytest.MonkeyPatch, output: str, transient: bool) -> None:
    folder, before, after = old_and_new(tmp_path, output, SECOND)
    messages = set()
    for number in count(1):
        faulty = FaultyFileSystem(number, disk_full)
        if transient:
            faulty._fail = partial(disk_full_at, faulty, number)
        local.setattr(filesystems, "LOCAL", faulty)
        try:
            parse(folder, SECOND, output)
        except DataError as error:
            messages.add(str(error))
            local.undo()
            if transient:  # all was undone at once
                assert state(folder) == before
                assert names(folder) == set(before)
            next_start(folder, output)
            assert state(folder) == before
            assert names(folder) == set(before)
        else:
            local.undo()
            assert faulty.count < number
            break
    assert number > 8
    assert all("No space left on device" in message and "\n" not in message for message in messages)
    assert state(folder) == after


def test_the_first_output_of_a_folder(tmp_path: Path, local: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in count(1):
        local.setattr(filesystems, "LOCAL", FaultyFileSystem(number, killed))
        status = run_in_child(lambda: parse(folder, SECOND, "out.jsonl"))
        local.undo()
        next_start(folder, "out.jsonl")
        if status == 0:
            break
        assert names(folder) in (set(), {"out.jsonl", "out.rejects.jsonl"})
        restore(folder, {})
    assert names(folder) == {"out.jsonl", "out.rejects.jsonl"}


def test_a_run_that_lives_is_left_alone(tmp_path: Path) -> None:
    target = str(tmp_path / "out.csv")
    with staged_files(target) as living:
        with living.create(target) as file:
            file.write(b"new")
        with staged_files(target):
            pass
        living.commit()
    assert state(tmp_path) == {"out.csv": b"new"}


class StoredSilentParser(SilentParser):
    """Has a model folder, which a folder of parts records."""

    version, engine = "1", "none"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in (CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE):
            (folder / name).write_bytes(b"model")


@pytest.mark.parametrize("fail", [killed, disk_full])
def test_a_folder_of_parts_at_any_change(tmp_path: Path, local: pytest.MonkeyPatch, fail: Callable[[], None]) -> None:
    """`--resume` makes of any interrupted folder what an uninterrupted run makes."""
    source, parser = tmp_path / "in.jsonl", StoredSilentParser(tmp_path / "model")
    source.write_bytes(SECOND + FIRST)

    def run(folder: Path) -> None:
        parse_files(parser, [str(source)], folder, part_rows=2, resume=True)

    run(tmp_path / "whole")
    for number in count(1):
        folder = tmp_path / f"parsed-{number}"
        local.setattr(filesystems, "LOCAL", FaultyFileSystem(number, fail))
        status = run_in_child(partial(run, folder))
        local.undo()
        assert all(path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes() for path in visible(folder))
        run(folder)
        assert names(folder) == names(tmp_path / "whole")
        assert state(folder) == state(tmp_path / "whole")
        if status == 0:
            break
        assert status == (KILLED if fail is killed else 1)
    assert number > 10


def visible(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if not path.name.startswith(".")]


def test_one_file_at_any_change(tmp_path: Path, local: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    for number in count(1):
        local.setattr(filesystems, "LOCAL", FaultyFileSystem(number, killed))
        status = run_in_child(lambda: write_bytes(target, b"new" * 5000))
        local.undo()
        assert target.read_bytes() in (b"old", b"new" * 5000)
        if status == 0:
            break
        target.write_bytes(b"old")
    write_bytes(target, b"last")
    assert names(tmp_path) == {"file"}


def test_temporary_folders_of_dead_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def die() -> None:
        with temporary_folder("copy-") as folder:
            (folder / "stdin").write_bytes(b"x" * 1000)
            killed()

    assert run_in_child(die) == KILLED
    assert len(names(tmp_path)) == 1
    with temporary_folder() as living:
        assert names(tmp_path) == {living.name}
        with temporary_folder():
            assert living.is_dir()
    assert names(tmp_path) == set()


def test_a_journal_that_is_damaged_does_no_harm(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_bytes(b"old")
    leftover = tmp_path / ".out.csv.0badc0de.new"
    leftover.mkdir()
    (leftover / "journal.json").write_bytes(b'{"entries": [[')
    (leftover / filesystems.LOCK_NAME).write_bytes(b"")
    with staged_files(str(target)) as staged:
        with staged.create(str(target)) as file:
            file.write(b"new")
        staged.commit()
    assert target.read_bytes() == b"new"


def test_leftovers_without_a_lock(tmp_path: Path) -> None:
    """A process that ends between a folder and its lock, or a run that cannot clean up, leaves such folders."""
    target = tmp_path / "out.csv"
    full, old_empty, new_empty = (tmp_path / f".out.csv.{name}.new" for name in ("full", "old", "fresh"))
    for folder in (full, old_empty, new_empty):
        folder.mkdir()
    (full / "new-0").write_bytes(b"half")
    os.utime(old_empty, (0, 0))
    write_bytes(target, b"new")
    assert names(tmp_path) == {"out.csv", new_empty.name}


def test_rejects_of_the_report_are_those_of_the_output(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(SECOND)
    report = parse_files(SilentParser(), [str(source)], tmp_path / "out.jsonl")
    lines = (tmp_path / "out.rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["line"] for line in lines] == [3, 4]
    assert (report.rows, report.rejected) == (2, 2)
