"""Compare the rate of file processing with that of the parser alone, and measure memory and Ray workers.

    python benchmarks/files.py [--json] [--runs 10] [--reviews 2048] [--model models:/NAME@ALIAS] [--memory 200000]
                               [--workers 1 2]

Rates: `parse_files` between files of each format, and `AspectParser.parse` on the same texts, interleaved; ratios are
those of paired runs, by time and by processor time, which depends less on other programs. First row: from the start of
`reviews-parsing parse FILE` to its first line of output. Memory:
peak while many reviews pass a stub parser with constant answers, so only reading and writing count (Linux only). Ray:
reviews per second by number of workers on this machine, over the last two thirds of the reviews, when all workers run.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from machine import argument_parser, background_load, machine

from reviews_parsing import data
from reviews_parsing.batch import Ray, parse_files
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import ParsedReview
from reviews_parsing.settings import Settings

MB = 2**20
# Number of parts for Ray: small parts keep all workers busy until the end.
PARTS = 60


CONVERSIONS = {
    "JSONL to a folder of Parquet": ("jsonl", "parsed{}"),
    "CSV to CSV": ("csv", "parsed{}.csv"),
    "Parquet to Parquet": ("parquet", "parsed{}.parquet"),
}
"""Format of the input and name of the output by description."""


class Cost(NamedTuple):
    """Wall-clock and processor seconds."""

    wall: float
    processor: float


class StubParser(AspectParser):
    """Returns the aspects of the first text for all texts."""

    def parse_iter(
        self, texts: Iterable[str], min_score: float = 0.0, spans_only: bool = False
    ) -> Iterator[ParsedReview]:
        first: ParsedReview | None = None
        for text in texts:
            first = first or next(iter(super().parse_iter([text])))
            yield ParsedReview(text, first.aspects)


def write(path: Path, texts: list[str], count: int) -> None:
    """Write `count` reviews as JSONL, repeating `texts`."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = {"id": number, "stars": number % 5, "text": texts[number % len(texts)]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def cost(run: Callable[[], object]) -> Cost:
    """Return the wall-clock and processor seconds of `run`."""
    begin, processor = time.perf_counter(), time.process_time()
    run()
    return Cost(time.perf_counter() - begin, time.process_time() - processor)


def peak_memory(run: Callable[[], object]) -> int:
    """Return the peak resident memory of this process during `run`, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    run()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def write_sources(folder: Path, texts: list[str], count: int) -> dict[str, Path]:
    """Write `count` reviews in each format, and return the files."""
    sources = {ending: folder / f"in.{ending}" for ending in ("jsonl", "csv", "parquet")}
    write(sources["jsonl"], texts, count)
    rows = [json.loads(line) for line in sources["jsonl"].read_text(encoding="utf-8").splitlines()]
    with sources["csv"].open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), sources["parquet"])
    return sources


def measure_rates(parser: AspectParser, texts: list[str], count: int, runs: int, folder: Path) -> dict[str, Any]:
    """Return reviews per second of the parser alone and of files, and the ratios of paired runs."""
    sources = write_sources(folder, texts, count)
    repeated = [texts[number % len(texts)] for number in range(count)]
    parser.parse(repeated[:256])
    alone: list[Cost] = []
    files: dict[str, list[Cost]] = {name: [] for name in CONVERSIONS}
    for number in range(runs):
        alone.append(cost(lambda: parser.parse(repeated)))
        for name, (source, target) in CONVERSIONS.items():
            output = folder / target.format(number)
            files[name].append(cost(partial(parse_files, parser, [str(sources[source])], output, languages=True)))
    return {
        "reviews": count,
        "alone": count / statistics.median(run.wall for run in alone),
        "files": {name: _figures(count, alone, costs) for name, costs in files.items()},
    }


def _figures(count: int, alone: Sequence[Cost], files: Sequence[Cost]) -> dict[str, Any]:
    pairs = list(zip(alone, files, strict=True))
    return {
        "rate": count / statistics.median(run.wall for run in files),
        "ratios": [base.wall / run.wall for base, run in pairs],
        "processor_ratios": [base.processor / run.processor for base, run in pairs],
    }


def measure_first_row(folder: Path, model: str, runs: int) -> Cost:
    """Return the median time from the start of `parse FILE` to the first row on stdout, and its processor time."""
    command = [sys.executable, "-m", "reviews_parsing.cli", "parse", str(folder / "in.csv"), "--model", model]
    starts = []
    for _ in range(runs):
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            if not process.stdout.readline():
                sys.exit(f"error: {' '.join(command)} printed no row: run it to see why")
            wall = time.perf_counter() - begin
            usage = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            starts.append(Cost(wall, (int(usage[11]) + int(usage[12])) / os.sysconf("SC_CLK_TCK")))
            process.kill()
    return Cost(*map(statistics.median, zip(*starts, strict=True)))


def measure_memory(parser: AspectParser, texts: list[str], max_count: int, folder: Path) -> list[dict[str, int]]:
    """Return peak memory and file size in MB by number of reviews."""
    rows = []
    for count in (max_count // 8, max_count // 4, max_count // 2, max_count):
        source = folder / f"{count}.jsonl"
        write(source, texts, count)
        peak = peak_memory(partial(parse_files, parser, [str(source)], folder / f"memory{count}"))
        rows.append({"reviews": count, "peak_mb": peak // MB, "file_mb": source.stat().st_size // MB})
    return rows


def measure_ray(
    parser: AspectParser, texts: list[str], count: int, workers: list[int], runs: int, folder: Path
) -> list[dict[str, float]]:
    """Return reviews per second by number of Ray workers with one core each, interleaved."""
    source = folder / "shared.jsonl"
    write(source, texts, count)
    rates: dict[int, list[float]] = {number: [] for number in workers}
    for run in range(runs):
        for number in workers:
            moments: list[tuple[float, int]] = []
            options: Any = {"part_rows": max(1, count // PARTS), "executor": Ray(workers=number)}
            parse_files(
                parser,
                [str(source)],
                folder / f"workers{number}-{run}",
                **options,
                progress=lambda rows, *_, moments=moments: moments.append((time.perf_counter(), rows)),
            )
            begin, first_rows = next(moment for moment in moments if moment[1] >= count / 3)
            rates[number].append((count - first_rows) / (moments[-1][0] - begin))
    return [{"workers": number, "rate": statistics.median(values)} for number, values in rates.items()]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--runs", type=int, default=10, help="number of runs of which the median is reported")
    parser.add_argument("--reviews", type=int, default=2048, help="number of reviews in a run")
    parser.add_argument("--memory", type=int, default=200_000, help="largest number of reviews for memory, 0 for none")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="numbers of Ray workers")
    parser.add_argument("--model", default=Settings().champion_uri, help="model to parse with, as in `parse`")
    options = parser.parse_args()
    texts = [review.text for reviews in data.read_splits("corpus").values() for review in reviews]
    busy = background_load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = AspectParser.load(options.model)
        rates = measure_rates(model, texts, options.reviews, options.runs, folder)
        first_row = measure_first_row(folder, options.model, options.runs)
        stub = StubParser.load(options.model)
        memory = measure_memory(stub, texts, options.memory, folder) if options.memory else []
        clusters = (
            measure_ray(model, texts, 2 * options.reviews, options.workers, options.runs, folder)
            if options.workers
            else []
        )
    if options.json:
        report = {"machine": machine(), "others": busy, "rates": rates, "memory": memory, "clusters": clusters}
        report["first_row"] = first_row._asdict()
        print(json.dumps(report, indent=2))
        return
    print(f"parser alone: {rates['alone']:,.0f} reviews/s ({rates['reviews']:,} reviews, {options.runs} runs)")
    for name, figures in rates["files"].items():
        ratios, processor = figures["ratios"], figures["processor_ratios"]
        print(
            f"{name}: {figures['rate']:,.0f} reviews/s, {statistics.median(ratios):.1%} of that, {min(ratios):.1%} to "
            f"{max(ratios):.1%}; by processor time {statistics.median(processor):.1%}, at least {min(processor):.1%}"
        )
    print(f"parse FILE to its first row: {first_row.wall:.2f} s, {first_row.processor:.2f} s of a processor")
    print(f"other programs used {busy:.0%} of the machine")
    for row in memory:
        print(f"{row['reviews']:,} reviews, {row['file_mb']:,} MB: peak memory {row['peak_mb']:,} MB")
    for cluster in clusters:
        factor = cluster["rate"] / clusters[0]["rate"]
        print(f"{cluster['workers']} Ray workers: {cluster['rate']:,.0f} reviews/s, {factor:.2f} times the first")


if __name__ == "__main__":
    main()
