"""The promotion gate: challenger and champion are compared on several evaluation sets, then one is champion.

The sets are the test splits of both and every registered reference set. On each, both models are judged on the
categories that both know and the labels have. A challenger passes if on each set it is not worse than the champion, the
set is large enough to exclude a loss of two points, and none of its reviews was trained on. Polarities, implicit
aspects and opinions, as far as the labels have them, must not be significantly worse.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reviews_parsing import data
from reviews_parsing.errors import ChampionChanged, DataError, ModelError, PromotionRefused, TrackingError
from reviews_parsing.parser import AspectParser
from reviews_parsing.pipelines.references import list_reference_sets
from reviews_parsing.pipelines.training_texts import TrainingTexts, read_training_texts
from reviews_parsing.registry.champion import ChampionState, read_champion, set_champion
from reviews_parsing.registry.fetch import fetch
from reviews_parsing.registry.runs import fetch_file
from reviews_parsing.registry.versions import register, run_of, tag
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.settings import Settings
from reviews_parsing.training.evaluate import Evaluation, evaluate
from reviews_parsing.training.metrics import Difference, f1_of_counts, paired_bootstrap

TOLERANCE = 0.01
"""Loss of F1 below which the best estimate is still "not worse"."""
MAX_LOSS = 0.02
"""Loss of F1 that the 95 % interval must exclude."""
RULE_OF_THREE = 3.0
"""A difference that none of n spans shows is below 3/n with 95 % confidence (Hanley and Lippman-Hand, 1983)."""
MIN_SPANS_OF_CATEGORY = 5
"""Right spans of the champion from which a challenger without any has lost the category."""


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Labelled reviews to judge on, and the categories that their labels distinguish."""

    name: str
    reviews: Sequence[Review]
    categories: frozenset[str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both models on one evaluation set: `support` labelled spans of the shared `categories`.

    `champion` and `difference` are None without a champion. `refusals` are the reasons against the challenger.
    """

    name: str
    reviews: int
    support: int
    categories: tuple[str, ...]
    challenger: Evaluation
    champion: Evaluation | None = None
    difference: Difference | None = None
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Decision of the gate about a version.

    The first of the `comparisons` is on the challenger's own test split, if it shares a category with the champion.
    `refusals` are the reasons against the challenger, `notes` are remarks that decided nothing.
    """

    version: str
    champion_version: str | None
    comparisons: tuple[Comparison, ...]
    refusals: tuple[str, ...]
    notes: tuple[str, ...]
    promoted: bool
    reason: str

    @property
    def challenger(self) -> Evaluation | None:
        """The evaluation of the challenger on the first evaluation set."""
        return self.comparisons[0].challenger if self.comparisons else None

    @property
    def champion(self) -> Evaluation | None:
        """The evaluation of the champion on the first evaluation set."""
        return self.comparisons[0].champion if self.comparisons else None

    @property
    def difference(self) -> Difference | None:
        """The difference in F1 on the first evaluation set."""
        return self.comparisons[0].difference if self.comparisons else None


def promote(
    *,
    run_id: str | None = None,
    version: str | None = None,
    force: bool = False,
    reason: str = "",
    reviews: Sequence[Review] | None = None,
    dry_run: bool = False,
    name: str | None = None,
) -> Verdict:
    """Evaluate challenger and champion now, and make the challenger champion if it passes the gate.

    Not worse means: the 95 % interval of the difference in F1 (paired bootstrap over reviews) reaches zero, and the
    difference is at least -1 point. With `force` a refused challenger is promoted all the same, and `reason` is
    recorded. `reviews` replace the evaluation sets. With `dry_run` nothing is written, and `Verdict.promoted` tells
    what would be done. `name` is the registered model (default: the configured one). Raises ModelError if there is no
    such run or version, ChampionChanged if another promotion came first.
    """
    if version is None:
        if run_id is None:
            raise ModelError("name the challenger: --run-id ID or --version N")
        version = register(run_id, name)
    state = read_champion(name)
    verdict = judge(version, state, name=name, reviews=reviews)
    if verdict.refusals:
        text = f"forced although {verdict.reason}: {reason}" if force else verdict.reason
        verdict = replace(verdict, promoted=force, reason=text)
    if not dry_run:
        _record(verdict, state, name)
    return verdict


def require(verdict: Verdict) -> Verdict:
    """Return the verdict if it promotes. Raises PromotionRefused with the numbers that decided otherwise."""
    if verdict.promoted:
        return verdict
    advice = "train a better one, or --force --reason '...'"
    if any("without the " in refusal for refusal in verdict.refusals):
        advice += "; two models for two domains are kept side by side: promote --run-id RUN --domain NAME"
    raise PromotionRefused(f"version {verdict.version} is {verdict.reason}; {advice}")


def judge(
    version: str, state: ChampionState, *, name: str | None = None, reviews: Sequence[Review] | None = None
) -> Verdict:
    """Compare a version with the champion of `state` on every evaluation set. Writes nothing."""
    name = name or Settings().model_name
    run_id = run_of(version, name)
    challenger = AspectParser(fetch(f"models:/{name}/{version}")[0])
    rival = state.version if state.version != version else None
    champion, refusals = _load_champion(name, rival, challenger.taxonomy)
    notes: list[str] = []
    texts = read_training_texts(run_id) if run_id else None
    if texts is None or not texts.complete:
        notes.append(f"not all training texts of version {version} are known: it may have been trained on some reviews")
    if reviews is None:
        sets, missing = _evaluation_sets(version, run_id, challenger.taxonomy, rival, champion, name)
        refusals += missing
    else:
        sets = [EvaluationSet("the given reviews", reviews, frozenset(Taxonomy.of(reviews).categories))]
    comparisons = []
    for evaluation_set in sets:
        comparison = _compare(evaluation_set, rival, challenger, champion, texts)
        if comparison is None:
            notes.append(f"{evaluation_set.name} shares no category with both versions: it is not used")
        else:
            comparisons.append(comparison)
            (refusals if rival else notes).extend(comparison.refusals)
    if rival and not comparisons and not refusals:
        refusals.append(f"not comparable with version {rival}: they share no labelled category")
    # Being worse is the reason that people look for first.
    refusals.sort(key=lambda refusal: not refusal.startswith("worse"))
    accepted = f"not worse than version {rival}" if rival else "the first model needs no rival"
    if state.version == version:
        accepted = "is champion already"
    words = "; ".join(refusals) or accepted
    return Verdict(version, rival, tuple(comparisons), tuple(refusals), tuple(notes), not refusals, words)


def _evaluation_sets(
    version: str,
    run_id: str,
    taxonomy: Taxonomy,
    rival: str | None,
    champion: AspectParser | None,
    name: str,
) -> tuple[list[EvaluationSet], list[str]]:
    """Return the distinct evaluation sets, and a refusal for each that cannot be read."""
    sets: dict[str, EvaluationSet] = {}
    refusals: list[str] = []
    models = [(version, run_id, taxonomy)]
    if rival and champion:
        models.append((rival, run_of(rival, name), champion.taxonomy))
    for number, run, model_taxonomy in models:
        try:
            split = test_split(run)
        except (ModelError, DataError, TrackingError) as error:
            refusals.append(f"not comparable on the test split of version {number} ({error})")
        else:
            _add(
                sets, EvaluationSet(f"the test split of version {number}", split, frozenset(model_taxonomy.categories))
            )
    for reference in list_reference_sets(name):
        _add(sets, EvaluationSet(f"reference set {reference.name}", reference.read(), frozenset(reference.categories)))
    return list(sets.values()), refusals


def _add(sets: dict[str, EvaluationSet], evaluation_set: EvaluationSet) -> None:
    """Add a set, or merge it with one that has the same reviews."""
    digest = data.compute_digest({"": evaluation_set.reviews})
    if digest in sets:
        twin = sets[digest]
        evaluation_set = EvaluationSet(
            f"{twin.name} and {evaluation_set.name}", twin.reviews, twin.categories | evaluation_set.categories
        )
    sets[digest] = evaluation_set


def test_split(run_id: str) -> list[Review]:
    """Return the test split of a run. Raises ModelError or TrackingError."""
    with tempfile.TemporaryDirectory() as folder:
        return data.read(fetch_file(run_id, "data/test.jsonl", Path(folder)))


def _load_champion(name: str, rival: str | None, taxonomy: Taxonomy) -> tuple[AspectParser | None, list[str]]:
    """Load the champion; returns refusals if that fails, or if a challenger with `taxonomy` lacks labels of it."""
    if rival is None:
        return None, []
    try:
        champion = AspectParser(fetch(f"models:/{name}/{rival}")[0])
    except ModelError as error:
        return None, [f"not comparable with version {rival} ({error})"]
    return champion, _lost_labels(taxonomy, champion.taxonomy, rival)


def _lost_labels(challenger: Taxonomy, champion: Taxonomy, rival: str) -> list[str]:
    """Return a refusal for each kind of label that the champion knows and the challenger does not."""
    kinds = {
        "categories": (champion.categories, challenger.categories),
        "implicit categories": (champion.implicit, challenger.implicit),
        "polarities": (champion.polarities, challenger.polarities),
    }
    lost = {kind: [label for label in old if label not in new] for kind, (old, new) in kinds.items()}
    refusals = [f"without the {kind} {', '.join(labels)} of version {rival}" for kind, labels in lost.items() if labels]
    if champion.opinions and not challenger.opinions:
        refusals.append(f"without the opinions of aspects, which version {rival} has")
    return refusals


def _compare(
    evaluation_set: EvaluationSet,
    rival: str | None,
    challenger: AspectParser,
    champion: AspectParser | None,
    texts: TrainingTexts | None,
) -> Comparison | None:
    """Evaluate both models on a set, None if no labelled span has a category that both know."""
    models = [challenger, *([champion] if champion else [])]
    shared = evaluation_set.categories.intersection(*(model.taxonomy.categories for model in models))
    reviews = [
        replace(review, aspects=tuple(aspect for aspect in review.aspects if aspect.entity_group in shared))
        for review in evaluation_set.reviews
    ]
    if not any(aspect.span for review in reviews for aspect in review.aspects):
        return None
    results = []
    for model in models:
        model_categories = {*model.taxonomy.categories, *model.taxonomy.implicit}
        results.append(evaluate(model, reviews, dict.fromkeys(model_categories - shared)))
    support = int(results[0].counts[:, 2].sum())
    comparison = Comparison(evaluation_set.name, len(reviews), support, tuple(sorted(shared)), results[0])
    refusals = []
    if champion:
        mean, low, high = paired_bootstrap(results[0].counts, results[1].counts)
        # The bootstrap of a small set on which both models answer alike has no width.
        difference = Difference(mean, min(low, mean - RULE_OF_THREE / support), high)
        comparison = replace(comparison, champion=results[1], difference=difference)
        refusals += _refusals(comparison, results[0], results[1], difference, rival or "")
        refusals += _part_refusals(comparison.name, results[0], results[1], rival or "")
    if trained_on := texts.overlap(reviews) if texts else []:
        refusals.append(
            f"trained on {len(trained_on)} of the {len(reviews)} reviews of {comparison.name} "
            f"(such as review {trained_on[0].id})"
        )
    return replace(comparison, refusals=tuple(refusals))


def _refusals(
    comparison: Comparison, challenger: Evaluation, champion: Evaluation, difference: Difference, rival: str
) -> list[str]:
    """Return the reasons against the challenger that follow from the scores on one set."""
    mean, low, high = (100 * figure for figure in difference)
    numbers = f"F1 {mean:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}, {comparison.support} labelled spans"
    if difference.high < 0 or difference.mean < -TOLERANCE:
        return [f"worse than version {rival} on {comparison.name} ({numbers})"]
    refusals = []
    if challenger.f1 == 0:
        refusals.append(f"without a right span on {comparison.name}, and so is version {rival} ({numbers})")
    elif difference.low < -MAX_LOSS:
        refusals.append(
            f"not shown to be as good as version {rival} on {comparison.name}, which is too small to exclude a loss of "
            f"{100 * MAX_LOSS:.0f} points ({numbers})"
        )
    for category in comparison.categories:
        right, right_of_champion = (_right_spans(result, category) for result in (challenger, champion))
        if right_of_champion >= MIN_SPANS_OF_CATEGORY and not right:
            refusals.append(
                f"without a right {category} on {comparison.name}, where version {rival} has {right_of_champion}"
            )
    return refusals


def _part_refusals(name: str, challenger: Evaluation, champion: Evaluation, rival: str) -> list[str]:
    """Return the reasons against a challenger whose polarities, implicit aspects or opinions are worse."""
    refusals = []
    for part, counts in champion.parts.items():
        # The bootstrap takes time, and no interval of a gain lies below zero.
        if f1_of_counts(challenger.parts[part]) >= f1_of_counts(counts):
            continue
        difference = paired_bootstrap(challenger.parts[part], counts)
        if difference.high < 0:
            mean, low, high = (100 * figure for figure in difference)
            refusals.append(
                f"worse than version {rival} in {part} on {name} (F1 {mean:+.1f} points, 95 % interval {low:+.1f} to "
                f"{high:+.1f}, {int(counts[:, 2].sum())} labels)"
            )
    return refusals


def _right_spans(result: Evaluation, category: str) -> int:
    scores = result.scores.get(category)
    return round(scores.recall * scores.support) if scores else 0


def _record(verdict: Verdict, state: ChampionState, name: str | None) -> None:
    """Tag the version with the verdict; if it passed and the champion is still that of `state`, make it champion."""
    tags = {"gate": verdict.reason}
    if verdict.challenger:
        tags["gate_f1"] = f"{verdict.challenger.f1:.4f}"
    if verdict.champion and verdict.difference:
        mean, low, high = verdict.difference
        tags |= {
            "gate_champion": verdict.champion_version or "",
            "gate_champion_f1": f"{verdict.champion.f1:.4f}",
            "gate_difference": f"{mean:+.4f}",
            "gate_interval_95": f"{low:+.4f} {high:+.4f}",
        }
        tags["gate_sets"] = json.dumps(
            [
                {"set": c.name, "spans": c.support, **(c.difference._asdict() if c.difference else {})}
                for c in verdict.comparisons
            ]
        )
    if not verdict.promoted:
        tag(verdict.version, tags, name)
        return
    try:
        set_champion(verdict.version, tags, name, expected=state)
    except ChampionChanged as error:
        tag(verdict.version, {"gate": str(error)}, name)
        raise
