"""A folder of parts. Each part is written once, completely, by the executor that parses it, after its rejects.

part-00000.parquet   the rows of a part, their aspects, and the counters of the part in the footer
_rejects-00000.jsonl the rows of that part that cannot be parsed; written before it
_manifest.json       inputs, model and options, and where the parts begin; written first
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from reviews_parsing.batch import manifest
from reviews_parsing.batch.executors import Executor, PartsJob
from reviews_parsing.batch.executors.local import STATS_KEY, part_name
from reviews_parsing.batch.parsers import ReviewParser
from reviews_parsing.batch.plan import Options, make_plan
from reviews_parsing.batch.readers import Reader
from reviews_parsing.batch.stats import Report, Stats
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import STAGED_NAME, Folder, error_reason, filesystem_of, is_unreachable, printable

Progress = Callable[[int, int, int], None]
"""Callback: rows that are done, all rows, and the former again."""

_REJECTS = "_rejects-*.jsonl"
_FOOTER_READERS = 16


def parse_to_folder(
    parser: ReviewParser,
    readers: Sequence[Reader],
    output: str,
    options: Options,
    part_rows: int,
    resume: bool,
    executor: Executor,
    progress: Progress | None,
    on_layouts: Callable[[list[str]], None] | None,
) -> Report:
    """Parse inputs into a folder, or with `resume` its missing parts. Raises DataError if the folder cannot be used."""
    started, folder = time.perf_counter(), Folder(filesystems.absolute(output))
    names = set(folder.names())
    leftovers = {name for name in names if STAGED_NAME.match(name)}
    display_path = printable(output)
    if names - leftovers and not resume:
        hint = "go on with it by --resume, or " if manifest.NAME in names else ""
        raise DataError(f"{display_path} is not empty: {hint}write to another folder")
    conditions = manifest.make_conditions(readers, parser, options, part_rows)
    # A run that was killed before its manifest was complete has left nothing but leftovers.
    is_begun = bool(names - leftovers)
    if is_begun:
        form = _read_manifest(folder, display_path, names, conditions)
    else:
        form = manifest.make_form(make_plan(readers, options.text_column, part_rows), conditions)
        folder.make()
    plan = manifest.restore_plan(form, readers)
    if on_layouts is not None:
        on_layouts(plan.describe())
    missing = [part for part in plan.parts if part_name(part.number) not in names]
    total, finished_rows = Stats(), plan.rows - sum(part.rows for part in missing)
    with folder.lock():
        if set(folder.names()) != names:
            raise DataError(
                f"{display_path} was written to by another run meanwhile: go on with it by --resume, or elsewhere"
            )
        for name in leftovers:
            folder.remove(name)
        if not is_begun:
            folder.write(manifest.NAME, manifest.encode(form))
        earlier_stats = _read_stats(folder, [part.number for part in plan.parts if part_name(part.number) in names])
        total.merge(earlier_stats)
        if progress is not None and finished_rows:
            progress(finished_rows, plan.rows, finished_rows)
        job = PartsJob(parser, plan, missing, options, folder, form)
        with closing(executor.run(job)) as run:
            for rows, stats in run:
                finished_rows += rows
                total.merge(stats)
                if progress is not None:
                    progress(finished_rows, plan.rows, finished_rows)
    return total.report(time.perf_counter() - started, f"{output.rstrip('/')}/{_REJECTS}", earlier_stats.parsed)


def _read_manifest(folder: Folder, output: str, names: Collection[str], conditions: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of the folder. Raises DataError if it does not exist, or its run differs."""
    if manifest.NAME not in names:
        raise DataError(f"{output} is not empty and holds no {manifest.NAME}: write to another folder")
    form = manifest.decode(folder.read(manifest.NAME), printable(folder.path(manifest.NAME)))
    manifest.refuse_differences(form, conditions, output)
    return form


def _read_stats(folder: Folder, numbers: Sequence[int]) -> Stats:
    """Return the counters of the parts that exist. Raises DataError if one of them is damaged or cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read(number: int) -> Stats:
        path = folder.path(part_name(number))
        try:
            with filesystem_of(path).open_random(path) as file:
                return Stats.from_json(json.loads(pq.read_metadata(file).metadata[STATS_KEY]))
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            if is_unreachable(error):
                raise DataError(f"{printable(path)} cannot be read ({error_reason(error)}): try again") from None
            raise DataError(f"{printable(path)} is damaged: remove it, and --resume makes it anew") from None

    total = Stats()
    with ThreadPoolExecutor(_FOOTER_READERS) as pool:
        for stats in pool.map(read, numbers):
            total.merge(stats)
    return total
