"""A parsed review as HTML: marked by category and polarity, never by colour alone. Pure functions.

What an aspect's probability decides carries it as `data-score`; the page's slider reads that, and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

from reviews_parsing.schema import Aspect, ParsedReview

SIGNS = {"positive": "+", "negative": "\N{MINUS SIGN}", "neutral": "=", "conflict": "\N{PLUS-MINUS SIGN}"}
OTHER_SIGN = "\N{BULLET}"
LONGEST_KEPT = 20


def hues(categories: Iterable[str]) -> dict[str, int]:
    """A hue in degrees for each category, as far apart as they can be."""
    names = sorted(set(categories))
    return {name: 360 * at // len(names) for at, name in enumerate(names)}


def legend(polarities: Iterable[str]) -> str:
    """What the signs and lines mean; nothing where there are none to explain."""
    keys = "".join(
        f'<span class="rp-key {_class(name)}"><b class="rp-sign" aria-hidden="true">{SIGNS.get(name, OTHER_SIGN)}</b>'
        f" {escape(name)}</span>"
        for name in polarities
    )
    return (
        keys
        and f'<p class="rp-legend">{keys}<span>Words that judge are <i class="rp-opinion">like this</i>.</span></p>'
    )


def review(
    parsed: ParsedReview,
    categories: Sequence[str] = (),
    threshold: float = 0.0,
    others: Sequence[Aspect] | None = None,
) -> str:
    """The text with its marks, and the list of its aspects.

    `categories` are those of the model, so that a category has one hue in every review. What is less probable than
    `threshold` is there, but not shown. `others` are the aspects of another answer: what they lack is labelled so.
    """
    hue = hues((*categories, *(aspect.entity_group for aspect in parsed.aspects)))
    return f'<div class="rp-review">{text(parsed, hue, threshold)}{_list(parsed, hue, threshold, others)}</div>'


def text(parsed: ParsedReview, hue: dict[str, int], threshold: float = 0.0) -> str:
    """The text alone with its marks; without tags and the contents of `rp-tag`, it is `parsed.text`."""
    spans = sorted((a for a in parsed.aspects if a.span), key=lambda a: (a.start or 0, -(a.end or 0)))
    opinions = [(a.opinion, a.score) for a in spans if a.opinion]
    cuts = {0, len(parsed.text)}
    for start, end in (*(a.span for a in spans if a.span), *((o.start, o.end) for o, _ in opinions)):
        cuts |= {start, end}
    edges = sorted(cuts)
    html = []
    for start, end in pairwise(edges):
        ended = [a for a in spans if a.end == end and (a.start or 0) <= start]
        piece = _kept_together(parsed.text[start:end], "".join(map(_tag, reversed(ended))))
        judging = [score for opinion, score in opinions if opinion.start <= start and end <= opinion.end]
        if judging:
            best = max(score or 0.0 for score in judging)
            piece = f'<span class="rp-opinion{_off(best, threshold)}"{_score(best)}>{piece}</span>'
        for aspect in reversed([a for a in spans if (a.start or 0) <= start and end <= (a.end or 0)]):
            piece = f"<mark {_look(aspect, hue, threshold)}>{piece}</mark>"
        html.append(piece)
    return f'<p class="rp-text" dir="auto">{"".join(html)}</p>'


def _kept_together(piece: str, tags: str) -> str:
    """No line breaks between a tag and the word before it, but where that is too long for a line."""
    at = max(piece.rfind(" "), piece.rfind("\n")) + 1
    if not tags or len(piece) - at > LONGEST_KEPT:
        return escape(piece) + tags
    return f'{escape(piece[:at])}<span class="rp-keep">{escape(piece[at:])}{tags}</span>'


def _list(parsed: ParsedReview, hue: dict[str, int], threshold: float, others: Sequence[Aspect] | None) -> str:
    if not parsed.aspects:
        return '<p class="rp-none">Nothing is said of any category that the model knows.</p>'
    keys = {_key(aspect) for aspect in others or ()}
    rows = []
    for aspect in parsed.aspects:
        said = f"<q>{escape(aspect.word)}</q>" if aspect.word else '<em class="rp-implicit">no word in particular</em>'
        because = (
            f'<span class="rp-because">because of <q>{escape(aspect.opinion.word)}</q></span>' if aspect.opinion else ""
        )
        alone = '<span class="rp-alone">only here</span>' if others is not None and _key(aspect) not in keys else ""
        rows.append(
            f'<li {_look(aspect, hue, threshold)}><span class="rp-said">{said}</span>'
            f'<span class="rp-category">{escape(aspect.entity_group)}{_number(aspect.score)}</span>'
            f'<span class="rp-polarity">{_sign(aspect)} {escape(aspect.polarity or "")}'
            f"{_number(aspect.polarity_score)}</span>"
            f"{because}{alone}</li>"
        )
    below = sum((aspect.score or 0.0) < threshold for aspect in parsed.aspects)
    return (
        f'<p class="rp-count" role="status">{count(len(parsed.aspects), below)}</p>'
        f'<ul class="rp-aspects" aria-label="Aspects">{"".join(rows)}</ul>'
    )


def count(aspects: int, below: int) -> str:
    """What is shown, in words; filter.js says the same."""
    found = plural(aspects, "aspect")
    return f"{found}, {below} of them less probable than asked for" if below else found


def plural(number: int, thing: str) -> str:
    """1 row, 1,200 rows."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _look(aspect: Aspect, hue: dict[str, int], threshold: float) -> str:
    style = f' style="--hue: {hue[aspect.entity_group]}"'
    return f'class="rp-aspect {_class(aspect.polarity)}{_off(aspect.score, threshold)}"{style}{_score(aspect.score)}'


def _class(polarity: str | None) -> str:
    return f"rp-{polarity if polarity in SIGNS else 'other'}"


def _tag(aspect: Aspect) -> str:
    """What stands behind marked words: short for the eye, in words for a screen reader."""
    seen = f"{escape(aspect.entity_group)} {_sign(aspect)}"
    heard = ", ".join(filter(None, (escape(aspect.entity_group), escape(aspect.polarity or ""))))
    return (
        f'<span class="rp-tag"><span aria-hidden="true">{seen}{_number(aspect.score)}</span>'
        f'<span class="rp-heard"> ({heard}) </span></span>'
    )


def _sign(aspect: Aspect) -> str:
    sign = SIGNS.get(aspect.polarity or "", OTHER_SIGN)
    return f'<b class="rp-sign" aria-hidden="true">{sign}</b>' if aspect.polarity else ""


def _number(score: float | None) -> str:
    return "" if score is None else f' <span class="rp-number">{score:.2f}</span>'


def _score(score: float | None) -> str:
    """A label of a person has no probability; no threshold takes it away."""
    return "" if score is None else f' data-score="{score:.4f}"'


def _off(score: float | None, threshold: float) -> str:
    return " rp-off" if score is not None and score < threshold else ""


def _key(aspect: Aspect) -> tuple[object, ...]:
    return aspect.entity_group, aspect.span, aspect.polarity
