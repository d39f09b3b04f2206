"""Parse whole files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from reviews_parsing.batch import flow, rejects, sinks, sources
from reviews_parsing.batch import plan as plans
from reviews_parsing.batch.cluster import Ray
from reviews_parsing.batch.folder import Progress, parse_folder
from reviews_parsing.batch.plan import Options
from reviews_parsing.batch.records import Row
from reviews_parsing.batch.source import PART_ROWS, Source
from reviews_parsing.batch.tally import Report, Tally
from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser


def parse_files(
    parser: AspectParser,
    inputs: Sequence[str],
    output: str | Path | None = None,
    *,
    text_column: str | None = None,
    min_score: float = 0.0,
    spans_only: bool = False,
    rejects_file: str | Path | None = None,
    resume: bool = False,
    part_rows: int = PART_ROWS,
    ray: Ray | None = None,
    progress: Progress | None = None,
    on_rows: Callable[[list[Row]], None] | None = None,
) -> Report:
    """Parse every row of the inputs into `output`: the same rows and columns, and a column of aspects.

    Inputs are files (CSV, TSV, JSONL, Parquet; text forms zipped or not), folders, globs, `s3://` and `gs://` URLs of
    these, or "-" for standard input. In Parquet and JSONL, aspects are a list of objects as `Aspect.to_json` makes
    them, in CSV that list as a string.

    `output` is a file, a folder for parts of `part_rows` rows, or a URL of one of these. A file is written whole or not
    at all. A folder is filled part by part, over the workers of `ray` if that is given; with `resume`, a run that was
    killed goes on where it was. Without `output`, `on_rows` gets the rows of JSONL, some hundred at a time.

    Rows that cannot be parsed go to `rejects_file` with the reason (default: beside the output; in a folder always
    there), and nothing stops for them. Memory does not depend on the size of the inputs. `progress` is told, every few
    hundred rows, the rows that are done, all rows, and the rows that are done.

    Raises DataError where an input cannot be read or the output not be written; then there is no such file, and in a
    folder there are only whole parts.
    """
    options = Options(text_column, min_score, spans_only)
    target, kept = (None if name is None else str(name) for name in (output, rejects_file))
    with sources.opened(inputs) as opened:
        if target is not None and sinks.is_folder(target):
            if kept is not None:
                raise DataError(f"rejects lie in the folder {target} beside their parts: leave the file of rejects out")
            return parse_folder(parser, opened, target, options, part_rows, resume, ray, progress)
        if resume or ray:
            what = "resumed" if resume else "shared out by Ray"
            raise DataError(f"only a folder of parts can be {what}: give one as the output, as in parsed/")
        return _parse_file(parser, opened, target, kept, options, progress, on_rows)


def _parse_file(
    parser: AspectParser,
    opened: Sequence[Source],
    output: str | None,
    kept: str | None,
    options: Options,
    progress: Progress | None,
    on_rows: Callable[[list[Row]], None] | None,
) -> Report:
    started, tally = time.perf_counter(), Tally()
    if output is not None:
        sinks.check(output, opened)
    if kept is not None:
        sinks.check_folder(kept)
    plan = plans.make(opened, options.text_column, PART_ROWS)
    where = kept or (rejects.beside(output) if output is not None else None)
    done = 0
    with ExitStack() as stack:
        keep = stack.enter_context(rejects.to_file(where, kept is not None)) if where else rejects.nowhere
        columns = plan.columns
        write = sinks.to_function(on_rows) if output is None else stack.enter_context(sinks.to_file(output, columns))
        # Closed as soon as anything fails, not when the failure's traceback is forgotten: it holds the file.
        for some in stack.enter_context(closing(flow.parse(parser, plan, plan.parts, options))):
            write(some.chunk, [review.to_json() for review in some.reviews])
            keep(some)
            tally.add(some)
            done += len(some.reviews) + len(some.chunk.rejects)
            if progress is not None:
                progress(done, plan.rows, done)
    return tally.report(time.perf_counter() - started, where)
