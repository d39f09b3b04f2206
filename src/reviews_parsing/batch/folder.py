"""A folder of parts: each is written once and whole, by whoever parses it, with its rejects beside it.

part-00000.parquet   the rows of a part, their aspects, and in its footer what was counted
_rejects-00000.jsonl the rows of that part which cannot be parsed; written before it
_manifest.json       what was asked for, and where the parts begin; written first
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from typing import Any

from reviews_parsing.batch import flow, manifest, rejects, sinks
from reviews_parsing.batch import plan as plans
from reviews_parsing.batch.cluster import Ray
from reviews_parsing.batch.plan import Options, Plan
from reviews_parsing.batch.source import Part, Source
from reviews_parsing.batch.tally import Report, Tally
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import Folder
from reviews_parsing.parser import AspectParser

Progress = Callable[[int, int, int], None]
"""Told how many rows are done of how many, and the first again."""

_TALLY = b"reviews_parsing"
_REJECTS = "_rejects-*.jsonl"
_HALF = re.compile(r"\..+\.new$")


def part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def rejects_name(number: int) -> str:
    return f"_rejects-{number:05d}.jsonl"


def parse_folder(
    parser: AspectParser,
    sources: Sequence[Source],
    output: str,
    options: Options,
    part_rows: int,
    resume: bool,
    ray: Ray | None,
    progress: Progress | None,
) -> Report:
    """Parse into a folder, or with `resume` what is left of it. Raises DataError where that cannot be."""
    started, folder = time.perf_counter(), Folder(filesystems.absolute(output))
    there = set(folder.names())
    if there and not resume:
        hint = "go on with it by --resume, or " if manifest.NAME in there else ""
        raise DataError(f"{output} is not empty: {hint}write to another folder")
    halves = {name for name in there if _HALF.match(name)}
    conditions = manifest.conditions(sources, parser, options, part_rows)
    # A run that was killed before its manifest was whole has left nothing else.
    begun = bool(there - halves)
    if begun:
        form = _begun(folder, output, there, conditions)
    else:
        form = manifest.form(plans.make(sources, options.text_column, part_rows), conditions)
        folder.make()
    plan = manifest.plan(form, sources)
    missing = [part for part in plan.parts if part_name(part.number) not in there]
    total, done = Tally(), plan.rows - sum(part.rows for part in missing)
    with folder.held():
        if set(folder.names()) != there:
            raise DataError(
                f"{output} was written to by another run meanwhile: go on with it by --resume, or elsewhere"
            )
        if not begun:
            folder.put(manifest.NAME, manifest.encode(form))
        for name in halves:
            folder.remove(name)
        before = _counted(folder, [part.number for part in plan.parts if part_name(part.number) in there])
        total.merge(before)
        if progress is not None and done:
            progress(done, plan.rows, done)
        run = ray.parse(parser, form, folder, missing) if ray else parse_parts(parser, plan, missing, options, folder)
        with closing(run):
            for rows, tally in run:
                done += rows
                total.merge(tally)
                if progress is not None:
                    progress(done, plan.rows, done)
    return total.report(time.perf_counter() - started, f"{output.rstrip('/')}/{_REJECTS}", before.parsed)


def parse_parts(
    parser: AspectParser, plan: Plan, parts: Sequence[Part], options: Options, folder: Folder
) -> Generator[tuple[int, Tally]]:
    """Write these parts; says how many rows are done since it last said so, and at the end of a part what it counts."""
    with closing(flow.parse(parser, plan, parts, options)) as parsed:
        for part, group in groupby(parsed, lambda some: some.part):
            data, kept, tally = io.BytesIO(), io.BytesIO(), Tally()
            with sinks.parquet(data, plan.fields) as (write, writer):
                for some in group:
                    write(some.chunk, [review.to_json() for review in some.reviews])
                    kept.writelines(rejects.lines(some))
                    tally.add(some)
                    yield len(some.reviews) + len(some.chunk.rejects), Tally()
                writer.add_key_value_metadata({_TALLY: json.dumps(tally.to_json())})
            if tally.rejected:
                folder.put(rejects_name(part.number), kept.getvalue())
            folder.put(part_name(part.number), data.getvalue())
            yield 0, tally


def _begun(folder: Folder, output: str, there: Collection[str], conditions: dict[str, Any]) -> dict[str, Any]:
    """The manifest that is there. Raises DataError where there is none, or it is of something else."""
    if manifest.NAME not in there:
        raise DataError(f"{output} is not empty and holds no {manifest.NAME}: write to another folder")
    form = manifest.decode(folder.read(manifest.NAME), folder.path(manifest.NAME))
    manifest.refuse_others(form, conditions, output)
    return form


def _counted(folder: Folder, numbers: Sequence[int]) -> Tally:
    """What the parts that are there have counted. Raises DataError where one of them is none of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read(number: int) -> Tally:
        path = folder.path(part_name(number))
        try:
            with filesystems.native(path) as file:
                return Tally.from_json(json.loads(pq.read_metadata(file).metadata[_TALLY]))
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
            raise DataError(f"{path} is damaged: remove it, and --resume makes it anew") from None

    total = Tally()
    with ThreadPoolExecutor(16) as pool:
        for tally in pool.map(read, numbers):
            total.merge(tally)
    return total
