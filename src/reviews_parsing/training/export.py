"""Export of a checkpoint to a model folder: ONNX, int8 quantization if it is faster and as accurate, calibration."""

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
from reviews_parsing.language import languages_of
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

# Maximum loss of F1 for which int8 is preferred to fp32.
MAX_INT8_LOSS = 0.005
# Bounds of the fitted threshold, which a small validation split would otherwise make extreme.
MIN_THRESHOLD, MAX_THRESHOLD = 0.2, 0.4
QUANTIZATION_TEXTS = 150
# Interleaved timings of each candidate, of which the fastest counts.
TIMINGS = 3


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Model folder, its precision, and the evaluations of both candidates on the validation split."""

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
) -> ExportResult:
    """Write the model folder: int8 if it loses at most 0.5 points of F1 on `validation` and is faster, else fp32.

    The int8 scales are fitted on texts of `train`, the calibration on `validation`.
    """
    folders: dict[str, Path] = {p: folder.with_name(f"{folder.name}-{p}") for p in ("fp32", "int8")}
    for candidate in folders.values():
        shutil.rmtree(candidate, ignore_errors=True)
    write_fp32(checkpoint, taxonomy, recipe, folders["fp32"])
    shutil.copytree(folders["fp32"], folders["int8"])
    replace(ParserConfig.read(folders["int8"]), precision="int8").write(folders["int8"])
    texts = [review.text for review in train]
    sample = texts[:: max(1, len(texts) // QUANTIZATION_TEXTS)]
    pieces = AspectParser(folders["fp32"], threads=1).prepare(sample).pieces
    quantize(folders["fp32"] / MODEL_FILE, folders["int8"] / MODEL_FILE, [piece.ids for piece in pieces])
    parsers = {precision: AspectParser(candidate) for precision, candidate in folders.items()}
    fp32, int8 = (evaluate(parsers[precision], validation) for precision in ("fp32", "int8"))
    seconds = dict.fromkeys(parsers, math.inf)
    for _ in range(TIMINGS):
        for precision, parser in parsers.items():
            begin = time.perf_counter()
            parser.parse([review.text for review in validation])
            seconds[precision] = min(seconds[precision], time.perf_counter() - begin)
    best = "int8" if fp32.f1 - int8.f1 <= MAX_INT8_LOSS and seconds["int8"] < seconds["fp32"] else "fp32"
    shutil.rmtree(folder, ignore_errors=True)
    folders[best].rename(folder)
    for candidate in folders.values():
        shutil.rmtree(candidate, ignore_errors=True)
    calibrate(folder, validation)
    return ExportResult(folder, best, fp32, int8)


def write_fp32(checkpoint: Path, taxonomy: Taxonomy, recipe: Recipe, folder: Path) -> None:
    """Write an fp32 model folder from a checkpoint, without calibration."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(checkpoint / TOKENIZER_FILE, folder)
    tagger = build_tagger(str(checkpoint), taxonomy).eval()
    window = recipe.window_for(tagger.config)
    tag_matrix, opinion_matrix = (
        tuple(tuple(round(value, 4) for value in row) for row in transitions(layer).tolist()) if layer else ()
        for layer in (tagger.tag_chain, getattr(tagger, "opinion_chain", None))
    )
    distance = getattr(tagger, "link_distance", None)
    bias = () if distance is None else tuple(round(value, 4) for value in distance.weight.squeeze(-1).tolist())
    ParserConfig(taxonomy, window, recipe.margin, Calibration(), "fp32", tag_matrix, opinion_matrix, bias).write(folder)
    _write_onnx(tagger, folder / MODEL_FILE)


def calibrate(folder: Path, reviews: Sequence[Review]) -> None:
    """Fit calibration, threshold and languages of a model folder on `reviews`, and write them into the folder."""
    config = replace(ParserConfig.read(folder), languages=languages_of([review.text for review in reviews]))
    calibration = _calibration(AspectParser(folder), reviews)
    replace(config, calibration=calibration).write(folder)
    half_f1 = evaluate(AspectParser(folder), reviews).f1 / 2
    threshold = round(min(max(half_f1, MIN_THRESHOLD), MAX_THRESHOLD), 3)
    replace(config, calibration=replace(calibration, threshold=threshold)).write(folder)


def _calibration(parser: AspectParser, reviews: Sequence[Review]) -> Calibration:
    """Fit temperature scaling of tags and polarities and Platt scaling of implicit aspects on `reviews`.

    The tag temperature maximises the likelihood of whole tag sequences, which uses more data than the spans alone.
    Parameters with too little data keep their defaults.
    """
    taxonomy = parser.taxonomy
    tag_logits: list[Floats] = [np.empty((0, len(taxonomy.tags)))]
    gold_tags: list[int] = []
    first = [0]
    polarity_logits: list[Floats] = []
    gold_polarities: list[int] = []
    implicit_logits: list[float] = []
    gold_implicit: list[int] = []
    remaining = iter(reviews)
    for prepared, logits in parser.encoded(review.text for review in reviews):
        chunk = [next(remaining) for _ in prepared.texts]
        gold = [{(a.span, a.entity_group): a.polarity for a in review.aspects} for review in chunk]
        tag_logits.append(logits.tags)
        for review, text in zip(chunk, prepared.tokenized, strict=True):
            gold_tags += word_labels(review, text, taxonomy)[0]
            offset = first[-1]
            first += [offset + word for word in line_starts(review.text, text.bounds)]
            first.append(len(gold_tags))
            gold_implicit += implicit_labels(review, taxonomy)
        implicit_logits += max_over_words(logits.implicit, prepared.first).ravel().tolist()
        spans = decode(parser.tags(prepared, logits), logits.polarities, prepared.first)
        columns = (spans.text.tolist(), spans.start.tolist(), spans.stop.tolist(), spans.category.tolist())
        for number, start, stop, category, span_logits in zip(*columns, spans.polarity_logits, strict=True):
            polarity = gold[number].get((prepared.bounds(number, start, stop), taxonomy.categories[category]))
            if polarity in taxonomy.polarities:
                polarity_logits.append(span_logits)
                gold_polarities.append(taxonomy.polarities.index(polarity))
    calibration = Calibration()
    if gold_tags:
        all_logits, tags, starts = np.concatenate(tag_logits), np.array(gold_tags), np.array(first)
        matrix = np.array(parser.config.transitions)

        def tag_likelihood(scale: float) -> float:
            return LinearChainCRF(matrix * scale).log_likelihood(all_logits * scale, tags, starts)

        calibration = replace(calibration, tag_scale=_fit_scale(tag_likelihood))
    if parameters := _fit_platt(implicit_logits, gold_implicit):
        calibration = replace(calibration, implicit_scale=parameters[0], implicit_bias=parameters[1])
    if len(gold_polarities) >= 20:
        stacked, rows = np.array(polarity_logits), np.arange(len(polarity_logits))

        def polarity_likelihood(scale: float) -> float:
            return float(np.log(softmax(stacked * scale)[rows, gold_polarities] + 1e-12).sum())

        calibration = replace(calibration, polarity_scale=_fit_scale(polarity_likelihood))
    return calibration


def _fit_scale(log_likelihood: Callable[[float], float]) -> float:
    """Return the factor of logits (inverse temperature) with the maximum likelihood (Guo et al., 2017)."""
    from scipy.optimize import minimize_scalar

    optimum = minimize_scalar(lambda log_scale: -log_likelihood(np.exp(log_scale)), bounds=(-3, 2), method="bounded")
    return float(np.exp(optimum.x))


def _fit_platt(logits: Sequence[float], labels: Sequence[int]) -> tuple[float, float] | None:
    """Return scale and bias of Platt scaling, or None if a class has fewer than five examples."""
    from sklearn.linear_model import LogisticRegression

    if min(sum(labels), len(labels) - sum(labels)) < 5:
        return None
    model = LogisticRegression(C=10.0).fit(np.array(logits)[:, None], labels)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _write_onnx(tagger: Any, path: Path) -> None:
    """Write the tagger as ONNX with the outputs `encoder.OUTPUTS` and the mean of the token features."""
    import torch

    class Outputs(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tagger = tagger
            tagger.classifier.register_forward_pre_hook(self._keep_features)

        def _keep_features(self, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            self._features = inputs[0]

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
            logits = tagger(input_ids=input_ids, attention_mask=attention_mask).values()
            mask = attention_mask.unsqueeze(-1).to(self._features.dtype)
            return *logits, (self._features * mask).sum(dim=1) / mask.sum(dim=1)

    ids = torch.ones((1, 8), dtype=torch.int64)
    names = list(tagger(ids, torch.ones_like(ids)))
    axes = {name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask", *names)}
    names, axes[EMBEDDING] = [*names, EMBEDDING], {0: "batch"}
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter warns about shapes that Python code fixes; tests compare its graph with torch.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Outputs(),
            (ids, torch.ones_like(ids)),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=names,
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
