"""Opinion linking: selects the opinion expression that judges an aspect.

The score of a pair is a bilinear score of their first words plus a learned bias for the distance between them. The
opinion must be in the sentence of the aspect or in an adjacent one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reviews_parsing.tagging.crf import Floats, Ints
from reviews_parsing.tagging.decode import Spans

NO_OPINION = -1
# Minimum probability of a candidate: low, because an aspect nearby is further evidence for an opinion expression.
CANDIDATE_THRESHOLD = 0.05
# Distances in words fall into buckets that double in width (1, 2, 3-4, 5-8, ...) on either side of the aspect.
BUCKETS_A_SIDE = 8
# Pairs whose queries and keys are gathered at once.
BLOCK_PAIRS = 2**16
# Sentences of all texts are numbered with this many for each text, more than any text has.
MAX_SENTENCES = 2**40


def distance_buckets(words: Ints) -> Ints:
    """Map distances in words (opinion minus aspect) to bucket numbers in [0, 2 * BUCKETS_A_SIDE), same shape."""
    size = np.maximum(np.abs(words), 1)
    exponent = np.minimum(np.ceil(np.log2(size)).astype(np.int64), BUCKETS_A_SIDE - 1)
    return np.where(words < 0, BUCKETS_A_SIDE - 1 - exponent, BUCKETS_A_SIDE + exponent)


def link_opinions(
    logits: Floats,
    opinions: Spans,
    text: Ints,
    word: Ints,
    stop: Ints,
    first: Ints,
    bias: Floats | None = None,
    sentence_of: Callable[[int], Ints] | None = None,
) -> Ints:
    """Return for each of k aspects the index of its opinion in `opinions`, or NO_OPINION if no score exceeds 0.

    `logits` of shape [n, 2d] hold for each word a query (as an aspect) and a key (as an opinion); the score of a pair
    is their product plus `bias[distance_buckets(...)]`. Aspect i belongs to text `text[i]`, covers words [`word[i]`,
    `stop[i]`) of all n, and cannot overlap its opinion. `sentence_of(text)` returns the sentence number of each word of
    a text. `first` is as in `decode`.
    """
    width = logits.shape[1] // 2
    position = first[opinions.text] + opinions.start
    end = first[opinions.text] + opinions.stop
    keys = logits[position, width:]
    links = np.full(len(text), NO_OPINION)
    sentences = np.zeros(first[-1], np.int64)
    if sentence_of is not None:
        for number in np.intersect1d(text, opinions.text).tolist():
            sentences[first[number] : first[number + 1]] = sentence_of(number)
    # Opinions are in text order: those of the sentence of an aspect and of the adjacent ones are a range.
    opinion_sentences = opinions.text * MAX_SENTENCES + sentences[position]
    aspect_sentences = text * MAX_SENTENCES + sentences[word]
    begins = np.searchsorted(opinion_sentences, aspect_sentences - 1, side="left")
    ends = np.searchsorted(opinion_sentences, aspect_sentences + 1, side="right")
    counts = ends - begins
    # Pairs of each aspect and its candidates, aspect by aspect.
    offsets = np.concatenate(([0], np.cumsum(counts)))
    aspect = np.repeat(np.arange(len(text)), counts)
    opinion = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - begins, counts)
    bonus = np.zeros(len(aspect)) if bias is None else bias[distance_buckets(position[opinion] - word[aspect])]
    overlap = (position[opinion] < stop[aspect]) & (word[aspect] < end[opinion])
    scores, queries = bonus, logits[word, :width]
    for start in range(0, len(aspect), BLOCK_PAIRS):
        block = slice(start, start + BLOCK_PAIRS)
        scores[block] += np.einsum("ij,ij->i", keys[opinion[block]], queries[aspect[block]])
    scores[overlap] = 0
    linked = np.flatnonzero(counts)
    if len(linked):
        best = np.maximum.reduceat(scores, offsets[linked])
        # The first pair with the best score of its aspect.
        is_best = np.flatnonzero(scores == np.repeat(best, counts[linked]))
        pairs = is_best[np.searchsorted(is_best, offsets[linked])]
        links[linked] = np.where(best > 0, opinion[pairs], NO_OPINION)
    return links
