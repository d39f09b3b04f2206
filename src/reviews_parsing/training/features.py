"""Training features: windows of token ids with word-level labels, from labelled reviews or teachers' soft labels."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from reviews_parsing.schema import Aspect, Review, Taxonomy
from reviews_parsing.tagging import (
    TokenizedText,
    WordSpan,
    WordTokenizer,
    covering,
    line_starts,
    spans_to_tags,
    windows,
)
from reviews_parsing.training.augmentation import add_noise

IGNORE = -100
WORD_LABELS = ("labels", "polarity_labels", "opinion_labels", "link_labels", "line_starts")
TEXT_LABELS = ("implicit_labels", "implicit_link_labels")
SOFT_LABELS = ("soft_tags", "soft_polarities", "soft_opinions")
NOISY_VERSIONS = 4
# Token position of each word that a window keeps.
Positions = Mapping[int, int]
Halves = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class SoftReview:
    """Text with soft labels: probabilities averaged over teachers, for w words, k tags, p polarities, 3 opinion tags.

    `certain` of shape [w] masks the words to learn from. `implicit` has one probability for each implicit category and
    polarity, in the order of `implicit_labels`. `links` maps the first word of an aspect to the first word of its
    opinion (None if it has no opinion), where the teachers agree.
    """

    text: str
    bounds: tuple[tuple[int, int], ...]
    tags: Halves
    polarities: Halves
    opinions: Halves
    implicit: Halves
    certain: npt.NDArray[np.bool_]
    links: Mapping[int, int | None]


def featurize(
    reviews: Sequence[Review], tokenizer: WordTokenizer, taxonomy: Taxonomy, window: int, margin: int
) -> list[dict[str, Any]]:
    """Return a feature for each window: `input_ids` and label lists of the same length, IGNORE where there is no label.

    On the first token of each word that the window keeps: `labels` are aspect tags, `polarity_labels` polarities inside
    spans, `opinion_labels` opinion tags; `line_starts` is 1 for the first word of a line, else 0. On the first token of
    each span: `link_labels` are the position of the first token of its opinion, 0 if it has none, and IGNORE if the
    opinion is outside the window.

    `implicit_labels` are 1 for each implicit category and polarity of the text, else 0. If a text has several windows,
    they are 1 in the window with the opinion, 0 in the others, and IGNORE if the aspect has no opinion.
    `implicit_link_labels` correspond to `link_labels`.
    """
    features = []
    split_texts = _split([review.text for review in reviews], tokenizer, window, margin)
    for review, (text, pieces) in zip(reviews, split_texts, strict=True):
        tags, polarities = word_labels(review, text, taxonomy)
        opinions, links = _opinion_labels(review, text)
        by_word = {"labels": tags, "polarity_labels": polarities, "opinion_labels": opinions}
        for feature, positions in pieces:
            for word, position in positions.items():
                for name, labels in by_word.items():
                    feature[name][position] = labels[word]
                if word in links:
                    feature["link_labels"][position] = _position(links[word], positions)
            features.append(feature | _implicit_features(review, text, taxonomy, positions, len(pieces) == 1))
    return features


def soft_features(
    reviews: Sequence[SoftReview], tokenizer: WordTokenizer, taxonomy: Taxonomy, window: int, margin: int
) -> list[dict[str, Any]]:
    """Return features like those of `featurize`, with arrays under `soft` instead of labels.

    Implicit aspects are learned only from texts with a single window.
    """
    features = []
    split_texts = _split([review.text for review in reviews], tokenizer, window, margin)
    for review, (text, pieces) in zip(reviews, split_texts, strict=True):
        if tuple(text.bounds) != review.bounds:
            continue
        for feature, positions in pieces:
            for word, position in positions.items():
                if word in review.links and review.certain[word]:
                    feature["link_labels"][position] = _position(review.links[word], positions)
            words, count = list(positions), len(review.implicit)
            feature["implicit_labels"] = review.implicit.tolist() if len(pieces) == 1 else [float(IGNORE)] * count
            feature["implicit_link_labels"] = [IGNORE] * count
            arrays = (review.tags[words], review.polarities[words], review.opinions[words])
            feature["soft"] = (list(positions.values()), review.certain[words], arrays)
            features.append(feature)
    return features


def _split(
    texts: Sequence[str], tokenizer: WordTokenizer, window: int, margin: int
) -> Iterator[tuple[TokenizedText, list[tuple[dict[str, Any], Positions]]]]:
    """Yield each tokenized text with its windows: features without labels except `line_starts`, and word positions."""
    prefix, suffix = tokenizer.special_tokens
    size = window - len(prefix) - len(suffix)
    for text, tokenized in zip(texts, tokenizer.tokenize(texts), strict=True):
        lines = set(line_starts(text, tokenized.bounds))
        pieces: list[tuple[dict[str, Any], Positions]] = []
        for piece in windows(tokenized.first, size, margin) if tokenized.ids else ():
            begin = tokenized.first[piece.start]
            ids = [*prefix, *tokenized.ids[begin : tokenized.first[piece.stop]], *suffix]
            feature = {"input_ids": ids, **{name: [IGNORE] * len(ids) for name in WORD_LABELS}}
            offset = len(prefix) - begin
            positions = {word: tokenized.first[word] + offset for word in range(piece.keep_start, piece.keep_stop)}
            for word, position in positions.items():
                feature["line_starts"][position] = int(word in lines)
            pieces.append((feature, positions))
        yield tokenized, pieces


def with_noisy_versions(
    reviews: Sequence[Review], tokenizer: WordTokenizer, taxonomy: Taxonomy, window: int, margin: int, seed: int
) -> list[dict[str, Any]]:
    """Return the features of `reviews`, each with the features of a few noisy versions of its window under `noisy`.

    Reviews with several categories of a span are repeated, see `single_label_versions`.
    """
    rng = random.Random(seed)  # noqa: S311
    features: list[dict[str, Any]] = []
    for review in itertools.chain.from_iterable(map(single_label_versions, reviews)):
        versions = [review, *(add_noise(review, rng) for _ in range(NOISY_VERSIONS))]
        clean, *noisy = (featurize([version], tokenizer, taxonomy, window, margin) for version in versions)
        aligned = [version for version in noisy if len(version) == len(clean)]
        features += [{**feature, "noisy": [version[i] for version in aligned]} for i, feature in enumerate(clean)]
    return features


def single_label_versions(review: Review) -> list[Review]:
    """Return the review once per category of its spans, each time with another category first, which is learned."""
    by_span: dict[tuple[int, int] | None, list[str]] = {}
    for aspect in review.aspects:
        if aspect.span and aspect.entity_group not in by_span.setdefault(aspect.span, []):
            by_span[aspect.span].append(aspect.entity_group)

    def rank(aspect: Aspect, number: int) -> int:
        groups = by_span.get(aspect.span, [aspect.entity_group])
        return (groups.index(aspect.entity_group) - number) % len(groups)

    return [
        replace(review, aspects=tuple(sorted(review.aspects, key=partial(rank, number=number))))
        for number in range(max(map(len, by_span.values()), default=1))
    ]


def draw_versions(features: Sequence[Mapping[str, Any]], share: float) -> list[Mapping[str, Any]]:
    """Return the features, about `share` of them in a noisy version, drawn with torch's random generator."""
    import torch

    chosen = []
    for feature, (draw, choice) in zip(features, torch.rand(len(features), 2).tolist(), strict=True):
        versions = feature.get("noisy") if draw < share else None
        chosen.append(versions[int(choice * len(versions))] if versions else feature)
    return chosen


def word_labels(review: Review, text: TokenizedText, taxonomy: Taxonomy) -> tuple[list[int], list[int]]:
    """Return the tag and polarity label of each word; spans that split a word are widened to it.

    Categories outside the taxonomy, which held-out reviews may have, are ignored.
    """
    spans: list[WordSpan] = []
    polarities = [IGNORE] * len(text.bounds)
    for aspect in review.aspects:
        if not aspect.span or aspect.entity_group not in taxonomy.categories:
            continue
        words = covering(text.bounds, *aspect.span)
        if words is None or any(words[0] < span.stop and span.start < words[1] for span in spans):
            continue
        spans.append(WordSpan(*words, taxonomy.categories.index(aspect.entity_group)))
        if aspect.polarity in taxonomy.polarities:
            polarities[slice(*words)] = [taxonomy.polarities.index(aspect.polarity)] * (words[1] - words[0])
    return spans_to_tags(spans, len(text.bounds)), polarities


def implicit_labels(review: Review, taxonomy: Taxonomy) -> list[int]:
    """Return 1 for each implicit category (and polarity, if the taxonomy has polarities) of the review, else 0."""
    polarities = taxonomy.polarities or (None,)
    pairs = {(a.entity_group, a.polarity if taxonomy.polarities else None) for a in review.aspects if not a.span}
    return [int((category, polarity) in pairs) for category in taxonomy.implicit for polarity in polarities]


def _implicit_features(
    review: Review, text: TokenizedText, taxonomy: Taxonomy, positions: Positions, complete: bool
) -> dict[str, list[int]]:
    """Return the TEXT_LABELS of a window; `complete` if it is the only one of its text."""
    labels = implicit_labels(review, taxonomy)
    links = [IGNORE] * len(labels)
    if not complete:
        labels = [0] * len(labels)
    for aspect in review.aspects:
        one_hot = implicit_labels(replace(review, aspects=(aspect,)), taxonomy)
        if 1 not in one_hot:
            continue
        column, words = one_hot.index(1), _opinion_words(aspect, text)
        links[column] = _position(words[0] if words else None, positions)
        if not complete:
            label = IGNORE if words is None else int(words[0] in positions)
            labels[column] = label or labels[column]
    return {"implicit_labels": labels, "implicit_link_labels": links}


def _opinion_labels(review: Review, text: TokenizedText) -> tuple[list[int], dict[int, int | None]]:
    """Return the opinion tag of each word, and the first word of the opinion, if any, by first word of the span."""
    spans: list[WordSpan] = []
    links: dict[int, int | None] = {}
    for aspect in review.aspects:
        words = _opinion_words(aspect, text)
        spans += [WordSpan(*words, 0)] if words else []
        if aspect.span and (target := covering(text.bounds, *aspect.span)):
            links[target[0]] = words[0] if words else None
    return spans_to_tags(spans, len(text.bounds)), links


def _opinion_words(aspect: Aspect, text: TokenizedText) -> tuple[int, int] | None:
    return covering(text.bounds, aspect.opinion.start, aspect.opinion.end) if aspect.opinion else None


def _position(word: int | None, positions: Positions) -> int:
    return 0 if word is None else positions.get(word, IGNORE)


def collate(features: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Any]:
    """Return features padded to the longest, as tensors of shape [batch, tokens].

    If a feature has soft labels, `soft_words` is 2 on the certain words of an unlabelled text, 1 on its other words,
    and 0 elsewhere.
    """
    import torch

    longest = max(len(f["input_ids"]) for f in features)

    def padded(rows: list[list[int]], value: int) -> Any:
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    tensors = {
        "input_ids": padded([f["input_ids"] for f in features], pad),
        "attention_mask": padded([[1] * len(f["input_ids"]) for f in features], 0),
        **{name: padded([f[name] for f in features], IGNORE) for name in WORD_LABELS},
        "implicit_labels": torch.tensor([f["implicit_labels"] for f in features], dtype=torch.float),
        "implicit_link_labels": torch.tensor([f["implicit_link_labels"] for f in features]),
    }
    for row, feature in enumerate(features):
        if "soft" not in feature:
            continue
        positions, certain, arrays = feature["soft"]
        if "soft_words" not in tensors:
            tensors["soft_words"] = torch.zeros(len(features), longest, dtype=torch.long)
            for name, array in zip(SOFT_LABELS, arrays, strict=True):
                tensors[name] = torch.zeros(len(features), longest, array.shape[1])
        tensors["soft_words"][row, positions] = torch.from_numpy(certain.astype(np.int64) + 1)
        for name, array in zip(SOFT_LABELS, arrays, strict=True):
            tensors[name][row, positions] = torch.from_numpy(array.astype(np.float32))
    return tensors
