"""Knowledge distillation: teachers answer reviews without labels, and a student learns their softened answers.

Teachers are ordinary models, of the same or of a larger backbone. Their probabilities are averaged by word (an
ensemble), and words on which they are unsure or disagree are left out (self-training with filtering: Xie et al., 2020,
Noisy Student). The student matches the marginals of the tags, not only the best sequence (structure-level distillation:
Wang et al., 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Taxonomy
from reviews_parsing.tagging import covering, line_starts, special_tokens, tokenize, windows
from reviews_parsing.training.features import IGNORE, WORD_LABELS

Halves = npt.NDArray[np.float16]
# A word is learnt from where the averaged probability of its best tag is at least this.
CERTAIN = 0.6
# A text is learnt from where at least this share of its words is certain.
CERTAIN_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class SoftReview:
    """A text with the averaged probabilities of its teachers; w words, k tags, p polarities, 3 opinion tags.

    `certain` of shape [w] tells which words are learnt from. `implicit` has one probability for each implicit category
    and polarity, in the order of `features.implicit_labels`. `links` maps the first word of an aspect to the first word
    of its opinion (None if it has none), where the teachers agree.
    """

    text: str
    bounds: tuple[tuple[int, int], ...]
    tags: Halves
    polarities: Halves
    opinions: Halves
    implicit: Halves
    certain: npt.NDArray[np.bool_]
    links: Mapping[int, int | None]


def answer(
    teachers: Sequence[AspectParser],
    texts: Sequence[str],
    progress: Callable[[float], None] = lambda share: None,
    certain: float = CERTAIN,
) -> list[SoftReview]:
    """Return the averaged answers of `teachers`, which share a taxonomy, without texts that have few certain words."""
    found: list[SoftReview] = []
    answers = [_answers(teacher, texts) for teacher in teachers]
    for number, parts in enumerate(zip(*answers, strict=True)):
        progress((number + 1) / len(texts))
        if not parts[0].bounds or any(part.bounds != parts[0].bounds for part in parts):
            continue
        tags = np.mean([part.tags for part in parts], axis=0)
        same = np.all([part.tags.argmax(axis=1) == tags.argmax(axis=1) for part in parts], axis=0)
        sure = (tags.max(axis=1) >= certain) & same
        if sure.mean() < CERTAIN_SHARE:
            continue
        polarities, opinions, implicit = (
            np.mean([getattr(part, name) for part in parts], axis=0).astype(np.float16)
            for name in ("polarities", "opinions", "implicit")
        )
        links = _agreed([part.links for part in parts])
        found.append(
            SoftReview(
                parts[0].text, parts[0].bounds, tags.astype(np.float16), polarities, opinions, implicit, sure, links
            )
        )
    return found


def _answers(teacher: AspectParser, texts: Sequence[str]) -> Iterator[SoftReview]:
    """The probabilities of one teacher, text by text."""
    for prepared, logits in teacher.encoded(texts):
        tags, opinions = (
            teacher.tags(prepared, logits).probabilities,
            teacher.opinion_tags(prepared, logits).probabilities,
        )
        polarities, implicit = teacher.polarity_scores(logits), teacher.implicit_scores(prepared, logits)
        parsed = teacher.finish(prepared, logits)
        for number, text in enumerate(prepared.texts):
            its = slice(prepared.first[number], prepared.first[number + 1])
            bounds = prepared.tokenized[number].bounds
            links = {}
            for aspect in parsed[number].aspects:
                if aspect.span and (words := covering(bounds, *aspect.span)):
                    judged = aspect.opinion and covering(bounds, aspect.opinion.start, aspect.opinion.end)
                    links[words[0]] = judged[0] if judged else None
            yield SoftReview(
                text,
                tuple(bounds),
                tags[its].astype(np.float16),
                polarities[its].astype(np.float16),
                opinions[its].astype(np.float16),
                implicit[number].astype(np.float16),
                np.ones(len(bounds), dtype=np.bool_),
                links,
            )


def _agreed(links: Sequence[Mapping[int, int | None]]) -> dict[int, int | None]:
    """The links of aspects that several teachers have, where all of those have the same one."""
    choices: dict[int, set[int | None]] = {}
    for each in links:
        for word, opinion in each.items():
            choices.setdefault(word, set()).add(opinion)
    return {word: opinions.pop() for word, opinions in choices.items() if len(opinions) == 1}


def soft_features(
    reviews: Sequence[SoftReview], tokenizer: Any, taxonomy: Taxonomy, window: int, margin: int
) -> list[dict[str, Any]]:
    """Return features as `features.featurize` does, with `soft` arrays in place of labels.

    Only texts of one window have labels of implicit aspects.
    """
    prefix, suffix = special_tokens(tokenizer)
    size = window - len(prefix) - len(suffix)
    features = []
    for review, text in zip(reviews, tokenize(tokenizer, [r.text for r in reviews]), strict=True):
        if tuple(text.bounds) != review.bounds:
            continue
        lines = set(line_starts(review.text, text.bounds))
        pieces = windows(text.first, size, margin)
        for piece in pieces:
            begin = text.first[piece.start]
            ids = [*prefix, *text.ids[begin : text.first[piece.stop]], *suffix]
            words = range(piece.keep_start, piece.keep_stop)
            places = {word: len(prefix) + text.first[word] - begin for word in words}
            feature: dict[str, Any] = {"input_ids": ids, **{name: [IGNORE] * len(ids) for name in WORD_LABELS}}
            for word, place in places.items():
                feature["line_starts"][place] = int(word in lines)
                if word in review.links and review.certain[word]:
                    opinion = review.links[word]
                    feature["link_labels"][place] = 0 if opinion is None else places.get(opinion, IGNORE)
            whole = len(pieces) == 1
            feature["implicit_labels"] = review.implicit.tolist() if whole else [float(IGNORE)] * len(review.implicit)
            feature["implicit_link_labels"] = [IGNORE] * len(review.implicit)
            kept = slice(piece.keep_start, piece.keep_stop)
            feature["soft"] = (
                list(places.values()),
                review.tags[kept],
                review.polarities[kept],
                review.opinions[kept],
                review.certain[kept],
            )
            features.append(feature)
    return features


def unlabelled(texts: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return `texts`, each once and none empty, without those in `known`: labelled or held out."""
    seen = set(known)
    return [text for text in dict.fromkeys(texts) if text.strip() and text not in seen]
