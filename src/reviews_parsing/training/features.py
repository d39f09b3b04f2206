"""Labelled reviews as what the tagger learns from: windows of token ids with word-level labels."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from reviews_parsing.schema import Aspect, Review, Taxonomy
from reviews_parsing.tagging import (
    TokenizedText,
    WordSpan,
    covering,
    line_starts,
    spans_to_tags,
    special_tokens,
    tokenize,
    windows,
)
from reviews_parsing.training.augmentation import add_noise

IGNORE = -100
WORD_LABELS = ("labels", "polarity_labels", "opinion_labels", "link_labels", "line_starts")
TEXT_LABELS = ("implicit_labels", "implicit_link_labels")
NOISY_VERSIONS = 4


def featurize(
    reviews: Sequence[Review], tokenizer: Any, taxonomy: Taxonomy, window: int, margin: int
) -> list[dict[str, list[int]]]:
    """One feature for each window: `input_ids`, `labels` and `polarity_labels`, lists of the same length.

    Labels stand on the first token of each word that the window keeps, -100 elsewhere; polarity only inside spans.
    `opinion_labels` are IOB2 of the words that judge, and `link_labels`, on the first token of each span, the place of
    the first token of its opinion; 0 where it has none, and -100 where the window does not hold it. `line_starts` is 1
    on the first token of a word that begins a line, else 0. `implicit_labels` has 1 for each implicit category and
    polarity that the text has, 0 for others. In a text of several windows it is 1 for the window that holds the
    opinion, 0 for the others, and -100 where the aspect has no opinion. `implicit_link_labels` are to those what
    `link_labels` are to spans.
    """
    prefix, suffix = special_tokens(tokenizer)
    size = window - len(prefix) - len(suffix)
    features = []
    for review, text in zip(reviews, tokenize(tokenizer, [r.text for r in reviews]), strict=True):
        if not text.ids:
            continue
        tags, polarities = word_labels(review, text, taxonomy)
        opinions, links = opinion_labels(review, text)
        lines = set(line_starts(review.text, text.bounds))
        starts = [int(word in lines) for word in range(len(text.bounds))]
        by_word = {"labels": tags, "polarity_labels": polarities, "opinion_labels": opinions, "line_starts": starts}
        pieces = windows(text.first, size, margin)
        for piece in pieces:
            begin = text.first[piece.start]
            ids = [*prefix, *text.ids[begin : text.first[piece.stop]], *suffix]
            places = {word: len(prefix) + text.first[word] - begin for word in range(piece.keep_start, piece.keep_stop)}
            feature = {"input_ids": ids, **{name: [IGNORE] * len(ids) for name in WORD_LABELS}}
            for word, place in places.items():
                for name, labels in by_word.items():
                    feature[name][place] = labels[word]
                if word in links:
                    feature["link_labels"][place] = _place(links[word], places)
            kept = (piece.keep_start, piece.keep_stop) if len(pieces) > 1 else None
            feature["implicit_labels"] = _implicit_of_window(review, text, taxonomy, kept)
            feature["implicit_link_labels"] = implicit_links(review, text, taxonomy, places)
            features.append(feature)
    return features


def with_noisy_versions(
    reviews: Sequence[Review], tokenizer: Any, taxonomy: Taxonomy, window: int, margin: int, seed: int
) -> list[dict[str, Any]]:
    """The features of `reviews`, each with the same window of a few noisy versions of its review under `noisy`.

    A review with spans of several categories is there once for each.
    """
    rng = random.Random(seed)  # noqa: S311
    features: list[dict[str, Any]] = []
    for review in itertools.chain.from_iterable(map(readings, reviews)):
        its = [add_noise(review, rng) for _ in range(NOISY_VERSIONS)]
        clean, *noisy = (featurize([version], tokenizer, taxonomy, window, margin) for version in (review, *its))
        same = [version for version in noisy if len(version) == len(clean)]
        features += [{**feature, "noisy": [version[i] for version in same]} for i, feature in enumerate(clean)]
    return features


def readings(review: Review) -> list[Review]:
    """The review as often as one of its spans has categories, each time with another of them first."""
    by_span: dict[tuple[int, int] | None, list[str]] = {}
    for aspect in review.aspects:
        if aspect.span and aspect.entity_group not in by_span.setdefault(aspect.span, []):
            by_span[aspect.span].append(aspect.entity_group)

    def turn(aspect: Aspect, number: int) -> int:
        groups = by_span.get(aspect.span, [aspect.entity_group])
        return (groups.index(aspect.entity_group) - number) % len(groups)

    return [
        replace(review, aspects=tuple(sorted(review.aspects, key=partial(turn, number=number))))
        for number in range(max(map(len, by_span.values()), default=1))
    ]


def draw_versions(features: Sequence[Mapping[str, Any]], share: float) -> list[Mapping[str, Any]]:
    """The features, about `share` of those that have noisy versions in one of them, drawn by torch's generator."""
    import torch

    chosen = []
    for feature, (draw, which) in zip(features, torch.rand(len(features), 2).tolist(), strict=True):
        versions = feature.get("noisy") if draw < share else None
        chosen.append(versions[int(which * len(versions))] if versions else feature)
    return chosen


def word_labels(review: Review, text: TokenizedText, taxonomy: Taxonomy) -> tuple[list[int], list[int]]:
    """Tag and polarity label of each word. A span that splits a word is widened to it (`data check` reports those).

    What the taxonomy does not know, as held-out reviews may have it, is nothing to a tagger.
    """
    spans: list[WordSpan] = []
    polarities = [IGNORE] * len(text.bounds)
    for aspect in review.aspects:
        known = aspect.entity_group in taxonomy.categories
        touched = covering(text.bounds, *aspect.span) if aspect.span and known else None
        if touched is None:
            continue
        first, stop = touched
        if any(first < other.stop and other.start < stop for other in spans):
            continue
        spans.append(WordSpan(first, stop, taxonomy.categories.index(aspect.entity_group)))
        if aspect.polarity in taxonomy.polarities:
            polarities[first:stop] = [taxonomy.polarities.index(aspect.polarity)] * (stop - first)
    return spans_to_tags(spans, len(text.bounds)), polarities


def implicit_labels(review: Review, taxonomy: Taxonomy, present: int = 1) -> list[int]:
    """`present` for each implicit category (with each polarity, where the taxonomy has any) of the review, else 0."""
    polarities = taxonomy.polarities or (None,)
    has = {(a.entity_group, a.polarity if taxonomy.polarities else None) for a in review.aspects if not a.span}
    return [present * ((category, polarity) in has) for category in taxonomy.implicit for polarity in polarities]


def _implicit_of_window(
    review: Review, text: TokenizedText, taxonomy: Taxonomy, kept: tuple[int, int] | None
) -> list[int]:
    """Return `implicit_labels` of the window that keeps words [start, stop), or of the whole review without `kept`."""
    if kept is None:
        return implicit_labels(review, taxonomy)
    found = [0] * len(implicit_labels(review, taxonomy))
    for aspect in review.aspects:
        which = implicit_labels(replace(review, aspects=(aspect,)), taxonomy)
        if 1 in which:
            words = _opinion_words(aspect, text)
            here = IGNORE if words is None else int(kept[0] <= words[0] < kept[1])
            found[which.index(1)] = here or found[which.index(1)]
    return found


def opinion_labels(review: Review, text: TokenizedText) -> tuple[list[int], dict[int, int | None]]:
    """IOB2 tag of each word; and for the first word of each span the first word of its opinion, None where none is."""
    spans: list[WordSpan] = []
    links: dict[int, int | None] = {}
    for aspect in review.aspects:
        words = _opinion_words(aspect, text)
        spans += [WordSpan(*words, 0)] if words else []
        if aspect.span and (touched := covering(text.bounds, *aspect.span)):
            links[touched[0]] = words[0] if words else None
    return spans_to_tags(spans, len(text.bounds)), links


def implicit_links(review: Review, text: TokenizedText, taxonomy: Taxonomy, places: Mapping[int, int]) -> list[int]:
    """For each implicit category and polarity of the review the place of its opinion's first token; -100 for others."""
    found = [IGNORE] * len(implicit_labels(review, taxonomy))
    for aspect in review.aspects:
        which = implicit_labels(replace(review, aspects=(aspect,)), taxonomy)
        if 1 in which:
            words = _opinion_words(aspect, text)
            found[which.index(1)] = _place(words[0] if words else None, places)
    return found


def _opinion_words(aspect: Aspect, text: TokenizedText) -> tuple[int, int] | None:
    return covering(text.bounds, aspect.opinion.start, aspect.opinion.end) if aspect.opinion else None


def _place(word: int | None, places: Mapping[int, int]) -> int:
    return 0 if word is None else places.get(word, IGNORE)


def collate_soft(features: Sequence[Mapping[str, Any]], longest: int) -> dict[str, Any]:
    """Tensors of the `soft` arrays, padded to `longest` tokens; {} where no feature has any.

    `soft_words` of shape [batch, tokens] is 1 on each word of an unlabelled text, 2 if it is certain too, else 0.
    """
    import torch

    soft = [(row, feature["soft"]) for row, feature in enumerate(features) if "soft" in feature]
    if not soft:
        return {}
    found = {"soft_words": torch.zeros(len(features), longest, dtype=torch.long)}
    for number, name in enumerate(("soft_tags", "soft_polarities", "soft_opinions"), start=1):
        width = soft[0][1][number].shape[1]
        found[name] = torch.zeros(len(features), longest, width)
    for row, (places, tags, polarities, opinions, certain) in soft:
        found["soft_words"][row, places] = torch.from_numpy(certain.astype(np.int64) + 1)
        for name, array in (("soft_tags", tags), ("soft_polarities", polarities), ("soft_opinions", opinions)):
            found[name][row, places] = torch.from_numpy(array.astype(np.float32))
    return found


def collate(features: Sequence[Mapping[str, list[int]]], pad: int) -> dict[str, Any]:
    """Features padded to the longest, as tensors of shape [batch, tokens]."""
    import torch

    longest = max(len(f["input_ids"]) for f in features)

    def padded(rows: list[list[int]], value: int) -> Any:
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    return {
        **collate_soft(features, longest),
        "input_ids": padded([f["input_ids"] for f in features], pad),
        "attention_mask": padded([[1] * len(f["input_ids"]) for f in features], 0),
        **{name: padded([f[name] for f in features], IGNORE) for name in WORD_LABELS},
        "implicit_labels": torch.tensor([f["implicit_labels"] for f in features], dtype=torch.float),
        "implicit_link_labels": torch.tensor([f["implicit_link_labels"] for f in features]),
    }
