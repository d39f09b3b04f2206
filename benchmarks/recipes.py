"""What a change to the training recipe is worth: the same data, split anew and trained anew for each seed.

    python benchmarks/recipes.py DATA [--map FILE.json] [--seeds 1 2 3] [--share 0.5] [--set noisy_share=0 ...]
        [--trial NAME[=VALUE] ...] [--json]

Data without splits of its own gives up a fifth of its reviews, drawn by the seed, as the development split; else its
validation split is that. A twentieth of the rest calibrates. Exact match, in fp32, F1 in points.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from trials import TRIALS, trial

from reviews_parsing import data
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.parser import AspectParser
from reviews_parsing.pipelines import foundation_checkpoint
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.training import fit as fitting
from reviews_parsing.training.evaluate import evaluate
from reviews_parsing.training.export import calibrate, write_fp32
from reviews_parsing.training.fit import Recipe

DEVELOPMENT = 0.2
# Of what is left, to calibrate by and to stop by.
VALIDATION = 0.05


def development(splits: dict[str, list[Review]], seed: int) -> tuple[list[Review], list[Review], list[Review]]:
    """What is trained on, what calibrates, and what is scored."""
    if "all" in splits:
        parts = data.split(splits["all"], seed, {"train": 1 - DEVELOPMENT, "development": DEVELOPMENT})
    else:
        parts = {"train": splits["train"], "development": splits["validation"]}
    rest = data.split(parts["train"], seed, {"train": 1 - VALIDATION, "validation": VALIDATION})
    return rest["train"], rest["validation"], parts["development"]


def measure(
    splits: dict[str, list[Review]], recipe: Recipe, folder: Path, share: float = 1.0, first: Path | None = None
) -> dict[str, float]:
    """Figures of one training, from the checkpoint `first`, on that share of the reviews there are to learn from."""
    train, validation, scored = development(splits, recipe.seed)
    if share < 1:
        train = data.split(train, recipe.seed, {"train": share, "left": 1 - share})["train"]
    parser, seconds = trained(train, validation, recipe, folder, first)
    found = evaluate(parser, scored)
    metrics = found.metrics()
    names = ("tasd_f1", "implicit_f1", "quad_f1", "span_ece", "polarity_ece")
    return {
        "reviews": len(train),
        **found.f1s,
        **{name: metrics[name] for name in names if name in metrics},
        "seconds": seconds,
    }


def trained(
    train: list[Review], validation: list[Review], recipe: Recipe, folder: Path, first: Path | None = None
) -> tuple[AspectParser, float]:
    """A calibrated parser in fp32 that begins as the checkpoint `first`, and the seconds of fitting it."""
    taxonomy = Taxonomy.of(train)
    fitted = fitting.fit(train, validation, taxonomy, recipe, folder, foundation=first)
    write_fp32(fitted.checkpoint, taxonomy, recipe, folder)
    calibrate(folder, validation)
    return AspectParser(folder), fitted.seconds


def changed(recipe: Recipe, settings: list[str]) -> Recipe:
    """Raises ValueError where there is no such field, or the value is none of its kind."""
    names = {"int": int, "float": float, "bool": bool, "str": str}
    kinds = {f.name: names[str(f.type).removesuffix(" | None")] for f in fields(recipe)}
    given: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in kinds:
            raise ValueError(f"a recipe has no '{name}': set one of {', '.join(kinds)}")
        given[name] = value == "true" if kinds[name] is bool else kinds[name](value)
    return replace(recipe, **given)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument("data")
    arguments.add_argument("--map", type=Path, help="JSON file that renames or drops categories")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments.add_argument("--share", type=float, default=1.0, help="of the reviews to learn from; is more worth it?")
    arguments.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of the recipe")
    arguments.add_argument(
        "--trial",
        nargs="*",
        default=[],
        metavar="NAME[=VALUE]",
        help="with changes that did not pay (trials.py): " + ", ".join(TRIALS),
    )
    arguments.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = arguments.parse_args()
    if not 0 < options.share <= 1:
        arguments.error("--share is over 0 and at most 1")
    try:
        recipe = changed(Recipe(), options.set)
        splits = data.read_splits(options.data, data.read_mapping(options.map) if options.map else {})
        runs = []
        for seed in options.seeds:
            its = replace(recipe, seed=seed)
            with tempfile.TemporaryDirectory() as folder, ExitStack() as trials:
                first = foundation_checkpoint(its, Path(folder))
                for wish in options.trial:
                    trials.enter_context(trial(wish))
                runs.append(measure(splits, its, Path(folder), options.share, first))
            print(f"seed {seed}: {runs[-1]}", file=sys.stderr)
    except (ReviewsParsingError, ValueError) as error:
        sys.exit(f"error: {error}")
    means = {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}
    if options.json:
        told = {"data": options.data, "recipe": asdict(recipe), "trial": options.trial, "runs": runs, "mean": means}
        print(json.dumps(told, indent=2))
        return
    changes = [*options.set, *options.trial]
    table = Table(title=f"{options.data}, means over {len(runs)} seeds; {' '.join(changes) or 'the default recipe'}")
    for name in means:
        table.add_column(name, justify="right")
    table.add_row(
        *(f"{value:.0f}" if name in ("seconds", "reviews") else f"{100 * value:.1f}" for name, value in means.items())
    )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    main()
