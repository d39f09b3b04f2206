"""Measure time and peak memory of `reviews-parsing insights` by number of parsed reviews.

    python benchmarks/reports.py [--json] [--reviews 100000 1000000] [--by business,month]

The reviews are those of the shipped corpus with their labels as aspects, each followed by a sentence about one of 1,680
dishes, with a business, a date of five years and stars. Each size is a folder of Parquet files. The command writes a
report in a process of its own, whose processor time and peak resident memory are measured.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import argument_parser, background_load, machine

from reviews_parsing import data
from reviews_parsing.schema import Aspect, Opinion, aspects_arrow_type

MB = 2**20
VARIANTS, FILE_REVIEWS = 40_000, 100_000
BUSINESSES, DAYS = 120, 5 * 365
WAYS = ("fried", "baked", "smoked", "braised", "pickled", "grilled", "stuffed", "chilled", "roast", "sweet")
KINDS = ("corn", "bean", "rice", "beet", "kale", "plum", "leek", "lime", "pea", "yam", "egg", "ham", "cod", "duck")
NAMES = ("soup", "salad", "pie", "curry", "stew", "roll", "bowl", "toast", "cake", "tart", "dumpling", "omelette")
JUDGEMENTS = {"positive": ("superb", "lovely"), "negative": ("bland", "awful")}


def variants(count: int = VARIANTS, seed: int = 13) -> pa.Table:
    """Return reviews of the corpus with a sentence about a dish, their aspects, and a mean of stars."""
    rng = random.Random(seed)  # noqa: S311
    reviews = [review for part in data.read_splits("corpus").values() for review in part]
    dishes = [" ".join(words) for words in product(WAYS, KINDS, NAMES)]
    texts, aspects, means = [], [], []
    for number in range(count):
        review = reviews[number % len(reviews)]
        dish = dishes[min(int(rng.expovariate(4 / len(dishes))), len(dishes) - 1)]
        polarity = rng.choice(("positive", "positive", "negative"))
        judgement = rng.choice(JUDGEMENTS[polarity])
        start = len(review.text) + len(" The ")
        opinion = start + len(dish) + len(" was ")
        because = Opinion(judgement, opinion, opinion + len(judgement))
        labelled = [*review.aspects, Aspect("FOOD", dish, start, start + len(dish), polarity, because)]
        texts.append(f"{review.text} The {dish} was {judgement}.")
        aspects.append([{**aspect.to_json(), "score": 0.9, "polarity_score": 0.9} for aspect in labelled])
        polarities = [aspect.polarity for aspect in labelled]
        means.append(3 + (polarities.count("positive") - polarities.count("negative")) / len(polarities))
    return pa.table({"text": texts, "aspects": pa.array(aspects, aspects_arrow_type()), "mean": means})


def write(folder: Path, reviews: pa.Table, count: int, seed: int = 13) -> int:
    """Write `count` parsed reviews to a folder of Parquet files; return their size in bytes."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for first in range(0, count, FILE_REVIEWS):
        number = min(FILE_REVIEWS, count - first)
        rows = reviews.take(rng.integers(0, len(reviews), number))
        stars = np.clip(np.rint(rows["mean"].to_numpy() + rng.normal(0, 1, number)), 1, 5).astype(np.int8)
        days = np.datetime64("2021-01-01") + rng.integers(0, DAYS, number)
        places = rng.integers(0, BUSINESSES, number)
        columns = {
            "id": pa.array(np.arange(first, first + number)),
            "business": pa.array([f"Business {place}" for place in places]),
            "date": pa.array(days.astype("datetime64[D]")),
            "stars": pa.array(stars),
            "text": rows["text"],
            "aspects": rows["aspects"],
        }
        pq.write_table(pa.table(columns), folder / f"part-{first // FILE_REVIEWS:05}.parquet")
    return sum(path.stat().st_size for path in folder.iterdir())


def measure(parsed: Path, report: Path, by: str) -> dict[str, float]:
    """Return the seconds of the clock and of processors, and the peak resident memory of the command in bytes."""
    command = [sys.executable, "-m", "reviews_parsing.cli", "insights", str(parsed), "--by", by, "-o", str(report)]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"insights ended with status {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": time.perf_counter() - begin, "cpu_seconds": cpu, "peak": usage.ru_maxrss * 1024}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--reviews", type=int, nargs="+", default=[100_000, 1_000_000], help="numbers of reviews")
    parser.add_argument("--by", default="business,month", help="columns to compare by")
    options = parser.parse_args()
    busy = background_load()
    reviews = variants()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for count in options.reviews:
            size = write(Path(name) / str(count), reviews, count)
            figures = measure(Path(name) / str(count), Path(name) / f"{count}.html", options.by)
            results.append({"reviews": count, "file_mb": size // MB, **figures})
            if not options.json:
                print(
                    f"{count:,} reviews, {size // MB:,} MB: {figures['seconds']:.0f} s, {figures['cpu_seconds']:.0f} s "
                    f"of a core, peak memory {figures['peak'] // MB:,.0f} MB",
                    flush=True,
                )
    if options.json:
        print(json.dumps({"machine": machine(), "others": busy, "results": results}, indent=2))
    else:
        print(f"other programs used {busy:.0%} of the machine")


if __name__ == "__main__":
    main()
