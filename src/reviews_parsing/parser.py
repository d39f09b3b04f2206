"""The inference core: texts in, ParsedReviews out, over ONNX Runtime and `tokenizers`.

A model folder holds `model.onnx`, `tokenizer.json` and `parser.json`. The work has three steps, each over many texts at
once: `prepare` (words, tokens, windows), the encoder, `finish` (spans, probabilities).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from reviews_parsing.encoder import Encoder, Logits, Piece
from reviews_parsing.engines import usable_cores
from reviews_parsing.errors import DataError, ModelError
from reviews_parsing.schema import Aspect, ParsedReview, Taxonomy
from reviews_parsing.tagging import (
    Spans,
    TokenizedText,
    decode,
    sigmoid,
    softmax,
    special_tokens,
    tokenize,
    windows,
)
from reviews_parsing.tagging.decode import Ints

FORMAT = 1
MODEL_FILE, TOKENIZER_FILE, CONFIG_FILE = "model.onnx", "tokenizer.json", "parser.json"
# What is worked on at once: enough texts to find some of like length, few enough to hold.
CHUNK_TEXTS, CHUNK_CHARACTERS = 256, 250_000


@dataclass(frozen=True, slots=True)
class Calibration:
    """Makes probabilities mean what they say; fitted on the validation split.

    A span's probability is sigmoid(span_scale * logit + span_bias) (Platt, 1999), a polarity's softmax(logits *
    polarity_scale) (temperature scaling, Guo et al., 2017).
    """

    span_scale: float = 1.0
    span_bias: float = 0.0
    polarity_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class ParserConfig:
    """What a model folder says about itself besides its weights. `window` and `margin` are in tokens."""

    taxonomy: Taxonomy
    window: int
    margin: int
    calibration: Calibration = Calibration()
    precision: str = "fp32"

    def write(self, folder: Path) -> None:
        form = {"format": FORMAT, **asdict(self)}
        (folder / CONFIG_FILE).write_text(json.dumps(form, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ParserConfig:
        """Raises ModelError where the folder holds no model or one that this version cannot read."""
        try:
            form = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{folder} holds no model ({CONFIG_FILE}: {error}); give a model folder or models:/NAME@ALIAS"
            ) from error
        try:
            if form["format"] != FORMAT:
                raise ModelError(
                    f"{folder} has format {form['format']}, not {FORMAT}; install the version that made it"
                )
            taxonomy = Taxonomy(*(tuple(form["taxonomy"][key]) for key in ("categories", "polarities")))
            calibration = Calibration(**form["calibration"])
            return cls(taxonomy, form["window"], form["margin"], calibration, form["precision"])
        except (KeyError, TypeError) as error:
            raise ModelError(f"{folder} is damaged ({CONFIG_FILE}: {error}); fetch it again") from error


@dataclass(frozen=True, slots=True)
class Prepared:
    """Texts as the encoder reads them. Text i's words are numbers first[i] to first[i + 1] of all."""

    texts: Sequence[str]
    tokenized: list[TokenizedText]
    pieces: list[Piece]
    first: Ints

    @property
    def tokens(self) -> int:
        """Tokens that the encoder reads, special ones and the overlap of windows included."""
        return sum(len(piece.ids) for piece in self.pieces)


class AspectParser:
    """Reads reviews; safe to share between threads.

    >>> parser = AspectParser.load("models:/reviews-parsing-ner-aspects@champion")
    >>> parser.parse(["The pho was lovely, the waiter less so."])
    """

    def __init__(self, folder: Path, threads: int | None = None, engine: str = "onnxruntime") -> None:
        """Load the model in `folder` with `threads` threads (default: one for each core this process may use).

        `engine` is onnxruntime, openvino, or auto: whichever is faster here, by trying.
        """
        self.config = ParserConfig.read(folder)
        self.taxonomy = self.config.taxonomy
        self.version: str | None = None
        try:
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
    def load(cls, source: str | Path, threads: int | None = None, engine: str = "onnxruntime") -> AspectParser:
        """The model at `source`: a folder, or what the registry knows it by (`models:/NAME@ALIAS`, `models:/NAME/3`).

        Raises ModelError where there is no such model, TrackingError where the registry cannot be reached.
        """
        if not str(source).startswith(("models:", "runs:")):
            return cls(Path(source), threads, engine)
        # The one look downwards: where models come from is the registry's knowledge, loaded only when asked for.
        from reviews_parsing import registry

        folder, version = registry.fetch(str(source))
        parser = cls(folder, threads, engine)
        parser.version = version
        return parser

    @property
    def engine(self) -> str:
        """The name of what runs the model."""
        return self._encoder.engine

    def parse(self, texts: Sequence[str], min_score: float = 0.0) -> list[ParsedReview]:
        """The aspects of each text whose probability is at least `min_score`, in the order of the texts.

        Raises DataError where an element is not a string.
        """
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"text {i} must be a string, not {type(text).__name__}")
        return list(self.parse_iter(texts, min_score))

    def parse_iter(self, texts: Iterable[str], min_score: float = 0.0) -> Iterator[ParsedReview]:
        """Like `parse`, over any number of texts with flat memory."""
        for prepared, logits in self.encoded(texts):
            for parsed in self.finish(prepared, logits):
                yield parsed.above(min_score)

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
        return Prepared(texts, tokenized, pieces, first)

    def encode(self, prepared: Prepared) -> Logits:
        """The encoder's answer."""
        return self._encoder.begin(prepared.pieces)()

    def finish(self, prepared: Prepared, logits: Logits) -> list[ParsedReview]:
        """Spans and probabilities from `logits`."""
        found: list[list[Aspect]] = [[] for _ in prepared.texts]
        for number, aspect in self._aspects(prepared, decode(logits.tags, logits.polarities, prepared.first)):
            found[number].append(aspect)
        return [ParsedReview(text, tuple(aspects)) for text, aspects in zip(prepared.texts, found, strict=True)]

    def _aspects(self, prepared: Prepared, spans: Spans) -> Iterator[tuple[int, Aspect]]:
        """Each aspect with the number of its text."""
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
            bounds = prepared.tokenized[number].bounds
            start, end = bounds[first][0], bounds[stop - 1][1]
            yield (
                number,
                Aspect(
                    taxonomy.categories[category],
                    prepared.texts[number][start:end],
                    start,
                    end,
                    polarity,
                    None,
                    round(score, 4),
                    polarity_score,
                ),
            )


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
