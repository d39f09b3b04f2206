"""From a checkpoint to a model folder that the parser reads: ONNX, int8 where it pays, calibration."""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reviews_parsing.encoder import EMBEDDING
from reviews_parsing.model_folder import MODEL_FILE, TOKENIZER_FILE, Calibration, ParserConfig
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.tagging import LinearChainCRF, decode, line_starts, max_over_words, softmax
from reviews_parsing.tagging.crf import Floats
from reviews_parsing.training.backbone import build_tagger
from reviews_parsing.training.crf import transitions
from reviews_parsing.training.evaluate import Evaluation, evaluate
from reviews_parsing.training.features import implicit_labels, word_labels
from reviews_parsing.training.fit import Recipe
from reviews_parsing.training.quantize import quantize

MAX_INT8_LOSS = 0.005
# Bounds of the threshold that is fitted, because few reviews say little about it.
MIN_THRESHOLD, MAX_THRESHOLD = 0.2, 0.4
QUANTIZATION_TEXTS = 150
# Timings of each candidate, taking turns; the fastest of each counts.
TIMINGS = 3


@dataclass(frozen=True, slots=True)
class Exported:
    """The model folder, its precision, and the results of both candidates on the validation split."""

    folder: Path
    precision: str
    fp32: Evaluation
    int8: Evaluation


def export(
    checkpoint: Path,
    taxonomy: Taxonomy,
    recipe: Recipe,
    train: Sequence[Review],
    validation: Sequence[Review],
    folder: Path,
) -> Exported:
    """Write the model folder: int8 if it loses at most 0.5 points of F1 on `validation` and is faster here, else fp32.

    Texts of `train` choose the int8 scales, `validation` calibrates the probabilities.
    """
    candidates: dict[str, Path] = {p: folder.with_name(f"{folder.name}-{p}") for p in ("fp32", "int8")}
    for candidate in candidates.values():
        shutil.rmtree(candidate, ignore_errors=True)
    write_fp32(checkpoint, taxonomy, recipe, candidates["fp32"])
    shutil.copytree(candidates["fp32"], candidates["int8"])
    replace(ParserConfig.read(candidates["int8"]), precision="int8").write(candidates["int8"])
    texts = [review.text for review in train]
    sample = texts[:: max(1, len(texts) // QUANTIZATION_TEXTS)]
    pieces = AspectParser(candidates["fp32"], threads=1).prepare(sample).pieces
    quantize(candidates["fp32"] / MODEL_FILE, candidates["int8"] / MODEL_FILE, [piece.ids for piece in pieces])
    parsers = {precision: AspectParser(candidate) for precision, candidate in candidates.items()}
    fp32, int8 = (evaluate(parsers[precision], validation) for precision in ("fp32", "int8"))
    seconds = dict.fromkeys(parsers, math.inf)
    for _ in range(TIMINGS):
        for precision, parser in parsers.items():
            begin = time.perf_counter()
            parser.parse([review.text for review in validation])
            seconds[precision] = min(seconds[precision], time.perf_counter() - begin)
    keep = "int8" if fp32.f1 - int8.f1 <= MAX_INT8_LOSS and seconds["int8"] < seconds["fp32"] else "fp32"
    shutil.rmtree(folder, ignore_errors=True)
    candidates[keep].rename(folder)
    for candidate in candidates.values():
        shutil.rmtree(candidate, ignore_errors=True)
    calibrate(folder, validation)
    return Exported(folder, keep, fp32, int8)


def write_fp32(checkpoint: Path, taxonomy: Taxonomy, recipe: Recipe, folder: Path) -> None:
    """Write the model folder of a checkpoint in fp32, without calibration."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(checkpoint / TOKENIZER_FILE, folder)
    tagger = build_tagger(str(checkpoint), taxonomy).eval()
    longest = getattr(tagger.config, "max_position_embeddings", recipe.window)
    matrices = [
        tuple(tuple(round(value, 4) for value in row) for row in transitions(layer).tolist()) if layer else ()
        for layer in (tagger.tag_chain, getattr(tagger, "opinion_chain", None))
    ]
    distance = getattr(tagger, "link_distance", None)
    bias = () if distance is None else tuple(round(value, 4) for value in distance.weight.squeeze(-1).tolist())
    size = min(recipe.window, longest)
    ParserConfig(taxonomy, size, recipe.margin, Calibration(), "fp32", matrices[0], matrices[1], bias).write(folder)
    _write_onnx(tagger, folder / MODEL_FILE)


def calibrate(folder: Path, reviews: Sequence[Review]) -> None:
    """Fit the calibration of a model folder and its threshold on `reviews`, and write both into the folder."""
    config = ParserConfig.read(folder)
    calibration = _calibration(AspectParser(folder), reviews)
    replace(config, calibration=calibration).write(folder)
    half_f1 = evaluate(AspectParser(folder), reviews).f1 / 2
    threshold = round(min(max(half_f1, MIN_THRESHOLD), MAX_THRESHOLD), 3)
    replace(config, calibration=replace(calibration, threshold=threshold)).write(folder)


def _calibration(parser: AspectParser, reviews: Sequence[Review]) -> Calibration:
    """Fit temperature scaling of tags and polarities and Platt scaling of implicit aspects on `reviews`.

    The temperature of the tags maximises the likelihood of whole tag sequences: that uses more data than the few spans.
    Parameters with too little data keep their defaults.
    """
    taxonomy = parser.taxonomy
    tag_logits: list[Floats] = [np.empty((0, len(taxonomy.tags)))]
    tag_gold: list[int] = []
    words = [0]
    polarity_logits, polarity_gold = [], []
    implicit_logits: list[float] = []
    implicit_right: list[bool] = []
    remaining = iter(reviews)
    for prepared, encoded in parser.encoded(review.text for review in reviews):
        chunk = [next(remaining) for _ in prepared.texts]
        gold = [{(a.span, a.entity_group): a.polarity for a in review.aspects} for review in chunk]
        tag_logits.append(encoded.tags)
        for review, text in zip(chunk, prepared.tokenized, strict=True):
            tag_gold += word_labels(review, text, taxonomy)[0]
            offset = words[-1]
            words += [offset + at for at in line_starts(review.text, text.bounds)]
            words.append(len(tag_gold))
        implicit_logits += max_over_words(encoded.implicit, prepared.first).ravel().tolist()
        implicit_right += [bool(label) for review in chunk for label in implicit_labels(review, taxonomy)]
        spans = decode(parser.tags(prepared, encoded), encoded.polarities, prepared.first)
        for text, start, stop, category, its_polarities in zip(
            spans.text, spans.start, spans.stop, spans.category, spans.polarity_logits, strict=True
        ):
            bounds = prepared.tokenized[text].bounds
            key = ((bounds[start][0], bounds[stop - 1][1]), taxonomy.categories[category])
            if gold[text].get(key) in taxonomy.polarities:
                polarity_logits.append(its_polarities)
                polarity_gold.append(taxonomy.polarities.index(gold[text][key] or ""))
    calibration = Calibration()
    if tag_gold:
        tags, gold_tags, first = np.concatenate(tag_logits), np.array(tag_gold), np.array(words)
        learnt = np.array(parser.config.transitions)

        def of_tags(scale: float) -> float:
            return LinearChainCRF(learnt * scale).log_likelihood(tags * scale, gold_tags, first)

        calibration = replace(calibration, tag_scale=_likeliest(of_tags))
    if platt := _platt(implicit_logits, implicit_right):
        calibration = replace(calibration, implicit_scale=platt[0], implicit_bias=platt[1])
    if len(polarity_gold) >= 20:
        found = np.array(polarity_logits)
        rows = np.arange(len(found))
        scale = _likeliest(lambda scale: float(np.log(softmax(found * scale)[rows, polarity_gold] + 1e-12).sum()))
        calibration = replace(calibration, polarity_scale=scale)
    return calibration


def _likeliest(log_likelihood: Callable[[float], float]) -> float:
    """The inverse temperature by which logits are to be multiplied (Guo et al., 2017)."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(lambda log_scale: -log_likelihood(np.exp(log_scale)), bounds=(-3, 2), method="bounded")
    return float(np.exp(found.x))


def _platt(logits: Sequence[float], right: Sequence[bool]) -> tuple[float, float] | None:
    """Scale and bias under which sigmoids of `logits` say how often they are right; None where that cannot be told."""
    from sklearn.linear_model import LogisticRegression

    if min(sum(right), len(right) - sum(right)) < 5:
        return None
    fitted = LogisticRegression(C=10.0).fit(np.array(logits)[:, None], right)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _write_onnx(tagger: Any, path: Path) -> None:
    import torch

    class Outputs(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tagger = tagger
            tagger.classifier.register_forward_pre_hook(self._keep)

        def _keep(self, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            self._read = inputs[0]

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
            logits = tagger(input_ids=input_ids, attention_mask=attention_mask).values()
            mask = attention_mask.unsqueeze(-1).to(self._read.dtype)
            return *logits, (self._read * mask).sum(dim=1) / mask.sum(dim=1)

    wrapped = Outputs()
    ids = torch.ones((1, 8), dtype=torch.int64)
    names = list(tagger(ids, torch.ones_like(ids)))
    axes = {name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask", *names)}
    names, axes[EMBEDDING] = [*names, EMBEDDING], {0: "batch"}
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter warns of shapes fixed by Python code; what it makes is held against torch in the tests.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            wrapped,
            (ids, torch.ones_like(ids)),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=names,
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
