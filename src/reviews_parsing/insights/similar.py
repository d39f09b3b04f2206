"""Topics whose names mean the same, such as waiter and waitress, proposed for the topic file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from reviews_parsing import pretrained
from reviews_parsing.insights.results import SimilarTopics, Topic
from reviews_parsing.pretrained.embeddings import read_embeddings

MIN_SIMILARITY = 0.6
"""Cosine of two embeddings. Of the targets of the shipped corpus, pairs above it mean the same or nearly so; below it
follow pairs such as uncle and aunt, crab and lobster."""


def find_similar_topics(topics: Sequence[Topic], language: str) -> tuple[SimilarTopics, ...]:
    """Return pairs of topics of a category with similar names, the most similar first.

    Names are compared by the word embeddings of the pretrained model, which are English, and only names of one word
    that its tokenizer has as one token: the mean of several tokens is similar for words that are merely spelt alike.
    """
    if language != "en" or not pretrained.is_installed():
        return ()
    names = [topic.id.partition("/")[2] for topic in topics]
    words, vectors = read_embeddings(sorted(set(names)))
    row = {word: number for number, word in enumerate(words)}
    known = [(topic, row[name]) for topic, name in zip(topics, names, strict=True) if name in row]
    pairs = [
        SimilarTopics(topic.id, other.id, round(float(vectors[a] @ vectors[b]), 3))
        for index, (topic, a) in enumerate(known)
        for other, b in known[index + 1 :]
        if topic.category == other.category
    ]
    similar = [pair for pair in pairs if pair.similarity >= MIN_SIMILARITY]
    return tuple(sorted(similar, key=lambda pair: (-pair.similarity, pair.topic, pair.other)))


def merge_lines(pairs: Sequence[SimilarTopics]) -> list[str]:
    """Return the pairs as lines of the section `merge` of a topic file."""
    others: dict[str, list[str]] = {}
    merged: set[str] = set()
    for pair in pairs:
        if not merged & {pair.topic, pair.other} and pair.other not in others:
            others.setdefault(pair.topic, []).append(pair.other)
            merged.add(pair.other)
    return [f"{json.dumps(topic)} = {json.dumps(ids)}" for topic, ids in others.items()]
