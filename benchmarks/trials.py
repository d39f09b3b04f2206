"""Changes of training that are not in the package, for `recipes.py DATA --trial NAME[=VALUE]`.

They did not improve F1 on the project's data, but may on other data (docs/research/recipe.md). Each trial is a context
manager that patches `fit` to use another tagger, another loss or other reviews.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from reviews_parsing import data
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Aspect, Review, Taxonomy
from reviews_parsing.tagging import WordTokenizer, tags_to_spans
from reviews_parsing.training import features
from reviews_parsing.training import fit as fit_module
from reviews_parsing.training.backbone import load_tokenizer
from reviews_parsing.training.export import write_fp32
from reviews_parsing.training.features import collate

# Any, because the trials replace what the module imports.
fitting: Any = fit_module

Loss = Callable[[Tensor, Tensor], Tensor]
Trial = Callable[[Any], AbstractContextManager[None]]
# Temperature of soft labels (Hinton et al., 2015).
TEMPERATURE = 2.0
# Maximum number of self-labelled texts per labelled review.
SELF_LABELLED_RATIO = 1.0


@contextmanager
def patch_tagger(change: Callable[[Any], None]) -> Iterator[None]:
    """Apply `change` to the tagger that `fit` builds."""
    build = fitting.build_tagger

    def build_changed(*args: Any, **weights: float) -> Any:
        model = build(*args, **weights)
        change(model)
        return model

    with patch.object(fitting, "build_tagger", build_changed):
        yield


def trainer_trial(subclass: Callable[[Any, type[Any]], type[Any]]) -> Trial:
    """Decorate a function of the trial's value and the Trainer that returns a subclass for `fit` to use."""

    @contextmanager
    def trial(value: Any) -> Iterator[None]:
        trainer_class = fitting._trainer_class
        with patch.object(fitting, "_trainer_class", lambda: subclass(value, trainer_class())):
            yield

    return trial


def loss_trial(loss: Callable[[Any, Any, dict[str, Tensor]], Tensor]) -> Trial:
    """Decorate a function of the trial's value, the model and a batch that returns the training loss."""

    @trainer_trial
    def trial(value: Any, base: type[Any]) -> type[Any]:
        class TrialTrainer(base):  # type: ignore[misc]
            def compute_loss(self, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
                if not model.training:
                    return super().compute_loss(model, inputs, *args, **kwargs)
                return loss(value, model, inputs)

        return TrialTrainer

    return trial


@contextmanager
def patch_reviews(change: Callable[[list[Review]], list[Review]]) -> Iterator[None]:
    """Let `fit` train on changed reviews."""
    featurize = fitting.with_noisy_versions
    with patch.object(fitting, "with_noisy_versions", lambda train, *args: featurize(change(list(train)), *args)):
        yield


def patch_tag_loss(change: Callable[[Loss], Loss]) -> AbstractContextManager[None]:
    """Replace the CRF loss of tags; losses take logits [batch, tokens, tags] and labels [batch, tokens]."""

    def change_loss(model: Any) -> None:
        model.tag_chain.forward = change(model.tag_chain.forward)

    return patch_tagger(change_loss)


def of_words(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits [words, tags] and labels [words] of labelled words."""
    return logits[labels >= 0], labels[labels >= 0]


def word_loss(logits: Tensor, labels: Tensor, line_starts: Tensor | None = None, **kwargs: Any) -> Tensor:
    """Return the cross entropy of independent words."""
    return cross_entropy(*of_words(logits, labels), **kwargs)


def words(_: float) -> AbstractContextManager[None]:
    return patch_tag_loss(lambda crf: word_loss)


def words_too(weight: float) -> AbstractContextManager[None]:
    return patch_tag_loss(
        lambda crf: lambda logits, labels, *starts: crf(logits, labels, *starts) + weight * word_loss(logits, labels)
    )


def forbidden(_: float) -> AbstractContextManager[None]:
    return patch_tagger(lambda model: model.tag_chain.requires_grad_(False))


def label_smoothing(share: float) -> AbstractContextManager[None]:
    return patch_tag_loss(lambda crf: partial(word_loss, label_smoothing=share))


def focal(gamma: float) -> AbstractContextManager[None]:
    def loss(logits: Tensor, labels: Tensor, *_: Tensor) -> Tensor:
        losses = word_loss(logits, labels, reduction="none")
        return (losses * (1 - torch.exp(-losses)) ** gamma).mean()

    return patch_tag_loss(lambda crf: loss)


@trainer_trial
def class_weights(power: float, base: type[Any]) -> type[Any]:
    class WeightedTrainer(base):  # type: ignore[misc]
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            tags = np.concatenate([feature["labels"] for feature in self.train_dataset])
            counts = torch.from_numpy(np.bincount(tags[tags >= 0], minlength=self.model.config.num_labels) + 1)
            weights = (counts.max() / counts).float() ** power
            self.model.tag_chain.forward = partial(word_loss, weight=weights)

    return WeightedTrainer


def dropout(share: float) -> AbstractContextManager[None]:
    def change(model: Any) -> None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = share

    return patch_tagger(change)


@loss_trial
def adversarial(length: float, model: Any, batch: dict[str, Tensor]) -> Tensor:
    outputs: list[Tensor] = []

    def track(module: Any, args: Any, output: Tensor) -> Tensor:
        outputs.append(output.requires_grad_())
        return output

    embeddings = model.base_model.embeddings
    hook = embeddings.register_forward_hook(track)
    clean = model(**batch)["loss"]
    hook.remove()
    (gradient,) = torch.autograd.grad(clean, outputs[0], retain_graph=True)
    perturbation = length * gradient / gradient.norm(dim=(1, 2), keepdim=True).clamp(min=1e-8)
    hook = embeddings.register_forward_hook(lambda module, args, out: out + perturbation)
    perturbed: Tensor = model(**batch)["loss"]
    hook.remove()
    return clean + perturbed


@loss_trial
def r_drop(weight: float, model: Any, batch: dict[str, Tensor]) -> Tensor:
    outputs = [model(**batch) for _ in range(2)]
    p, q = (of_words(out["tag_logits"].float().log_softmax(-1), batch["labels"])[0] for out in outputs)
    divergence = sum(kl_div(*pair, log_target=True, reduction="batchmean") for pair in ((p, q), (q, p)))
    total: Tensor = (outputs[0]["loss"] + outputs[1]["loss"]) / 2 + weight * divergence / 2
    return total


@loss_trial
def span_polarity(weight: float, model: Any, batch: dict[str, Tensor]) -> Tensor:
    out = model(**batch)
    means, gold = [], []
    for logits, tags, labels in zip(out["polarity_logits"], batch["labels"], batch["polarity_labels"], strict=True):
        word_logits, polarities = logits[tags >= 0].float(), labels[tags >= 0]
        for span in tags_to_spans(tags[tags >= 0].tolist()):
            if polarities[span.start] >= 0:
                means.append(word_logits[span.start : span.stop].mean(dim=0))
                gold.append(polarities[span.start])
    total: Tensor = out["loss"]
    return total + weight * cross_entropy(torch.stack(means), torch.stack(gold)) if means else total


@trainer_trial
def ema(decay: float, base: type[Any]) -> type[Any]:
    class AveragingTrainer(base):  # type: ignore[misc]
        def training_step(self, model: Any, *args: Any, **kwargs: Any) -> Tensor:
            if not hasattr(self, "mean"):
                self.mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
            # The parameters are those after the previous step.
            self.mean.update_parameters(model)
            loss: Tensor = super().training_step(model, *args, **kwargs)
            return loss

        def train(self, **kwargs: Any) -> Any:
            outcome = super().train(**kwargs)
            self.model.load_state_dict(self.mean.module.state_dict())
            return outcome

    return AveragingTrainer


@trainer_trial
def layer_rates(factor: float, base: type[Any]) -> type[Any]:
    class LayerRateTrainer(base):  # type: ignore[misc]
        def create_optimizer(self, model: Any = None) -> Any:
            optimizer = super().create_optimizer(model)
            layers = self.model.base_model.encoder.layer
            depths = {weight: i for i, layer in enumerate(reversed(layers)) for weight in layer.parameters()}
            groups = list(optimizer.param_groups)
            optimizer.param_groups.clear()
            for group in groups:
                for weight in group["params"]:
                    rate = group["lr"] * factor ** depths.get(weight, 0)
                    optimizer.add_param_group({**group, "params": [weight], "lr": rate})
            return optimizer

    return LayerRateTrainer


@trainer_trial
def cosine(_: float, base: type[Any]) -> type[Any]:
    class CosineTrainer(base):  # type: ignore[misc]
        def __init__(self, args: Any, **arguments: Any) -> None:
            args.lr_scheduler_type = "cosine"
            super().__init__(args=args, **arguments)

    return CosineTrainer


@contextmanager
def single_label(_: float) -> Iterator[None]:
    taxonomy_of = Taxonomy.of

    def single_label_taxonomy(reviews: Iterable[Review]) -> Taxonomy:
        return replace(taxonomy_of(reviews), multi_label=False)

    with (
        patch.object(features, "single_label_versions", lambda review: [review]),
        patch.object(Taxonomy, "of", single_label_taxonomy),
    ):
        yield


def join_reviews(share: float) -> AbstractContextManager[None]:
    def join_some(reviews: list[Review]) -> list[Review]:
        rng = np.random.default_rng(len(reviews))
        partners = rng.integers(len(reviews), size=len(reviews))
        return [
            _join(review, reviews[partner]) if draw < share else review
            for review, partner, draw in zip(reviews, partners, rng.random(len(reviews)), strict=True)
        ]

    return patch_reviews(join_some)


def _join(first: Review, second: Review) -> Review:
    offset = len(first.text) + 1

    def move(aspect: Aspect) -> Aspect:
        opinion = aspect.opinion and replace(
            aspect.opinion, start=aspect.opinion.start + offset, end=aspect.opinion.end + offset
        )
        start, end = (position + offset for position in aspect.span) if aspect.span else (None, None)
        return replace(aspect, start=start, end=end, opinion=opinion)

    return Review(first.id, f"{first.text} {second.text}", first.aspects + tuple(map(move, second.aspects)))


def add_corpus(_: float) -> AbstractContextManager[None]:
    mapping = {"STAFF": "SERVICE", "VALUE": "PRICE", "VIEW": "LOCATION"}

    def extend(reviews: list[Review]) -> list[Review]:
        taxonomy = Taxonomy.of(reviews)
        return reviews + [
            replace(
                review,
                aspects=tuple(
                    replace(a, entity_group=group, opinion=a.opinion if taxonomy.opinions else None)
                    for a in review.aspects
                    if (group := mapping.get(a.entity_group, a.entity_group)) in taxonomy.categories
                ),
            )
            for split in data.read_splits("corpus").values()
            for review in split
        ]

    return patch_reviews(extend)


@contextmanager
def distil_logits(backbone: str) -> Iterator[None]:
    fit = fitting.fit

    def fit_student(train: Any, validation: Any, taxonomy: Taxonomy, recipe: Any, folder: Path, **kwargs: Any) -> Any:
        with tempfile.TemporaryDirectory() as scratch:
            teacher_recipe = replace(recipe, backbone=backbone, learning_rate=1.2e-4)
            # The encoder of the teacher has another shape than that of the foundation.
            teacher_kwargs = {**kwargs, "foundation": None}
            teacher = fit(train, validation, taxonomy, teacher_recipe, Path(scratch), **teacher_kwargs)
            model = fitting.build_tagger(str(teacher.checkpoint), taxonomy, **recipe.weights).eval()
            tokenizer = load_tokenizer(str(teacher.checkpoint))
        featurize = fitting.with_noisy_versions

        def featurize_with_logits(reviews: Sequence[Review], *args: Any) -> list[dict[str, Any]]:
            student_features: list[dict[str, Any]] = featurize(reviews, *args)
            # The seed is the same, so the noisy versions are the same.
            teacher_features = featurize(reviews, WordTokenizer(tokenizer.backend_tokenizer), *args[1:])
            for student, read in zip(student_features, teacher_features, strict=True):
                pairs = zip([student, *student["noisy"]], [read, *read["noisy"]], strict=True)
                for student_feature, teacher_feature in pairs:
                    student_feature["teacher"] = _word_logits(model, teacher_feature, tokenizer.pad_token_id or 0)
            return student_features

        with (
            patch.object(fitting, "with_noisy_versions", featurize_with_logits),
            patch.object(fitting, "collate", _collate_with_logits),
            _student_loss(None),
        ):
            return fit(train, validation, taxonomy, recipe, folder, **kwargs)

    with patch.object(fitting, "fit", fit_student):
        yield


def _word_logits(model: Any, feature: dict[str, Any], pad: int) -> dict[str, Tensor]:
    """Return the tag and polarity logits of each word."""
    with torch.no_grad():
        batch = collate([feature], pad)
        out = model(batch["input_ids"], batch["attention_mask"])
    is_word = batch["labels"][0] >= 0
    return {name: out[name][0][is_word] for name in ("tag_logits", "polarity_logits") if name in out}


def _collate_with_logits(features: Sequence[Any], pad: int) -> dict[str, Any]:
    batch = collate(features, pad)
    if all("teacher" in feature for feature in features):
        for name in features[0]["teacher"]:
            batch[f"teacher_{name}"] = torch.cat([feature["teacher"][name] for feature in features])
    return batch


@loss_trial
def _student_loss(_: None, model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Return the loss of the labels plus the divergence from the teacher's softened probabilities."""
    teacher = {name.removeprefix("teacher_"): batch.pop(name) for name in list(batch) if name.startswith("teacher_")}
    out = model(**batch)
    loss: Tensor = out["loss"]
    # Polarities are weighted by the teacher's probability of a span.
    span_weights = 1 - teacher["tag_logits"].softmax(-1)[:, :1]
    for name, teacher_logits in teacher.items():
        student_logits = of_words(out[name].float(), batch["labels"])[0]
        log_probabilities = (student_logits / TEMPERATURE).log_softmax(-1)
        divergence = kl_div(log_probabilities, (teacher_logits / TEMPERATURE).softmax(-1), reduction="none").sum(-1)
        weights = torch.ones_like(span_weights) if name == "tag_logits" else span_weights
        loss = loss + TEMPERATURE**2 * (divergence * weights[:, 0]).sum() / weights.sum()
    return loss


@contextmanager
def self_training(path: str) -> Iterator[None]:
    fit = fitting.fit

    def fit_twice(train: Any, validation: Any, taxonomy: Taxonomy, recipe: Any, folder: Path, **kwargs: Any) -> Any:
        reviews = [review for split in data.read_splits(path).values() for review in split]
        texts = [review.text for review in reviews[: int(SELF_LABELLED_RATIO * len(train))]]
        with tempfile.TemporaryDirectory() as scratch:
            first = fit(train, validation, taxonomy, recipe, Path(scratch), **kwargs)
            write_fp32(first.checkpoint, taxonomy, recipe, Path(scratch))
            parsed = AspectParser(Path(scratch)).parse(texts)
        additions = [Review(f"more-{n}", review.text, review.aspects) for n, review in enumerate(parsed)]
        with patch_reviews(lambda reviews: reviews + additions):
            return fit(train, validation, taxonomy, recipe, folder, **kwargs)

    with patch.object(fitting, "fit", fit_twice):
        yield


# Description, default value, context manager.
TRIALS: dict[str, tuple[str, float | str, Trial]] = {
    "words": ("cross entropy of independent words instead of the CRF loss", 0.0, words),
    "words-too": ("cross entropy of words in addition to the CRF loss, by weight", 0.5, words_too),
    "forbidden": ("CRF without learned transitions, only the forbidden ones", 0.0, forbidden),
    "smoothed": ("words, with label smoothing by a share", 0.1, label_smoothing),
    "focal": ("words, with focal loss of a gamma", 1.0, focal),
    "weighted": ("words, with class weights: inverse frequency to a power", 0.3, class_weights),
    "span-polarity": ("polarity loss of spans in addition to that of words, by weight", 1.0, span_polarity),
    "adversarial": ("adversarial embeddings (FGM) of a length", 1.0, adversarial),
    "consistent": ("R-Drop, by weight", 1.0, r_drop),
    "averaged": ("exponential moving average of the weights (EMA), by decay", 0.99, ema),
    "by-layer": ("layer-wise decay of the learning rate, by a factor", 0.85, layer_rates),
    "cosine": ("cosine schedule of the learning rate", 0.0, cosine),
    "dropout": ("dropout of a share", 0.2, dropout),
    "single": ("only the first category of a span, in training and parsing", 0.0, single_label),
    "joined": ("a share of reviews joined with a random one", 0.25, join_reviews),
    "corpus": ("the shipped corpus, mapped to the categories of the data, as additional reviews", 0.0, add_corpus),
    "taught": ("distillation from a teacher on the given backbone", "minilm-l6", distil_logits),
    "self-taught": ("self-training on the texts of the given file", "corpus", self_training),
}


def trial(setting: str) -> AbstractContextManager[None]:
    """Return the context manager of NAME or NAME=VALUE. Raises ValueError if the trial does not exist."""
    name, _, value = setting.partition("=")
    if name not in TRIALS:
        raise ValueError(f"there is no trial '{name}': name one of {', '.join(TRIALS)}")
    _, default, create = TRIALS[name]
    return create(type(default)(value) if value else default)
