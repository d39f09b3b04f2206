"""Parser: texts in, ParsedReviews out, with ONNX Runtime and `tokenizers` alone.

Each batch of texts passes three steps: `prepare` (words, tokens, windows), the encoder (logits), `finish` (spans and
probabilities).
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from reviews_parsing.cores import usable_cores
from reviews_parsing.encoder import OUTPUTS, Encoder, Logits, Piece
from reviews_parsing.errors import DataError, ModelError
from reviews_parsing.language import identify
from reviews_parsing.model_folder import MODEL_FILE, TOKENIZER_FILE, Matrix, ParserConfig, short_reason
from reviews_parsing.schema import OPINION_TAGS, Aspect, Opinion, ParsedReview, Taxonomy, mention_key
from reviews_parsing.tagging import (
    LinearChainCRF,
    Marginals,
    Spans,
    TokenizedText,
    WordTokenizer,
    addresses,
    boundaries,
    covering,
    decode,
    line_starts,
    link_opinions,
    max_over_words,
    sigmoid,
    softmax,
    windows,
)
from reviews_parsing.tagging.crf import Floats, Ints
from reviews_parsing.tagging.decode import MIN_LOGIT
from reviews_parsing.tagging.opinion_linking import BUCKETS_A_SIDE, CANDIDATE_THRESHOLD, NO_OPINION

# Limits of a chunk: enough texts for batches of similar length, few enough for constant memory.
CHUNK_TEXTS, CHUNK_CHARACTERS = 256, 250_000
# The first chunk of a stream is small, so that its first answer comes soon.
FIRST_CHUNK_TEXTS = 32


@dataclass(frozen=True, slots=True)
class Prepared:
    """Tokenized texts with their windows (`pieces`).

    Text i has words first[i] to first[i + 1] of all words. `lines` are the first words of all lines and the number of
    words, since spans do not cross line breaks. `address_words` are the words of URLs, e-mail addresses and handles,
    which are never part of a span.
    """

    texts: Sequence[str]
    tokenized: list[TokenizedText]
    pieces: list[Piece]
    first: Ints
    lines: Ints
    address_words: Ints

    def sentence_of(self, text: int) -> Ints:
        """Return the sentence number of each word of text number `text`, shape [words]."""
        bounds = self.tokenized[text].bounds
        # The first word at or after each boundary.
        words = [bisect_left(bounds, (boundary,)) for boundary in boundaries(self.texts[text])]
        return np.repeat(np.arange(len(words) + 1), np.diff([0, *words, len(bounds)]))

    def bounds(self, text: int, first: int, stop: int) -> tuple[int, int]:
        """Return (start, end), in code points, of words [first, stop) of text number `text`."""
        word_bounds = self.tokenized[text].bounds
        return word_bounds[first][0], word_bounds[stop - 1][1]

    @property
    def tokens(self) -> int:
        """Number of encoder tokens, including special tokens and the overlap of windows."""
        return sum(len(piece.ids) for piece in self.pieces)


class AspectParser:
    """Thread-safe parser of reviews.

    >>> parser = AspectParser.load()
    >>> parser.parse(["The pho was lovely, the waiter less so."])
    """

    def __init__(self, folder: Path, threads: int | None = None, engine: str = "onnxruntime") -> None:
        """Load the model in `folder` with `threads` threads, by default one per usable core.

        `engine` is onnxruntime, openvino, or auto (times both and uses the faster). Raises ModelError if the model is
        damaged or the engine is not installed.
        """
        self.folder = folder
        self.config = ParserConfig.read(folder)
        self.taxonomy = self.config.taxonomy
        self.version: str | None = None
        try:
            scale = self.config.calibration.tag_scale
            self._tag_crf = _crf(self.config.transitions, len(self.taxonomy.tags), scale)
            self._opinion_crf = _crf(self.config.opinion_transitions, OPINION_TAGS)
            self._link_bias = _link_bias(self.config.link_bias)
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
            self._encoder = Encoder(folder / MODEL_FILE, threads or usable_cores(), engine)
            _require_outputs(self._encoder.widths, self.taxonomy)
        except ModelError:
            raise
        except Exception as error:  # tokenizers and onnxruntime raise bare exceptions
            raise ModelError(
                f"{folder}: the model is incomplete or damaged ({short_reason(error)}); fetch it again"
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._words = WordTokenizer(self._tokenizer)
        self._prefix, self._suffix = self._words.special_tokens

    @classmethod
    def load(
        cls, source: str | Path | None = None, threads: int | None = None, engine: str = "onnxruntime"
    ) -> AspectParser:
        """Load the model at `source`: a folder, `models:/NAME@ALIAS`, `models:/NAME/3`, `runs:/ID`, a pretrained one.

        The pretrained models are `pretrained` and `pretrained-fast`. Without `source`, loads the champion, or
        `pretrained` if there is no champion, and logs which. Raises ModelError if the model does not exist,
        TrackingError if the registry cannot be reached.
        """
        # Imported on use: a parser of a folder does not need the registry.
        from reviews_parsing import registry

        folder, version = registry.locate(source)
        parser = cls(folder, threads, engine)
        parser.version = version
        return parser

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return self._encoder.engine

    @property
    def identifies_languages(self) -> bool:
        """True if parsed reviews have a language: a model without a list of languages identifies none."""
        return bool(self.config.languages)

    @property
    def unknown_id(self) -> int | None:
        """Id of the token for words outside the vocabulary, or None if the vocabulary has no such token."""
        model = self._tokenizer.model
        token = getattr(model, "unk_token", None)
        return self._tokenizer.token_to_id(token) if token else getattr(model, "unk_id", None)

    def parse(self, texts: Sequence[str], min_score: float = 0.0, spans_only: bool = False) -> list[ParsedReview]:
        """Return the aspects of each text with a score of at least `min_score`, in the order of the texts.

        With `spans_only`, omits implicit aspects. Raises DataError if a text is not a string of Unicode.
        """
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"text {i} must be a string, not {type(text).__name__}")
            try:
                text.encode()
            except UnicodeEncodeError as error:
                message = f"text {i} is not Unicode: character {error.start} is a lone surrogate; decode it as UTF-8"
                raise DataError(message) from None
        return list(self.parse_iter(texts, min_score, spans_only))

    def parse_iter(
        self, texts: Iterable[str], min_score: float = 0.0, spans_only: bool = False
    ) -> Iterator[ParsedReview]:
        """Parse a stream of texts in constant memory; arguments as for `parse`."""
        for prepared, logits in self.encoded(texts):
            for parsed in self.finish(prepared, logits):
                yield parsed.only(min_score, spans_only)

    def encoded(self, texts: Iterable[str]) -> Iterator[tuple[Prepared, Logits]]:
        """Yield chunks of texts with their logits; the encoder works on the next chunk meanwhile."""
        pending: tuple[Prepared, Callable[[], Logits]] | None = None
        for chunk in _chunks(texts):
            prepared = self.prepare(chunk)
            submitted = (prepared, self._encoder.submit(prepared.pieces))
            if pending:
                yield pending[0], pending[1]()
            pending = submitted
        if pending:
            yield pending[0], pending[1]()

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Split `texts` into words, tokens and windows."""
        size = self.config.window - len(self._prefix) - len(self._suffix)
        tokenized = self._words.tokenize(texts)
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
            for text, words, offset in zip(texts, tokenized, first, strict=False)
            for start, end in addresses(text)
            for word in range(*(covering(words.bounds, start, end) or (0, 0)))
        ]
        inner_lines = [
            word + offset
            for text, words, offset in zip(texts, tokenized, first.tolist(), strict=False)
            for word in line_starts(text, words.bounds)
        ]
        lines = np.unique(np.concatenate([first, np.array(inner_lines, np.int64)]))
        return Prepared(texts, tokenized, pieces, first, lines, np.array(address_words, np.int64))

    def encode(self, prepared: Prepared, threads: int | None = None) -> Logits:
        """Return the logits of `prepared`, encoded in up to `threads` threads, by default all."""
        return self._encoder.submit(prepared.pieces, threads)()

    def embeddings(self, prepared: Prepared, logits: Logits) -> Floats:
        """Return the mean embedding of each text, shape [texts, k], zeros for texts without words.

        k is 0 if the model has no embedding output.
        """
        word_counts = np.array([len(piece.positions) for piece in prepared.pieces], np.float32)
        # Windows are matched to texts by their first kept word; each window keeps at least one.
        first_words = (np.cumsum(word_counts) - word_counts).astype(np.int64)
        text = np.searchsorted(prepared.first, first_words, side="right") - 1
        embeddings = np.zeros((len(prepared.texts), logits.embeddings.shape[1]), np.float32)
        shares = word_counts / np.diff(prepared.first)[text]
        np.add.at(embeddings, text, logits.embeddings * shares[:, None])
        return embeddings

    def tags(self, prepared: Prepared, logits: Logits) -> Marginals:
        """Return the tag marginals of each word."""
        scaled = logits.tags * self.config.calibration.tag_scale
        return self._tag_crf.marginals(_mask_outside(scaled, prepared.address_words), prepared.lines)

    def opinion_tags(self, prepared: Prepared, logits: Logits) -> Marginals:
        """Return the marginals of the opinion tags (O, B, I) of each word."""
        return self._opinion_crf.marginals(_mask_outside(logits.opinions, prepared.address_words), prepared.lines)

    def polarity_scores(self, logits: Logits) -> Floats:
        """Return the polarity probabilities of each word as a span of its own, shape [words, polarities]."""
        return softmax(logits.polarities * self.config.calibration.polarity_scale)

    def implicit_scores(self, prepared: Prepared, logits: Logits) -> Floats:
        """Return the probability of each implicit category and polarity, shape [texts, categories * polarities]."""
        calibration = self.config.calibration
        maxima = max_over_words(self._implicit_logits(logits), prepared.first)
        return sigmoid(calibration.implicit_scale * maxima + calibration.implicit_bias)

    def _implicit_logits(self, logits: Logits) -> Floats:
        return logits.implicit[:, : len(self.taxonomy.implicit) * max(1, len(self.taxonomy.polarities))]

    def finish(self, prepared: Prepared, logits: Logits) -> list[ParsedReview]:
        """Decode `logits` into parsed reviews."""
        options = (self.config.calibration.threshold, self.taxonomy.multi_label)
        spans = decode(self.tags(prepared, logits), logits.polarities, prepared.first, *options)
        implicit, implicit_texts, implicit_words = self._implicit(prepared, logits)
        texts = np.concatenate([spans.text, implicit_texts])
        offset = prepared.first[spans.text]
        words = np.concatenate([offset + spans.start, implicit_words])
        stops = np.concatenate([offset + spans.stop, implicit_words])
        opinions = self._opinions(prepared, logits, texts, words, stops)
        aspects: list[list[Aspect]] = [[] for _ in prepared.texts]
        mentions: set[tuple[int, tuple[str, str, str | None]]] = set()
        for number, aspect in zip(spans.text.tolist(), self._spans(prepared, spans, opinions), strict=True):
            if self.taxonomy.unique_mentions:
                mention = (number, mention_key(aspect))
                if mention in mentions:
                    continue
                mentions.add(mention)
            aspects[number].append(aspect)
        for number, aspect, opinion in zip(implicit_texts.tolist(), implicit, opinions, strict=True):
            aspects[number].append(replace(aspect, opinion=opinion))
        parsed = map(ParsedReview, prepared.texts, map(tuple, aspects))
        if not self.config.languages:
            return list(parsed)
        return [self._with_language(review, text) for review, text in zip(parsed, prepared.tokenized, strict=True)]

    def _with_language(self, review: ParsedReview, tokenized: TokenizedText) -> ParsedReview:
        """Return the review with its language; scores in a foreign text are halved, and the threshold applies again."""

        def count_words() -> tuple[int, int]:
            tokens = itertools.pairwise(tokenized.first)
            pieces = [
                stop - start
                for (begin, end), (start, stop) in zip(tokenized.bounds, tokens, strict=True)
                if end - begin > 1 and review.text[begin].isalpha()
            ]
            return len(pieces), pieces.count(1)

        language = identify(review.text, self.config.languages, count_words)
        aspects = review.aspects
        if language.foreign:
            halved = (replace(aspect, score=(aspect.score or 0.0) / 2) for aspect in aspects)
            aspects = tuple(a for a in halved if (a.score or 0.0) >= self.config.calibration.threshold)
        return ParsedReview(review.text, aspects, language.code, language.foreign)

    def _spans(self, prepared: Prepared, spans: Spans, opinions: Iterator[Opinion | None]) -> Iterator[Aspect]:
        """Yield the explicit aspects, each with the next one of `opinions`."""
        calibration, taxonomy = self.config.calibration, self.taxonomy
        scores = sigmoid(calibration.span_scale * spans.logit + calibration.span_bias).tolist()
        polarities: list[str | None] = [None] * len(scores)
        polarity_scores: list[float | None] = [None] * len(scores)
        if taxonomy.polarities and scores:
            shares = softmax(spans.polarity_logits * calibration.polarity_scale)
            polarities = [taxonomy.polarities[best] for best in shares.argmax(axis=1).tolist()]
            polarity_scores = [round(share, 4) for share in shares.max(axis=1).tolist()]
        columns = (spans.text.tolist(), spans.start.tolist(), spans.stop.tolist(), spans.category.tolist())
        for number, first, stop, category, score, polarity, polarity_score in zip(
            *columns, scores, polarities, polarity_scores, strict=True
        ):
            start, end = prepared.bounds(number, first, stop)
            word = prepared.texts[number][start:end]
            group = taxonomy.categories[category]
            yield Aspect(group, word, start, end, polarity, next(opinions), round(score, 4), polarity_score)

    def _implicit(self, prepared: Prepared, logits: Logits) -> tuple[list[Aspect], Ints, Ints]:
        """Return the implicit aspects above the threshold, with the indices of their texts and best words."""
        taxonomy, first = self.taxonomy, prepared.first
        per_category = max(1, len(taxonomy.polarities))
        word_logits, scores = self._implicit_logits(logits), self.implicit_scores(prepared, logits)
        texts, pairs = np.nonzero(scores >= self.config.calibration.threshold)
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
            words.append(first[text] + word_logits[first[text] : first[text + 1], pair].argmax())
        return aspects, texts, np.array(words, np.int64)

    def _opinions(
        self, prepared: Prepared, logits: Logits, texts: Ints, words: Ints, stops: Ints
    ) -> Iterator[Opinion | None]:
        """Yield the opinion of each aspect, given its text and its words [words[i], stops[i])."""
        if not self.taxonomy.opinions:
            yield from itertools.repeat(None, len(texts))
            return
        tags = self.opinion_tags(prepared, logits)
        spans = decode(tags, np.empty((len(logits.opinions), 0)), prepared.first, CANDIDATE_THRESHOLD)
        links = link_opinions(
            logits.links, spans, texts, words, stops, prepared.first, self._link_bias, prepared.sentence_of
        )
        for number, opinion in zip(texts.tolist(), links.tolist(), strict=True):
            if opinion == NO_OPINION:
                yield None
                continue
            start, end = prepared.bounds(number, int(spans.start[opinion]), int(spans.stop[opinion]))
            yield Opinion(prepared.texts[number][start:end], start, end)


def _require_outputs(widths: Mapping[str, int], taxonomy: Taxonomy) -> None:
    """Raise ModelError if an output of the graph does not have the width that the labels need."""
    tags, polarities, implicit, opinions, _ = OUTPUTS
    needed = {
        tags: len(taxonomy.tags),
        polarities: len(taxonomy.polarities),
        implicit: len(taxonomy.implicit) * max(1, len(taxonomy.polarities)),
        opinions: OPINION_TAGS if taxonomy.opinions else 0,
    }
    for output, number in needed.items():
        width = widths.get(output, 0)
        # The first columns of a wider output for implicit aspects are used.
        if number and (width < number if output == implicit else width != number):
            raise ModelError(f"the model has an output {output} of width {width}, not {number}; fetch it again")


def _crf(transitions: Matrix, tags: int, scale: float = 1.0) -> LinearChainCRF:
    """Return the CRF over `tags` tags. Raises ModelError if the transitions have another shape."""
    matrix = np.array(transitions, np.float64) if transitions else np.zeros((tags, tags))
    if matrix.shape != (tags, tags):
        raise ModelError(f"the model has transitions of shape {matrix.shape} for {tags} tags; fetch it again")
    return LinearChainCRF(matrix * scale)


def _mask_outside(logits: Floats, words: Ints) -> Floats:
    """Return tag logits in which `words` are certainly O."""
    if len(words):
        logits = logits.copy()
        logits[words] = MIN_LOGIT
        logits[words, 0] = 0
    return logits


def _link_bias(bias: tuple[float, ...]) -> Floats | None:
    """Return the bias as an array, or None if it is empty. Raises ModelError if its length is wrong."""
    if bias and len(bias) != 2 * BUCKETS_A_SIDE:
        raise ModelError(f"the model has a link bias of {len(bias)} values, not {2 * BUCKETS_A_SIDE}; fetch it again")
    return np.array(bias, np.float64) if bias else None


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters, max_texts = 0, FIRST_CHUNK_TEXTS
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) == max_texts or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters, max_texts = [], 0, CHUNK_TEXTS
    if chunk:
        yield chunk
