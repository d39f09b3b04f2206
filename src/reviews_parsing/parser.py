"""The inference core: texts in, ParsedReviews out, over ONNX Runtime and `tokenizers`.

A model folder holds `model.onnx`, `tokenizer.json` and `parser.json`. The work has three steps, each over many texts at
once: `prepare` (words, tokens, windows), the encoder, `finish` (spans, probabilities).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from reviews_parsing.cores import usable_cores
from reviews_parsing.encoder import Encoder, Logits, Piece
from reviews_parsing.errors import DataError, ModelError
from reviews_parsing.model_folder import MODEL_FILE, TOKENIZER_FILE, Matrix, ParserConfig
from reviews_parsing.schema import OPINION_TAGS, Aspect, Opinion, ParsedReview, mention_key
from reviews_parsing.tagging import (
    LinearChainCRF,
    Marginals,
    Spans,
    TokenizedText,
    addresses,
    boundaries,
    covering,
    decode,
    line_starts,
    link_opinions,
    max_over_words,
    sigmoid,
    softmax,
    special_tokens,
    tokenize,
    windows,
)
from reviews_parsing.tagging.crf import Floats, Ints
from reviews_parsing.tagging.decode import MIN_LOGIT
from reviews_parsing.tagging.opinion_linking import BUCKETS_A_SIDE, CANDIDATE_THRESHOLD, NONE

# What is worked on at once: enough texts to find some of like length, few enough to hold.
CHUNK_TEXTS, CHUNK_CHARACTERS = 256, 250_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """Texts as the encoder reads them.

    Text i's words are numbers first[i] to first[i + 1] of all; `lines` are the first words of all lines, and the number
    of words: no span crosses a line break. `address_words` are those of URLs, e-mail addresses and handles: no span
    holds one.
    """

    texts: Sequence[str]
    tokenized: list[TokenizedText]
    pieces: list[Piece]
    first: Ints
    lines: Ints
    address_words: Ints

    def sentence_of(self, text: int) -> Ints:
        """Return the number of the sentence that each word of text number `text` begins in; shape [words]."""
        starts = [start for start, _ in self.tokenized[text].bounds]
        return np.searchsorted(boundaries(self.texts[text]), starts, side="right")

    def bounds(self, text: int, first: int, stop: int) -> tuple[int, int]:
        """(start, end), in code points, of words [first, stop) of text number `text`."""
        its = self.tokenized[text].bounds
        return its[first][0], its[stop - 1][1]

    @property
    def tokens(self) -> int:
        """Tokens that the encoder reads, special ones and the overlap of windows included."""
        return sum(len(piece.ids) for piece in self.pieces)


class Implicit(NamedTuple):
    """Aspects that are no span, the numbers of their texts, and of their max_over_words words among all: shape [k]."""

    aspects: list[Aspect]
    text: Ints
    word: Ints


class AspectParser:
    """Reads reviews; safe to share between threads.

    >>> parser = AspectParser.load()
    >>> parser.parse(["The pho was lovely, the waiter less so."])
    """

    def __init__(self, folder: Path, threads: int | None = None, engine: str = "onnxruntime") -> None:
        """Load the model in `folder` with `threads` threads (default: one for each core this process may use).

        `engine` is onnxruntime, openvino, or auto: whichever is faster here, by trying.
        """
        self.folder = folder
        self.config = ParserConfig.read(folder)
        self.taxonomy = self.config.taxonomy
        self.version: str | None = None
        try:
            scale = self.config.calibration.tag_scale
            self._tags = _chain(self.config.transitions, len(self.taxonomy.tags), scale)
            self._opinion_tags = _chain(self.config.opinion_transitions, OPINION_TAGS)
            self._link_bias = _link_bias(self.config.link_bias)
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
            self._encoder = Encoder(folder / MODEL_FILE, threads or usable_cores(), engine)
        except ModelError:
            raise
        except Exception as error:  # both libraries raise bare exceptions of their own
            raise ModelError(f"{folder}: the model is incomplete or damaged ({error}); fetch it again") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._prefix, self._suffix = special_tokens(self._tokenizer)

    @classmethod
    def load(
        cls, source: str | Path | None = None, threads: int | None = None, engine: str = "onnxruntime"
    ) -> AspectParser:
        """Load the model at `source`: a folder, `models:/NAME@ALIAS`, `models:/NAME/3`, `runs:/ID` or `pretrained`.

        Without `source` it is the champion, or the pretrained model if nothing is champion yet; a line of log says
        which. Raises ModelError if there is no such model, TrackingError if the registry cannot be reached.
        """
        # The one look downwards: where models come from is the registry's knowledge, loaded only when asked for.
        from reviews_parsing import registry

        folder, version = registry.locate(source)
        parser = cls(folder, threads, engine)
        parser.version = version
        return parser

    @property
    def engine(self) -> str:
        """The name of what runs the model."""
        return self._encoder.engine

    @property
    def unknown_id(self) -> int | None:
        """The token that stands for what the vocabulary lacks; None where it lacks nothing."""
        model = self._tokenizer.model
        token = getattr(model, "unk_token", None)
        return self._tokenizer.token_to_id(token) if token else getattr(model, "unk_id", None)

    def parse(self, texts: Sequence[str], min_score: float = 0.0, spans_only: bool = False) -> list[ParsedReview]:
        """The aspects of each text whose probability is at least `min_score`, in the order of the texts.

        With `spans_only` those are left out that are said of no word in particular ("Yum!"). Raises DataError where an
        element is not a string.
        """
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"text {i} must be a string, not {type(text).__name__}")
        return list(self.parse_iter(texts, min_score, spans_only))

    def parse_iter(
        self, texts: Iterable[str], min_score: float = 0.0, spans_only: bool = False
    ) -> Iterator[ParsedReview]:
        """Like `parse`, over any number of texts with flat memory."""
        for prepared, logits in self.encoded(texts):
            for parsed in self.finish(prepared, logits):
                yield parsed.only(min_score, spans_only)

    def encoded(self, texts: Iterable[str]) -> Iterator[tuple[Prepared, Logits]]:
        """Chunks of texts with their logits. While one chunk is taken further, the encoder works on the next."""
        ahead: tuple[Prepared, Callable[[], Logits]] | None = None
        for chunk in _chunks(texts):
            prepared = self.prepare(chunk)
            begun = (prepared, self._encoder.begin(prepared.pieces))
            if ahead:
                yield ahead[0], ahead[1]()
            ahead = begun
        if ahead:
            yield ahead[0], ahead[1]()

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Words, tokens and windows of `texts`."""
        size = self.config.window - len(self._prefix) - len(self._suffix)
        tokenized = tokenize(self._tokenizer, texts)
        pieces = []
        for text in tokenized:
            for window in windows(text.first, size, self.config.margin) if text.ids else ():
                begin = text.first[window.start]
                offset = len(self._prefix) - begin
                ids = [*self._prefix, *text.ids[begin : text.first[window.stop]], *self._suffix]
                pieces.append(Piece(ids, [at + offset for at in text.first[window.keep_start : window.keep_stop]]))
        first = np.cumsum([0, *(len(text.bounds) for text in tokenized)])
        address_words = [
            int(offset) + word
            for text, its_words, offset in zip(texts, tokenized, first, strict=False)
            for start, end in addresses(text)
            for word in range(*(covering(its_words.bounds, start, end) or (0, 0)))
        ]
        begins = [line_starts(text, words.bounds) for text, words in zip(texts, tokenized, strict=True)]
        inner = [at + offset for starts, offset in zip(begins, first.tolist(), strict=False) for at in starts]
        lines = np.unique(np.concatenate([first, np.array(inner, np.int64)]))
        return Prepared(texts, tokenized, pieces, first, lines, np.array(address_words, np.int64))

    def encode(self, prepared: Prepared) -> Logits:
        """The encoder's answer."""
        return self._encoder.begin(prepared.pieces)()

    def embeddings(self, prepared: Prepared, logits: Logits) -> Floats:
        """One vector for each text: [texts, k], the mean of its windows; k is 0 where the model gives none.

        A text without words is all zeros.
        """
        its = np.array([len(piece.wanted) for piece in prepared.pieces], np.float32)
        # A window keeps at least one word: its first one says which text it is of.
        begin = (np.cumsum(its) - its).astype(np.int64)
        text = np.searchsorted(prepared.first, begin, side="right") - 1
        found = np.zeros((len(prepared.texts), logits.embeddings.shape[1]), np.float32)
        words = np.diff(prepared.first)[text]
        np.add.at(found, text, logits.embeddings * (its / words)[:, None])
        return found

    def tags(self, prepared: Prepared, logits: Logits) -> Marginals:
        """How probable each tag is for each word of `prepared`."""
        scaled = logits.tags * self.config.calibration.tag_scale
        return self._tags.marginals(_outside(scaled, prepared.address_words), prepared.lines)

    def opinion_tags(self, prepared: Prepared, logits: Logits) -> Marginals:
        """Return the probabilities of the opinion tags (O, B, I) of each word of `prepared`."""
        return self._opinion_tags.marginals(_outside(logits.opinions, prepared.address_words), prepared.lines)

    def polarity_scores(self, logits: Logits) -> Floats:
        """Return the probability of each polarity for each word, as if it were a span: shape [words, polarities]."""
        return softmax(logits.polarities * self.config.calibration.polarity_scale)

    def implicit_scores(self, prepared: Prepared, logits: Logits) -> Floats:
        """Return the probability of each implicit category and polarity: shape [texts, categories * polarities]."""
        calibration, taxonomy = self.config.calibration, self.taxonomy
        logits_of_words = logits.implicit[:, : len(taxonomy.implicit) * max(1, len(taxonomy.polarities))]
        strongest_of_texts = max_over_words(logits_of_words, prepared.first)
        return sigmoid(calibration.implicit_scale * strongest_of_texts + calibration.implicit_bias)

    def finish(self, prepared: Prepared, logits: Logits) -> list[ParsedReview]:
        """Spans and probabilities from `logits`."""
        options = (self.config.calibration.threshold, self.taxonomy.multi_label)
        spans = decode(self.tags(prepared, logits), logits.polarities, prepared.first, *options)
        implicit = self._implicit(logits.implicit, prepared.first)
        texts = np.concatenate([spans.text, implicit.text])
        offset = prepared.first[spans.text]
        words = np.concatenate([offset + spans.start, implicit.word])
        stops = np.concatenate([offset + spans.stop, implicit.word])
        opinions = self._opinions(prepared, logits, texts, words, stops)
        found: list[list[Aspect]] = [[] for _ in prepared.texts]
        mentions: set[tuple[int, tuple[str, str, str | None]]] = set()
        for number, aspect in zip(spans.text.tolist(), self._spans(prepared, spans, opinions), strict=True):
            if self.taxonomy.unique_mentions:
                mention = (number, mention_key(aspect))
                if mention in mentions:
                    continue
                mentions.add(mention)
            found[number].append(aspect)
        for number, aspect, opinion in zip(implicit.text.tolist(), implicit.aspects, opinions, strict=True):
            found[number].append(replace(aspect, opinion=opinion))
        return [ParsedReview(text, tuple(aspects)) for text, aspects in zip(prepared.texts, found, strict=True)]

    def _spans(self, prepared: Prepared, spans: Spans, opinions: Iterator[Opinion | None]) -> Iterator[Aspect]:
        """Each aspect that is a span, with the next of `opinions`."""
        calibration, taxonomy = self.config.calibration, self.taxonomy
        scores = sigmoid(calibration.span_scale * spans.logit + calibration.span_bias).tolist()
        polarities: list[str | None] = [None] * len(scores)
        polarity_scores: list[float | None] = [None] * len(scores)
        if taxonomy.polarities and scores:
            shares = softmax(spans.polarity_logits * calibration.polarity_scale)
            polarities = [taxonomy.polarities[best] for best in shares.argmax(axis=1).tolist()]
            polarity_scores = [round(share, 4) for share in shares.max(axis=1).tolist()]
        places = (spans.text.tolist(), spans.start.tolist(), spans.stop.tolist(), spans.category.tolist())
        for number, first, stop, category, score, polarity, polarity_score in zip(
            *places, scores, polarities, polarity_scores, strict=True
        ):
            start, end = prepared.bounds(number, first, stop)
            word = prepared.texts[number][start:end]
            group = taxonomy.categories[category]
            yield Aspect(group, word, start, end, polarity, next(opinions), round(score, 4), polarity_score)

    def _implicit(self, logits: Floats, first: Ints) -> Implicit:
        """The aspects that are no span, from `logits` of shape [words, categories * polarities]."""
        calibration, taxonomy = self.config.calibration, self.taxonomy
        per_category = max(1, len(taxonomy.polarities))
        logits = logits[:, : len(taxonomy.implicit) * per_category]
        scores = sigmoid(calibration.implicit_scale * max_over_words(logits, first) + calibration.implicit_bias)
        texts, pairs = np.nonzero(scores >= calibration.threshold)
        aspects, words = [], []
        for text, pair in zip(texts.tolist(), pairs.tolist(), strict=True):
            category, polarity = divmod(pair, per_category)
            rivals = scores[text, category * per_category : (category + 1) * per_category]
            aspects.append(
                Aspect(
                    taxonomy.implicit[category],
                    polarity=taxonomy.polarities[polarity] if taxonomy.polarities else None,
                    score=round(float(scores[text, pair]), 4),
                    polarity_score=round(float(rivals[polarity] / rivals.sum()), 4) if taxonomy.polarities else None,
                )
            )
            words.append(first[text] + logits[first[text] : first[text + 1], pair].argmax())
        return Implicit(aspects, texts, np.array(words, np.int64))

    def _opinions(
        self, prepared: Prepared, logits: Logits, texts: Ints, words: Ints, stops: Ints
    ) -> Iterator[Opinion | None]:
        """For each aspect, which is of `texts` and stands at `words` to `stops` of all, the words that judge it."""
        if not self.taxonomy.opinions:
            yield from itertools.repeat(None, len(texts))
            return
        tags = self.opinion_tags(prepared, logits)
        spans = decode(tags, np.empty((len(logits.opinions), 0)), prepared.first, CANDIDATE_THRESHOLD)
        chosen = link_opinions(
            logits.links, spans, texts, words, stops, prepared.first, self._link_bias, cache(prepared.sentence_of)
        )
        for number, opinion in zip(texts.tolist(), chosen.tolist(), strict=True):
            if opinion == NONE:
                yield None
                continue
            start, end = prepared.bounds(number, int(spans.start[opinion]), int(spans.stop[opinion]))
            yield Opinion(prepared.texts[number][start:end], start, end)


def _chain(transitions: Matrix, tags: int, scale: float = 1.0) -> LinearChainCRF:
    """Raises ModelError where the transitions are not those of so many tags."""
    matrix = np.array(transitions, np.float64) if transitions else np.zeros((tags, tags))
    if matrix.shape != (tags, tags):
        raise ModelError(f"the model has transitions of shape {matrix.shape} for {tags} tags; fetch it again")
    return LinearChainCRF(matrix * scale)


def _outside(logits: Floats, words: Ints) -> Floats:
    """Return the logits of tags with O certain for `words`."""
    if len(words):
        logits = logits.copy()
        logits[words] = MIN_LOGIT
        logits[words, 0] = 0
    return logits


def _link_bias(bias: tuple[float, ...]) -> Floats | None:
    """Return the bias as an array, None if the model has none. Raises ModelError if its length is wrong."""
    if bias and len(bias) != 2 * BUCKETS_A_SIDE:
        raise ModelError(f"the model has a link bias of {len(bias)} values, not {2 * BUCKETS_A_SIDE}; fetch it again")
    return np.array(bias, np.float64) if bias else None


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) == CHUNK_TEXTS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
