"""Spans <-> IOB2 tags <-> tokens, and windows over long texts: pure functions over text and arrays."""

from reviews_parsing.tagging.chain import Chain, Marginals, may_follow
from reviews_parsing.tagging.decode import Spans, decode, sigmoid, softmax, strongest
from reviews_parsing.tagging.iob import WordSpan, spans_to_tags, tags_to_spans
from reviews_parsing.tagging.link import linked
from reviews_parsing.tagging.sentences import boundaries, sentences
from reviews_parsing.tagging.windows import Window, windows
from reviews_parsing.tagging.words import TokenizedText, covering, line_starts, special_tokens, tokenize, words

__all__ = [
    "Chain",
    "Marginals",
    "Spans",
    "TokenizedText",
    "Window",
    "WordSpan",
    "boundaries",
    "covering",
    "decode",
    "line_starts",
    "linked",
    "may_follow",
    "sentences",
    "sigmoid",
    "softmax",
    "spans_to_tags",
    "special_tokens",
    "strongest",
    "tags_to_spans",
    "tokenize",
    "windows",
    "words",
]
