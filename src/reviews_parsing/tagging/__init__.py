"""Spans <-> IOB2 tags <-> tokens, and windows over long texts: pure functions over text and arrays."""

from reviews_parsing.tagging.crf import Chain, Marginals, may_follow
from reviews_parsing.tagging.decode import Spans, decode, max_over_words, sigmoid, softmax
from reviews_parsing.tagging.iob import WordSpan, spans_to_tags, tags_to_spans
from reviews_parsing.tagging.opinion_linking import link_opinions
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
    "link_opinions",
    "max_over_words",
    "may_follow",
    "sentences",
    "sigmoid",
    "softmax",
    "spans_to_tags",
    "special_tokens",
    "tags_to_spans",
    "tokenize",
    "windows",
    "words",
]
