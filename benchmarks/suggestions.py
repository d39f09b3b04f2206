"""What labels are worth that `data suggest` asks for, beside as many at random: the learning curve of both.

    python benchmarks/suggestions.py [DATA] [--start 200] [--step 100] [--steps 4] [--seeds 1 2 3]
                                     [--set epochs=8 ...] [-o curve.json] [--plot curve.svg]

Of the training split, `start` reviews drawn by the seed are labelled at first. Each step labels `step` more, those that
the model of the step before suggests or, in the other arm, the next at random, and trains anew on all. The validation
split says when to stop and calibrates; the test split is scored, in fp32, exact match, F1 in points. Points that the
file `-o` already has are not measured again, so that a run that was stopped can be gone on with.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from recipes import changed, trained
from rich.console import Console
from rich.table import Table

from reviews_parsing import data
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.io.files import write_bytes
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.suggest import suggest
from reviews_parsing.training.evaluate import evaluate
from reviews_parsing.training.fit import Recipe

ARMS = ("suggested", "random")
START = "start"
Point = dict[str, Any]


class Sizes(NamedTuple):
    """Reviews at first, reviews a step, steps."""

    start: int
    step: int
    steps: int


def more(arm: str, labelled: Sequence[Review], rest: Sequence[Review], step: int, parser: AspectParser) -> list[Review]:
    """The next `step` reviews to label of `rest`, which is in random order."""
    if arm == "random":
        return list(rest[:step])
    by_id = {review.id: review for review in rest}
    pool = ((review.text, {"id": review.id}) for review in rest)
    found = suggest(parser, pool, step, [review.text for review in labelled])
    return [by_id[one.source_row["id"]] for one in found]


def learnable(reviews: Sequence[Review], labelled: Sequence[Review]) -> list[Review]:
    """The reviews without aspects of a category that nothing labelled has."""
    known = Taxonomy.of(labelled)
    kept = (
        tuple(a for a in review.aspects if a.entity_group in (known.categories if a.span else known.implicit))
        for review in reviews
    )
    return [replace(review, aspects=aspects) for review, aspects in zip(reviews, kept, strict=True)]


def curve(
    splits: dict[str, list[Review]], recipe: Recipe, sizes: Sizes, known: list[Point], keep: Callable[[Point], None]
) -> None:
    """Measure each point that is not known, and `keep` it; the ids of what to label next are part of a point."""
    pool = random.Random(recipe.seed).sample(splits["train"], len(splits["train"]))  # noqa: S311
    by_id = {review.id: review for review in pool}

    def point(arm: str, number: int, labelled: list[Review]) -> Point:
        for found in known:
            if (found["arm"], found["seed"], found["step"]) == (arm, recipe.seed, number):
                return found
        rest = [review for review in pool if review.id not in {one.id for one in labelled}]
        with tempfile.TemporaryDirectory() as folder:
            parser, seconds = trained(labelled, learnable(splits["validation"], labelled), recipe, Path(folder))
            scores = evaluate(parser, splits["test"]).f1s
            arms = ARMS if arm == START else (arm,)
            following = {arm: [one.id for one in more(arm, labelled, rest, sizes.step, parser)] for arm in arms}
        words = sum(len(review.text.split()) for review in labelled)
        about = {"arm": arm, "seed": recipe.seed, "step": number, "reviews": len(labelled), "words": words}
        keep(about | scores | {"seconds": seconds, "next": following})
        return known[-1]

    first = point(START, 0, pool[: sizes.start])
    for arm in ARMS:
        labelled, last = pool[: sizes.start], first
        for number in range(1, sizes.steps + 1):
            labelled = labelled + [by_id[one] for one in last["next"][arm]]
            last = point(arm, number, labelled)


def table(points: list[Point], measure: str) -> Table:
    """Means over the seeds, by number of reviews labelled."""
    grid = Table(title=f"F1 of {measure}, means over {len({p['seed'] for p in points})} seeds")
    for column in ("reviews", "suggested", "random", "difference", "words suggested", "words random"):
        grid.add_column(column, justify="right")
    for reviews in sorted({point["reviews"] for point in points}):
        arms = [[p for p in points if p["arm"] in (arm, START) and p["reviews"] == reviews] for arm in ARMS]
        if all(arms):
            f1 = [100 * statistics.fmean(p[measure] for p in its) for its in arms]
            words = [statistics.fmean(p["words"] for p in its) for its in arms]
            row = [f"{figure:.1f}" for figure in (*f1, f1[0] - f1[1])] + [f"{figure:,.0f}" for figure in words]
            grid.add_row(str(reviews), *row)
    return grid


def plot(points: list[Point], measure: str, target: Path) -> None:
    """Both curves, with every seed as a thin line."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "suggestions"
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for arm, colour, dashes in zip(ARMS, ("#0072B2", "#D55E00"), ("-", "--"), strict=True):
        its = [point for point in points if point["arm"] in (arm, START)]
        sizes = sorted({point["reviews"] for point in its})
        for seed in sorted({point["seed"] for point in its}):
            line = sorted((p["reviews"], 100 * p[measure]) for p in its if p["seed"] == seed)
            axes.plot(*zip(*line, strict=True), colour, linestyle=dashes, linewidth=0.6, alpha=0.5)
        means = [100 * statistics.fmean(p[measure] for p in its if p["reviews"] == size) for size in sizes]
        axes.plot(sizes, means, colour, linestyle=dashes, linewidth=2, marker="o", label=arm)
    axes.set(xlabel="labelled reviews", ylabel=f"F1 of {measure.replace('_', ' + ')}, test split")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument("data", nargs="?", default="corpus")
    arguments.add_argument("--start", type=int, default=200)
    arguments.add_argument("--step", type=int, default=100)
    arguments.add_argument("--steps", type=int, default=4)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments.add_argument("--set", nargs="*", default=["epochs=8"], metavar="NAME=VALUE", help="fields of the recipe")
    arguments.add_argument("--scored", type=int, help="score only so many reviews of the test split")
    arguments.add_argument("--measure", default="span_category", help="span, span_category or span_category_polarity")
    arguments.add_argument("-o", "--output", type=Path, default=Path("suggestions.json"))
    arguments.add_argument("--plot", type=Path)
    options = arguments.parse_args()
    try:
        recipe = changed(Recipe(), options.set)
        splits = data.read_splits(options.data)
        splits["test"] = splits["test"][: options.scored]
        about = {"data": options.data, "recipe": asdict(recipe), "start": options.start, "step": options.step}
        about["scored"] = len(splits["test"])
        sizes = Sizes(options.start, options.step, options.steps)
        points: list[Point] = []
        if options.output.exists():
            before = json.loads(options.output.read_text())
            if before["about"] != about:
                sys.exit(f"error: {options.output} holds another experiment: name another file with -o")
            points = before["points"]

        def keep(point: Point) -> None:
            points.append(point)
            write_bytes(options.output, json.dumps({"about": about, "points": points}, indent=1).encode())
            print({key: value for key, value in point.items() if key != "next"}, file=sys.stderr, flush=True)

        for seed in options.seeds:
            curve(splits, replace(recipe, seed=seed), sizes, points, keep)
    except (ReviewsParsingError, ValueError) as error:
        sys.exit(f"error: {error}")
    Console(width=None if sys.stdout.isatty() else 160).print(table(points, options.measure))
    if options.plot:
        plot(points, options.measure, options.plot)


if __name__ == "__main__":
    main()
