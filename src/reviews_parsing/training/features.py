"""Labelled reviews as what the tagger learns from: windows of token ids with word-level labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.tagging import (
    TokenizedText,
    WordSpan,
    covering,
    spans_to_tags,
    special_tokens,
    tokenize,
    windows,
)

IGNORE = -100


def featurize(
    reviews: Sequence[Review], tokenizer: Any, taxonomy: Taxonomy, window: int, margin: int
) -> list[dict[str, list[int]]]:
    """One feature for each window: `input_ids`, `labels` and `polarity_labels`, lists of the same length.

    Labels stand on the first token of each word that the window keeps, -100 elsewhere; polarity only inside spans.
    """
    prefix, suffix = special_tokens(tokenizer)
    size = window - len(prefix) - len(suffix)
    features = []
    for review, text in zip(reviews, tokenize(tokenizer, [r.text for r in reviews]), strict=True):
        if not text.ids:
            continue
        tags, polarities = word_labels(review, text, taxonomy)
        for piece in windows(text.first, size, margin):
            begin = text.first[piece.start]
            ids = [*prefix, *text.ids[begin : text.first[piece.stop]], *suffix]
            labels, polarity_labels = [IGNORE] * len(ids), [IGNORE] * len(ids)
            for word in range(piece.keep_start, piece.keep_stop):
                position = len(prefix) + text.first[word] - begin
                labels[position], polarity_labels[position] = tags[word], polarities[word]
            features.append({"input_ids": ids, "labels": labels, "polarity_labels": polarity_labels})
    return features


def word_labels(review: Review, text: TokenizedText, taxonomy: Taxonomy) -> tuple[list[int], list[int]]:
    """Tag and polarity label of each word. A span that splits a word is widened to it (`data check` reports those)."""
    spans: list[WordSpan] = []
    polarities = [IGNORE] * len(text.bounds)
    for aspect in review.aspects:
        touched = covering(text.bounds, *aspect.span) if aspect.span else None
        if touched is None:
            continue
        first, stop = touched
        if any(first < other.stop and other.start < stop for other in spans):
            continue
        spans.append(WordSpan(first, stop, taxonomy.categories.index(aspect.entity_group)))
        if aspect.polarity in taxonomy.polarities:
            polarities[first:stop] = [taxonomy.polarities.index(aspect.polarity)] * (stop - first)
    return spans_to_tags(spans, len(text.bounds)), polarities


def collate(features: Sequence[Mapping[str, list[int]]], pad: int) -> dict[str, Any]:
    """Features padded to the longest, as tensors of shape [batch, tokens]."""
    import torch

    longest = max(len(f["input_ids"]) for f in features)

    def padded(rows: list[list[int]], value: int) -> Any:
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    return {
        "input_ids": padded([f["input_ids"] for f in features], pad),
        "attention_mask": padded([[1] * len(f["input_ids"]) for f in features], 0),
        "labels": padded([f["labels"] for f in features], IGNORE),
        "polarity_labels": padded([f["polarity_labels"] for f in features], IGNORE),
    }
