"""Compare the rate of file processing with that of the parser alone, and measure memory and Ray workers.

    python benchmarks/files.py [--json] [--runs 5] [--reviews 4096] [--model models:/NAME@ALIAS] [--memory 200000]
                               [--workers 1 2]

Rates: `parse_files` from JSONL to a folder of Parquet, and `AspectParser.parse` on the same texts, interleaved. Memory:
peak while many reviews pass a stub parser with constant answers, so only reading and writing count (Linux only). Ray:
reviews per second by number of workers on this machine, over the last two thirds of the reviews, when all workers run.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from machine import argument_parser, background_load, machine

from reviews_parsing import data
from reviews_parsing.batch import Ray, parse_files
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import ParsedReview
from reviews_parsing.settings import Settings

MB = 2**20
# Number of parts for Ray: small parts keep all workers busy until the end.
PARTS = 60


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


def seconds(run: Callable[[], object]) -> float:
    """Return the wall-clock seconds of `run`."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def peak_memory(run: Callable[[], object]) -> int:
    """Return the peak resident memory of this process during `run`, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    run()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def measure_rates(parser: AspectParser, texts: list[str], count: int, runs: int, folder: Path) -> dict[str, Any]:
    """Return reviews per second of the parser alone and of files, and the median ratio of paired runs."""
    source = folder / "in.jsonl"
    write(source, texts, count)
    repeated = [texts[number % len(texts)] for number in range(count)]
    parser.parse(repeated[:256])
    alone, files = [], []
    for number in range(runs):
        alone.append(seconds(lambda: parser.parse(repeated)))
        files.append(seconds(partial(parse_files, parser, [str(source)], folder / f"parsed{number}")))
    return {
        "reviews": count,
        "alone": count / statistics.median(alone),
        "files": count / statistics.median(files),
        "ratio": statistics.median(a / f for a, f in zip(alone, files, strict=True)),
    }


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
            options: Any = {"part_rows": max(1, count // PARTS), "ray": Ray(workers=number)}
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
    parser.add_argument("--runs", type=int, default=5, help="number of runs of which the median is reported")
    parser.add_argument("--reviews", type=int, default=4096, help="number of reviews in a run")
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
        stub = StubParser.load(options.model)
        memory = measure_memory(stub, texts, options.memory, folder) if options.memory else []
        clusters = measure_ray(model, texts, 2 * options.reviews, options.workers, options.runs, folder)
    if options.json:
        report = {"machine": machine(), "others": busy, "rates": rates, "memory": memory, "clusters": clusters}
        print(json.dumps(report, indent=2))
        return
    print(f"parser alone: {rates['alone']:,.0f} reviews/s ({rates['reviews']:,} reviews, {options.runs} runs)")
    print(f"file to folder: {rates['files']:,.0f} reviews/s, {rates['ratio']:.0%} of that")
    print(f"other programs used {busy:.0%} of the machine")
    for row in memory:
        print(f"{row['reviews']:,} reviews, {row['file_mb']:,} MB: peak memory {row['peak_mb']:,} MB")
    for cluster in clusters:
        factor = cluster["rate"] / clusters[0]["rate"]
        print(f"{cluster['workers']} Ray workers: {cluster['rate']:,.0f} reviews/s, {factor:.2f} times the first")


if __name__ == "__main__":
    main()
