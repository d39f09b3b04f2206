"""Train on a GPU in mixed precision and in fp32, and compare their time and F1: less than five minutes on one GPU.

    python benchmarks/gpu.py [--json] [--seconds 280] [--epochs 3] [--seeds 2] [--reviews N]

Each training is that of `reviews-parsing train corpus`, from the pretrained checkpoint, scored on the validation split.
Mixed precision and fp32 alternate, one seed after the other, until all seeds are trained or the next training would not
end in time. The difference of F1 is within noise if it is at most that between the seeds of one precision. Without a
GPU the same is measured on the processor.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from machine import argument_parser, machine, print_table
from rich.console import Console
from rich.table import Table

from reviews_parsing import data, pretrained
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.schema import Taxonomy
from reviews_parsing.training.fit import Recipe, configure_threads, fit

PRECISIONS = ("mixed", "fp32")
F1 = "eval_aggregated_f1"


@dataclass(frozen=True, slots=True)
class Training:
    """One training: precision, seed, seconds for an epoch, and F1 (span and category) on the validation split."""

    precision: str
    seed: int
    epoch_seconds: float
    f1: float


def main() -> None:
    options = parse_arguments()
    try:
        report = measure(options, Console(stderr=True).print)
    except ReviewsParsingError as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=280.0, help="time limit of all trainings")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of a training")
    parser.add_argument("--seeds", type=int, default=2, help="trainings in each precision")
    parser.add_argument("--reviews", type=int, help="labelled reviews to learn; default: those of the corpus")
    return parser.parse_args()


def measure(options: argparse.Namespace, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Train, and return the figures of each training and their comparison."""
    configure_threads()
    import torch

    corpus = data.read_splits("corpus")
    train, validation = corpus["train"][: options.reviews], corpus["validation"][: options.reviews]
    taxonomy = Taxonomy.of(corpus["train"])
    trainings: list[Training] = []
    begin, longest = time.monotonic(), 0.0
    for seed in range(options.seeds):
        for precision in PRECISIONS:
            if trainings and time.monotonic() - begin + longest > options.seconds:
                say(f"{precision}, seed {seed}: left out, it would not end in time")
                continue
            start = time.monotonic()
            recipe = replace(Recipe(), epochs=options.epochs, seed=seed)
            with in_precision(precision), tempfile.TemporaryDirectory() as folder:
                result = fit(train, validation, taxonomy, recipe, Path(folder), foundation=pretrained.checkpoint())
            longest = max(longest, time.monotonic() - start)
            trainings.append(Training(precision, seed, result.seconds / options.epochs, result.history[-1][F1]))
            say(f"{precision}, seed {seed}: {trainings[-1].epoch_seconds:.1f} s an epoch, F1 {trainings[-1].f1:.3f}")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "gpu": gpu,
        "trainings": [asdict(training) for training in trainings],
        **compare(trainings),
        "seconds": time.monotonic() - begin,
        "reviews": len(train),
        "machine": machine(),
    }


def in_precision(name: str) -> AbstractContextManager[Any]:
    """Let `fit` train in mixed precision, which is its default where the device has bf16, or in fp32."""
    if name == "mixed":
        return nullcontext()
    import torch

    if torch.cuda.is_available():
        return patch("torch.cuda.is_bf16_supported", return_value=False)
    return patch("torch.cpu.get_capabilities", return_value={})


def compare(trainings: list[Training]) -> dict[str, Any]:
    """Return medians by precision, their ratio, and whether F1 differs by more than between seeds."""
    by_precision = {name: [t for t in trainings if t.precision == name] for name in PRECISIONS}
    if not all(by_precision.values()):
        return {"epoch_seconds": {}, "speedup": None, "difference": None, "noise": None}
    seconds = {name: statistics.median(t.epoch_seconds for t in ts) for name, ts in by_precision.items()}
    means = {name: statistics.fmean(t.f1 for t in ts) for name, ts in by_precision.items()}
    spreads = [max(scores) - min(scores) for ts in by_precision.values() if (scores := [t.f1 for t in ts])]
    return {
        "epoch_seconds": seconds,
        "speedup": seconds["fp32"] / seconds["mixed"],
        "difference": means["mixed"] - means["fp32"],
        "noise": max(spreads),
    }


def show(report: dict[str, Any]) -> None:
    """Print a table and a line of conclusion."""
    table = Table("precision", "seed", "seconds an epoch", "F1")
    for training in report["trainings"]:
        values = (training["precision"], str(training["seed"]))
        table.add_row(*values, f"{training['epoch_seconds']:.1f}", f"{training['f1']:.3f}")
    print_table(table)
    where = report["gpu"] or f"no GPU: {report['machine']['processor']}"
    print(f"{where}, {report['reviews']:,} reviews, {report['seconds']:.0f} s in all")
    if report["speedup"] is None:
        print("too few trainings to compare: give more --seconds")
        return
    verdict = "within" if abs(report["difference"]) <= report["noise"] else "beyond"
    print(f"mixed precision is {report['speedup']:.2f} times as fast")
    print(f"F1 differs by {report['difference']:+.3f}, {verdict} the {report['noise']:.3f} between seeds")


if __name__ == "__main__":
    main()
