"""Opinion linking: which of a text's opinion expressions judges an aspect.

The score of a pair is how well the two words fit plus a learnt bias for the distance between them; the opinion must
stand in the sentence of the aspect or in the one beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reviews_parsing.tagging.crf import Floats, Ints
from reviews_parsing.tagging.decode import Spans

NONE = -1
# Opinion expressions this probable are candidates: an aspect nearby that looks for one outweighs a doubtful boundary.
CANDIDATE_THRESHOLD = 0.05
# Distances in words fall into buckets that double in width: 1, 2, 3-4, 5-8, ... on either side of the aspect.
BUCKETS_A_SIDE = 8


def distance_buckets(words: Ints) -> Ints:
    """Map distances in words (opinion minus aspect, negative where the opinion comes first) to bucket numbers.

    Shape of the result is that of `words`; values lie in [0, 2 * BUCKETS_A_SIDE).
    """
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
    """Return for each of k aspects the index of its opinion in `opinions`, or NONE where none scores above 0.

    `logits` of shape [n, 2d] hold for every word a query (as an aspect) and a key (as an opinion); the score of a pair
    is the product of the two plus `bias[distance_buckets(...)]`, shape [2 * BUCKETS_A_SIDE]. Aspect i is of text number
    `text[i]`, covers words [`word[i]`, `stop[i]`) of all, and never overlaps its opinion. `sentence_of(text number)`
    returns the sentence number of each of that text's words. `first` is as in `decode`.
    """
    width = logits.shape[1] // 2
    position = first[opinions.text] + opinions.start
    end = first[opinions.text] + opinions.stop
    keys = logits[position, width:]
    links = np.full(len(text), NONE)
    begins, ends = (np.searchsorted(opinions.text, text, side=side) for side in ("left", "right"))
    for i in np.flatnonzero(begins < ends):
        candidates = slice(begins[i], ends[i])
        score = keys[candidates] @ logits[word[i], :width]
        if bias is not None:
            score = score + bias[distance_buckets(position[candidates] - word[i])]
        score[(position[candidates] < stop[i]) & (word[i] < end[candidates])] = 0
        best = int(score.argmax())
        if score[best] > 0 and sentence_of is not None:
            sentence = sentence_of(int(text[i]))
            distance = sentence[position[candidates] - first[text[i]]] - sentence[word[i] - first[text[i]]]
            score[np.abs(distance) > 1] = 0
            best = int(score.argmax())
        if score[best] > 0:
            links[i] = begins[i] + best
    return links
