"""Pure functions over text and arrays: words, sentences, windows, IOB2 tags, CRF, decoding, opinion linking."""

from reviews_parsing.tagging.crf import LinearChainCRF, Marginals, allowed_transitions
from reviews_parsing.tagging.decode import Spans, decode, max_over_words, sigmoid, softmax
from reviews_parsing.tagging.iob import WordSpan, spans_to_tags, tags_to_spans
from reviews_parsing.tagging.opinion_linking import link_opinions
from reviews_parsing.tagging.sentences import boundaries, sentences
from reviews_parsing.tagging.surface import addresses
from reviews_parsing.tagging.windows import Window, windows
from reviews_parsing.tagging.words import TokenizedText, WordTokenizer, covering, line_starts, words

__all__ = [
    "LinearChainCRF",
    "Marginals",
    "Spans",
    "TokenizedText",
    "Window",
    "WordSpan",
    "WordTokenizer",
    "addresses",
    "allowed_transitions",
    "boundaries",
    "covering",
    "decode",
    "line_starts",
    "link_opinions",
    "max_over_words",
    "sentences",
    "sigmoid",
    "softmax",
    "spans_to_tags",
    "tags_to_spans",
    "windows",
    "words",
]
