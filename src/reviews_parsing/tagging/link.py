"""Which of a text's opinions judges an aspect: the one whose first word fits the aspect's word best."""

from __future__ import annotations

import numpy as np

from reviews_parsing.tagging.chain import Floats, Ints
from reviews_parsing.tagging.decode import Spans

NONE = -1


def linked(logits: Floats, opinions: Spans, text: Ints, word: Ints, stop: Ints, first: Ints) -> Ints:
    """For each of k aspects the number of its opinion in `opinions`, or NONE where none fits better than nothing.

    `logits` of shape [n, 2d] hold for every word what it looks for as an aspect and what it offers as an opinion; how
    well two words fit is the product of the two, and nothing fits with 0. Aspect i is of text number `text[i]`, stands
    at words [`word[i]`, `stop[i]`) of all, and never overlaps its opinion. `first` is as in `decode`.
    """
    width = logits.shape[1] // 2
    place = first[opinions.text] + opinions.start
    end = first[opinions.text] + opinions.stop
    offers = logits[place, width:]
    found = np.full(len(text), NONE)
    begins, ends = (np.searchsorted(opinions.text, text, side=side) for side in ("left", "right"))
    for i in np.flatnonzero(begins < ends):
        some = slice(begins[i], ends[i])
        fit = offers[some] @ logits[word[i], :width]
        fit[(place[some] < stop[i]) & (word[i] < end[some])] = 0
        best = int(fit.argmax())
        if fit[best] > 0:
            found[i] = begins[i] + best
    return found
