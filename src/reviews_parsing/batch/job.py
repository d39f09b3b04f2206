"""Parsing of whole files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO

from reviews_parsing.batch import writers
from reviews_parsing.batch.executors import Executor
from reviews_parsing.batch.executors.local import LocalExecutor, parse_chunks
from reviews_parsing.batch.inputs import open_inputs
from reviews_parsing.batch.parsers import ReviewParser, identifies_languages
from reviews_parsing.batch.parts import Progress, parse_to_folder
from reviews_parsing.batch.plan import Options, make_plan
from reviews_parsing.batch.readers import PART_ROWS, Reader, ReadOptions
from reviews_parsing.batch.rows import Chunk, Row
from reviews_parsing.batch.stats import Report, Stats
from reviews_parsing.errors import DataError
from reviews_parsing.io.filesystems import unwritable
from reviews_parsing.io.staging import StagedFiles, staged_files


def parse_files(
    parser: ReviewParser,
    inputs: Sequence[str],
    output: str | Path | None = None,
    *,
    text_column: str | None = None,
    min_score: float = 0.0,
    spans_only: bool = False,
    languages: bool = False,
    reading: ReadOptions | None = None,
    rejects_file: str | Path | None = None,
    resume: bool = False,
    part_rows: int = PART_ROWS,
    executor: Executor | None = None,
    progress: Progress | None = None,
    on_rows: Callable[[list[Row]], None] | None = None,
    on_layouts: Callable[[list[str]], None] | None = None,
) -> Report:
    """Parse every row of the inputs into `output`: the same rows and columns, and a column of aspects.

    Inputs are files (delimited text, JSON, Parquet, .xlsx, plain text; text formats may be compressed), folders, globs,
    `s3://` and `gs://` URLs, or "-" for standard input. Their layout is found from their content, unless `reading`
    gives it. In Parquet and JSON, aspects are a list of objects in the form of `Aspect.to_json`, in CSV that list as a
    string. With `languages`, and if the parser identifies them, the column `language` has an ISO 639 code and `foreign`
    tells whether the model does not read that language; an input that has a column of one of these names keeps its own.

    `output` is a file, a folder for parts of `part_rows` rows, or the URL of one of these. A file is written completely
    or not at all. A folder is filled part by part by `executor` (default: this process); with `resume`, an interrupted
    run continues. Without `output`, `on_rows` gets the rows, some hundred at a time.

    A row without a text has no aspects. Rows that cannot be parsed go to `rejects_file` with the reason (default:
    beside the output; in a folder always there). `Report.require_few_rejects` says whether there are too many of them.
    Memory does not depend on the size of the inputs. `on_layouts` gets lines that tell how the inputs are read, before
    the work begins; `progress` gets, every few hundred rows, the rows that are done, all rows, and the former again.

    Raises DataError if an input cannot be read or the output cannot be written; then there is no such file, and a
    folder holds only complete parts.
    """
    options = Options(text_column, min_score, spans_only, languages, reading or ReadOptions())
    target, rejects_target = (None if name is None else str(name) for name in (output, rejects_file))
    with open_inputs(inputs, options.reading, text_column) as readers:
        if target is not None and writers.is_folder(target):
            if rejects_target is not None:
                raise DataError(f"rejects lie in the folder {target} beside their parts: leave --rejects out")
            executor = executor or LocalExecutor()
            return parse_to_folder(parser, readers, target, options, part_rows, resume, executor, progress, on_layouts)
        if resume or executor is not None:
            action = "resumed" if resume else "shared out by Ray"
            raise DataError(f"only a folder of parts can be {action}: give one as the output, as in parsed/")
        return _parse_to_file(parser, readers, target, rejects_target, options, progress, on_rows, on_layouts)


def _parse_to_file(
    parser: ReviewParser,
    readers: Sequence[Reader],
    output: str | None,
    rejects_file: str | None,
    options: Options,
    progress: Progress | None,
    on_rows: Callable[[list[Row]], None] | None,
    on_layouts: Callable[[list[str]], None] | None,
) -> Report:
    started, stats = time.perf_counter(), Stats()
    if output is not None:
        writers.require_output(output, readers)
    rejects_target = rejects_file or (writers.default_rejects_name(output) if output is not None else None)
    if rejects_target is not None:
        writers.require_rejects(rejects_target, output, readers)
    plan = make_plan(readers, options.text_column, PART_ROWS)
    if on_layouts is not None:
        on_layouts(plan.describe())
    targets = [target for target in (rejects_target, output) if target is not None]
    finished_rows = 0
    with ExitStack() as files:
        staged = files.enter_context(staged_files(*targets)) if targets else None
        with ExitStack() as streams:
            rejects = _Rejects(streams, staged, rejects_target)
            with_languages = options.languages and identifies_languages(parser)
            write = writers.callback_writer(on_rows, plan.columns, with_languages)
            if output is not None and staged is not None:
                file = streams.enter_context(staged.create(output))
                write = streams.enter_context(writers.open_writer(output, file, plan.columns, with_languages))
            # Closed as soon as anything fails, not when the traceback of the failure is dropped: it holds the inputs.
            for _, chunk, reviews in streams.enter_context(closing(parse_chunks(parser, plan, plan.parts, options))):
                write(chunk, reviews)
                rejects.write(chunk)
                stats.add(chunk, reviews)
                finished_rows += len(reviews) + len(chunk.rejects)
                if progress is not None:
                    progress(finished_rows, plan.rows, finished_rows)
            if rejects_file is not None:
                rejects.create()  # a requested file is written even if it is empty
        if staged is not None:
            has_rejects = stats.rejected or rejects_file is not None
            staged.commit(removed=[] if has_rejects or rejects_target is None else [rejects_target])
    return stats.report(time.perf_counter() - started, rejects_target)


class _Rejects:
    """Writer of the rejects file, which is created with its first row."""

    def __init__(self, streams: ExitStack, staged: StagedFiles | None, target: str | None) -> None:
        self._streams, self._staged, self._target = streams, staged, target
        self._file: IO[bytes] | None = None

    def create(self) -> None:
        """Create the file if it does not exist."""
        if self._file is None and self._staged is not None and self._target is not None:
            self._file = self._streams.enter_context(self._staged.create(self._target))

    def write(self, chunk: Chunk) -> None:
        """Write the rejects of a chunk. Raises DataError if that fails."""
        if not chunk.rejects or self._target is None:
            return
        try:
            self.create()
            if self._file is not None:
                self._file.writelines(writers.encode_rejects(chunk))
        except OSError as error:
            raise unwritable(self._target, error) from None
