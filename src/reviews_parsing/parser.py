"""The inference core: texts in, ParsedReviews out, over ONNX Runtime and `tokenizers`.

A model folder holds `model.onnx`, `tokenizer.json` and `parser.json`. Every window of every text is a run of its own:
no padding, and nothing that shares a batch with a text can move its scores (dynamic int8 takes its activation scales
from whatever a run holds). Runs are spread over `threads` threads, one core each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from reviews_parsing.errors import DataError, ModelError
from reviews_parsing.schema import Aspect, ParsedReview, Taxonomy
from reviews_parsing.tagging import (
    ScoredSpan,
    TokenizedText,
    Window,
    decode,
    sigmoid,
    softmax,
    special_tokens,
    tokenize,
    windows,
)
from reviews_parsing.tagging.decode import Floats

FORMAT = 1
MODEL_FILE, TOKENIZER_FILE, CONFIG_FILE = "model.onnx", "tokenizer.json", "parser.json"
CHUNK = 256


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
        if form.get("format") != FORMAT:
            raise ModelError(
                f"{folder} has format {form.get('format')}, not {FORMAT}; install the version that made it"
            )
        taxonomy = Taxonomy(*(tuple(form["taxonomy"][key]) for key in ("categories", "polarities")))
        calibration = Calibration(**form["calibration"])
        return cls(taxonomy, form["window"], form["margin"], calibration, form["precision"])


class AspectParser:
    """Reads reviews; safe to share between threads.

    >>> parser = AspectParser.load("models:/reviews-parsing-ner-aspects@champion")
    >>> parser.parse(["The pho was lovely, the waiter less so."])
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        """Load the model in `folder` with `threads` threads (default: one for each core this process may use)."""
        self.config = ParserConfig.read(folder)
        self.taxonomy = self.config.taxonomy
        self.version: str | None = None
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(
                str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # both libraries raise bare exceptions of their own
            raise ModelError(f"{folder}: the model is incomplete or damaged ({error}); fetch it again") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._prefix, self._suffix = special_tokens(self._tokenizer)
        self._pool = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="parse")

    @classmethod
    def load(cls, source: str | Path, threads: int | None = None) -> AspectParser:
        """The model at `source`: a folder, or what the registry knows it by (`models:/NAME@ALIAS`, `models:/NAME/3`).

        Raises ModelError where there is no such model, TrackingError where the registry cannot be reached.
        """
        if not str(source).startswith(("models:", "runs:")):
            return cls(Path(source), threads)
        # The one look downwards: where models come from is the registry's knowledge, loaded only when asked for.
        from reviews_parsing import registry

        folder, version = registry.fetch(str(source))
        parser = cls(folder, threads)
        parser.version = version
        return parser

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
        for text, words, spans in self.scored_spans(texts):
            aspects = (self._aspect(text, words, span) for span in spans)
            yield ParsedReview(text, tuple(a for a in aspects if (a.score or 0.0) >= min_score))

    def scored_spans(self, texts: Iterable[str]) -> Iterator[tuple[str, TokenizedText, list[ScoredSpan]]]:
        """Each text with its words and the spans found in it, before calibration."""
        remaining = iter(texts)
        while chunk := list(islice(remaining, CHUNK)):
            tokenized = tokenize(self._tokenizer, chunk)
            for text, words, (tags, polarities) in zip(chunk, tokenized, self._logits(tokenized), strict=True):
                yield text, words, decode(tags, polarities)

    def _logits(self, texts: Sequence[TokenizedText]) -> Iterator[tuple[Floats, Floats]]:
        """(tag logits [n, t], polarity logits [n, p]) of each text's n words."""
        size = self.config.window - len(self._prefix) - len(self._suffix)
        plan = [windows(text.first, size, self.config.margin) if text.ids else [] for text in texts]
        jobs = [(text, window) for text, its_windows in zip(texts, plan, strict=True) for window in its_windows]
        runs = self._pool.map(self._run, jobs) if len(jobs) > 1 else map(self._run, jobs)
        none = (np.empty((0, len(self.taxonomy.tags))), np.empty((0, len(self.taxonomy.polarities))))
        for its_windows in plan:
            parts = [next(runs) for _ in its_windows] or [none]
            yield np.concatenate([tags for tags, _ in parts]), np.concatenate([p for _, p in parts])

    def _run(self, job: tuple[TokenizedText, Window]) -> tuple[Floats, Floats]:
        """Logits of the words that one window keeps."""
        text, window = job
        tokens = text.ids[text.first[window.start] : text.first[window.stop]]
        ids = np.array([[*self._prefix, *tokens, *self._suffix]], dtype=np.int64)
        outputs = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        offset = len(self._prefix) - text.first[window.start]
        kept = np.array(text.first[window.keep_start : window.keep_stop]) + offset
        polarities = outputs[1][0, kept] if len(outputs) > 1 else np.empty((len(kept), 0))
        return outputs[0][0, kept], polarities

    def _aspect(self, text: str, words: TokenizedText, scored: ScoredSpan) -> Aspect:
        calibration, taxonomy = self.config.calibration, self.taxonomy
        span, logit, polarity_logits = scored
        start, end = words.bounds[span.start][0], words.bounds[span.stop - 1][1]
        score = round(sigmoid(calibration.span_scale * logit + calibration.span_bias), 4)
        aspect = Aspect(taxonomy.categories[span.category], text[start:end], start, end, score=score)
        if not taxonomy.polarities:
            return aspect
        shares = softmax(polarity_logits * calibration.polarity_scale)
        best = int(shares.argmax())
        return replace(aspect, polarity=taxonomy.polarities[best], polarity_score=round(float(shares[best]), 4))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
