"""Files against the parser alone, on the same texts, taking turns; and memory against the number of reviews.

    python benchmarks/files.py [--json] [--runs 5] [--reviews 4096] [--model models:/NAME@ALIAS] [--memory 200000]
                               [--workers 1 2]

The first is the rate of `parse_files` from JSONL to a folder of Parquet over that of `AspectParser.parse`. The second
is the peak of memory while many reviews go from file to folder past a parser that finds the same aspects in each: what
reading and writing need by themselves. It needs Linux, which keeps that peak. The third is what some workers of
a Ray cluster on this machine parse in a second, in the last two thirds of the reviews, when all of them are at work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from machine import machine, others

from reviews_parsing import data
from reviews_parsing.batch import Ray, parse_files
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import ParsedReview
from reviews_parsing.settings import Settings

MB = 2**20
# Of what is shared out among workers: small enough that none waits long for the last.
PARTS = 60


class Cheap(AspectParser):
    """Finds in every text what the parser found in the first."""

    def parse_iter(
        self, texts: Iterable[str], min_score: float = 0.0, spans_only: bool = False
    ) -> Iterator[ParsedReview]:
        found: ParsedReview | None = None
        for text in texts:
            if found is None:
                found = next(iter(super().parse_iter([text])))
            yield ParsedReview(text, found.aspects)


def write(path: Path, texts: list[str], count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = {"id": number, "stars": number % 5, "text": texts[number % len(texts)]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def peak(run: Callable[[], object]) -> int:
    """Bytes that the process held at most meanwhile."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    run()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def rates(parser: AspectParser, texts: list[str], count: int, runs: int, folder: Path) -> dict[str, Any]:
    source = folder / "in.jsonl"
    write(source, texts, count)
    ours = [texts[number % len(texts)] for number in range(count)]
    parser.parse(ours[:256])
    alone, files = [], []
    for number in range(runs):
        alone.append(seconds(lambda: parser.parse(ours)))
        target = folder / f"parsed{number}"
        files.append(seconds(partial(parse_files, parser, [str(source)], target)))
    return {
        "reviews": count,
        "alone": count / statistics.median(alone),
        "files": count / statistics.median(files),
        "ratio": statistics.median(one / other for one, other in zip(alone, files, strict=True)),
    }


def memory(parser: AspectParser, texts: list[str], most: int, folder: Path) -> list[dict[str, int]]:
    found = []
    for count in (most // 8, most // 4, most // 2, most):
        source = folder / f"{count}.jsonl"
        write(source, texts, count)
        took = peak(partial(parse_files, parser, [str(source)], folder / f"memory{count}"))
        found.append({"reviews": count, "peak_mb": took // MB, "file_mb": source.stat().st_size // MB})
    return found


def shared_out(
    parser: AspectParser, texts: list[str], count: int, workers: list[int], runs: int, folder: Path
) -> list[dict[str, float]]:
    """Reviews a second by number of workers, taking turns; one of each is a core's."""
    source = folder / "shared.jsonl"
    write(source, texts, count)
    found: dict[int, list[float]] = {number: [] for number in workers}
    for run in range(runs):
        for number, its in found.items():
            done: list[tuple[float, int]] = []
            target = folder / f"workers{number}-{run}"
            options: Any = {"part_rows": max(1, count // PARTS), "executor": Ray(workers=number)}
            parse_files(
                parser,
                [str(source)],
                target,
                **options,
                progress=lambda rows, *_, done=done: done.append((time.perf_counter(), rows)),
            )
            begin, already = next(moment for moment in done if moment[1] >= count / 3)
            its.append((count - already) / (done[-1][0] - begin))
    return [{"workers": number, "rate": statistics.median(its)} for number, its in found.items()]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--reviews", type=int, default=4096)
    options.add_argument("--memory", type=int, default=200_000)
    options.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    options.add_argument("--model", default=Settings().champion_uri)
    given = options.parse_args()
    texts = [review.text for reviews in data.read_splits("corpus").values() for review in reviews]
    busy = others()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parser = AspectParser.load(given.model)
        speed = rates(parser, texts, given.reviews, given.runs, folder)
        held = memory(Cheap.load(given.model), texts, given.memory, folder) if given.memory else []
        clusters = shared_out(parser, texts, 2 * given.reviews, given.workers, given.runs, folder)
    if given.json:
        print(
            json.dumps(
                {"machine": machine(), "others": busy, "rates": speed, "memory": held, "clusters": clusters}, indent=2
            )
        )
        return
    print(f"{speed['reviews']:,} reviews, {given.runs} runs: {speed['alone']:,.0f} a second by the parser alone")
    print(
        f"{speed['files']:,.0f} from file to folder, {speed['ratio']:.0%} of it; others had {busy:.0%} of the machine"
    )
    for row in held:
        print(f"{row['reviews']:,} reviews, {row['file_mb']:,} MB: at most {row['peak_mb']:,} MB of memory")
    for cluster in clusters:
        share = cluster["rate"] / clusters[0]["rate"]
        print(f"{cluster['workers']} workers of Ray: {cluster['rate']:,.0f} a second, {share:.2f} times the first")


if __name__ == "__main__":
    main()
