"""Changes to training that did not pay: `recipes.py DATA --trial NAME[=VALUE]` trains with one of them.

What pays is in the package; what does not is here, so that it can be tried again on other data. Each trial is a context
manager in which `fit` builds another tagger, learns by another loss or from other reviews.
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
from reviews_parsing.schema import Aspect, Opinion, Review, Taxonomy
from reviews_parsing.tagging import tags_to_spans
from reviews_parsing.training import features
from reviews_parsing.training import fit as fitting
from reviews_parsing.training.backbone import load_tokenizer
from reviews_parsing.training.export import write_fp32
from reviews_parsing.training.features import collate

Loss = Callable[[Tensor, Tensor], Tensor]
# A softened answer says more of what was nearly said (Hinton et al., 2015).
SOFT = 2.0
# Sentences that are labelled by a teacher are added up to so many for one that is learnt from.
UNLABELLED = 1.0


@contextmanager
def tagger(change: Callable[[Any], None]) -> Iterator[None]:
    """`fit` changes the tagger that it builds."""
    build = fitting.build_tagger

    def changed(*given: Any, **weights: float) -> Any:
        model = build(*given, **weights)
        change(model)
        return model

    with patch.object(fitting, "build_tagger", changed):
        yield


@contextmanager
def trainer(change: Callable[[type[Any]], type[Any]]) -> Iterator[None]:
    """`fit` learns with a subclass of its Trainer."""
    made = fitting._trainer_class
    with patch.object(fitting, "_trainer_class", lambda: change(made())):
        yield


@contextmanager
def reviews(change: Callable[[list[Review]], list[Review]]) -> Iterator[None]:
    """`fit` learns from other reviews."""
    featurize_them = fitting.with_noisy_versions
    with patch.object(
        fitting, "with_noisy_versions", lambda its, *reading: featurize_them(change(list(its)), *reading)
    ):
        yield


def tag_loss(change: Callable[[Loss], Loss]) -> AbstractContextManager[None]:
    """Another loss of tags, made of that of the chain; both take logits [batch, tokens, tags] and labels."""

    def changed(model: Any) -> None:
        model.tag_chain.forward = change(model.tag_chain.forward)

    return tagger(changed)


def labelled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of words alone: shapes [words, tags] and [words]."""
    return logits[labels >= 0], labels[labels >= 0]


def by_word(logits: Tensor, labels: Tensor, **how: Any) -> Tensor:
    return cross_entropy(*labelled(logits, labels), **how)


def words(_: float) -> AbstractContextManager[None]:
    return tag_loss(lambda chain: by_word)


def words_too(weight: float) -> AbstractContextManager[None]:
    return tag_loss(lambda chain: lambda logits, labels: chain(logits, labels) + weight * by_word(logits, labels))


def forbidden(_: float) -> AbstractContextManager[None]:
    return tagger(lambda model: model.tag_chain.requires_grad_(False))


def smoothed(share: float) -> AbstractContextManager[None]:
    return tag_loss(lambda chain: partial(by_word, label_smoothing=share))


def focal(gamma: float) -> AbstractContextManager[None]:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        each = by_word(logits, labels, reduction="none")
        return (each * (1 - torch.exp(-each)) ** gamma).mean()

    return tag_loss(lambda chain: loss)


def weighted(power: float) -> AbstractContextManager[None]:
    def changed(base: type[Any]) -> type[Any]:
        class Weighted(base):  # type: ignore[misc]
            def __init__(self, **arguments: Any) -> None:
                super().__init__(**arguments)
                tags = np.concatenate([feature["labels"] for feature in self.train_dataset])
                counts = torch.from_numpy(np.bincount(tags[tags >= 0], minlength=self.model.config.num_labels) + 1)
                weights = (counts.max() / counts).float() ** power
                self.model.tag_chain.forward = lambda logits, labels: by_word(logits, labels, weight=weights)

        return Weighted

    return trainer(changed)


def dropout(share: float) -> AbstractContextManager[None]:
    def changed(model: Any) -> None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = share

    return tagger(changed)


def learning(loss: Callable[[Any, Any, dict[str, Tensor]], Tensor]) -> AbstractContextManager[None]:
    """`loss(trainer, model, batch)` is what is learnt by."""

    def changed(base: type[Any]) -> type[Any]:
        class Learning(base):  # type: ignore[misc]
            def compute_loss(self, model: Any, inputs: dict[str, Tensor], *given: Any, **named: Any) -> Any:
                if not model.training:
                    return super().compute_loss(model, inputs, *given, **named)
                return loss(self, model, inputs)

        return Learning

    return trainer(changed)


def adversarial(length: float) -> AbstractContextManager[None]:
    def loss(_: Any, model: Any, batch: dict[str, Tensor]) -> Tensor:
        embeddings, seen = model.base_model.embeddings, []
        look = embeddings.register_forward_hook(lambda module, given, out: seen.append(out.requires_grad_()) or out)
        clean = model(**batch)["loss"]
        look.remove()
        (slope,) = torch.autograd.grad(clean, seen[0], retain_graph=True)
        worst = length * slope / slope.norm(dim=(1, 2), keepdim=True).clamp(min=1e-8)
        push = embeddings.register_forward_hook(lambda module, given, out: out + worst)
        pushed: Tensor = model(**batch)["loss"]
        push.remove()
        return clean + pushed

    return learning(loss)


def consistent(weight: float) -> AbstractContextManager[None]:
    def loss(_: Any, model: Any, batch: dict[str, Tensor]) -> Tensor:
        one, other = model(**batch), model(**batch)
        p, q = (labelled(out["tag_logits"].float().log_softmax(-1), batch["labels"])[0] for out in (one, other))
        apart = sum(kl_div(*pair, log_target=True, reduction="batchmean") for pair in ((p, q), (q, p)))
        its: Tensor = (one["loss"] + other["loss"]) / 2 + weight * apart / 2
        return its

    return learning(loss)


def span_polarity(weight: float) -> AbstractContextManager[None]:
    def loss(_: Any, model: Any, batch: dict[str, Tensor]) -> Tensor:
        out = model(**batch)
        means, wanted = [], []
        for logits, tags, labels in zip(out["polarity_logits"], batch["labels"], batch["polarity_labels"], strict=True):
            its, polarities = logits[tags >= 0].float(), labels[tags >= 0]
            for span in tags_to_spans(tags[tags >= 0].tolist()):
                if polarities[span.start] >= 0:
                    means.append(its[span.start : span.stop].mean(dim=0))
                    wanted.append(polarities[span.start])
        total: Tensor = out["loss"]
        return total + weight * cross_entropy(torch.stack(means), torch.stack(wanted)) if means else total

    return learning(loss)


def averaged(decay: float) -> AbstractContextManager[None]:
    def changed(base: type[Any]) -> type[Any]:
        class Averaged(base):  # type: ignore[misc]
            def training_step(self, model: Any, *given: Any, **named: Any) -> Tensor:
                if not hasattr(self, "mean"):
                    self.mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
                # The parameters that the last step left.
                self.mean.update_parameters(model)
                its: Tensor = super().training_step(model, *given, **named)
                return its

            def train(self, **given: Any) -> Any:
                outcome = super().train(**given)
                self.model.load_state_dict(self.mean.module.state_dict())
                return outcome

        return Averaged

    return trainer(changed)


def by_layer(factor: float) -> AbstractContextManager[None]:
    def changed(base: type[Any]) -> type[Any]:
        class ByLayer(base):  # type: ignore[misc]
            def create_optimizer(self, model: Any = None) -> Any:
                optimizer = super().create_optimizer(model)
                layers = self.model.base_model.encoder.layer
                above = {its: len(layers) - 1 - n for n, layer in enumerate(layers) for its in layer.parameters()}
                groups = list(optimizer.param_groups)
                optimizer.param_groups.clear()
                for group in groups:
                    for its in group["params"]:
                        rate = group["lr"] * factor ** above.get(its, 0)
                        optimizer.add_param_group({**group, "params": [its], "lr": rate})
                return optimizer

        return ByLayer

    return trainer(changed)


def cosine(_: float) -> AbstractContextManager[None]:
    def changed(base: type[Any]) -> type[Any]:
        class Cosine(base):  # type: ignore[misc]
            def __init__(self, args: Any, **arguments: Any) -> None:
                args.lr_scheduler_type = "cosine"
                super().__init__(args=args, **arguments)

        return Cosine

    return trainer(changed)


@contextmanager
def single(_: float) -> Iterator[None]:
    """The first category of each span is learnt and answered, as if it had no other."""
    taxonomy_of = Taxonomy.of

    def of(its: Iterable[Review]) -> Taxonomy:
        return replace(taxonomy_of(its), multi_label=False)

    with patch.object(features, "single_label_versions", lambda review: [review]), patch.object(Taxonomy, "of", of):
        yield


def joined(share: float) -> AbstractContextManager[None]:
    def changed(its: list[Review]) -> list[Review]:
        rng = np.random.default_rng(len(its))
        others = rng.integers(len(its), size=len(its))
        return [
            _join(review, its[other]) if draw < share else review
            for review, other, draw in zip(its, others, rng.random(len(its)), strict=True)
        ]

    return reviews(changed)


def _join(one: Review, other: Review) -> Review:
    by = len(one.text) + 1

    def moved(aspect: Aspect) -> Aspect:
        judged = aspect.opinion
        opinion = judged and Opinion(judged.word, judged.start + by, judged.end + by)
        start, end = (aspect.start + by, aspect.end + by) if aspect.span else (None, None)
        return replace(aspect, start=start, end=end, opinion=opinion)

    return Review(one.id, f"{one.text} {other.text}", one.aspects + tuple(map(moved, other.aspects)))


def corpus(_: float) -> AbstractContextManager[None]:
    """The shipped corpus beside the reviews, as far as it shares their categories."""
    ours = {"STAFF": "SERVICE", "VALUE": "PRICE", "VIEW": "LOCATION"}

    def changed(its: list[Review]) -> list[Review]:
        known = Taxonomy.of(its)
        beside = [review for split in data.read_splits("corpus").values() for review in split]
        return its + [
            replace(
                review,
                aspects=tuple(
                    replace(a, entity_group=group, opinion=a.opinion if known.opinions else None)
                    for a in review.aspects
                    if (group := ours.get(a.entity_group, a.entity_group)) in known.categories
                ),
            )
            for review in beside
        ]

    return reviews(changed)


@contextmanager
def taught(backbone: str) -> Iterator[None]:
    """A teacher over `backbone` learns first; its student learns the teacher's answers beside the labels."""
    fit = fitting.fit

    def changed(train: Any, validation: Any, taxonomy: Taxonomy, recipe: Any, folder: Path, **given: Any) -> Any:
        with tempfile.TemporaryDirectory() as room:
            theirs = replace(recipe, backbone=backbone, learning_rate=1.2e-4)
            # Its encoder has another shape than the foundation's.
            teacher = fit(train, validation, taxonomy, theirs, Path(room), **{**given, "foundation": None})
            model = fitting.build_tagger(str(teacher.checkpoint), taxonomy, **recipe.weights).eval()
            tokenizer = load_tokenizer(str(teacher.checkpoint))
        featurize_them = fitting.with_noisy_versions

        def with_answers(its: Sequence[Review], *reading: Any) -> list[dict[str, Any]]:
            ours = featurize_them(its, *reading)
            # The same noisy versions, as they are drawn by the seed.
            seen = featurize_them(its, tokenizer.backend_tokenizer, *reading[1:])
            for student, read in zip(ours, seen, strict=True):
                for its_own, its_teachers in zip([student, *student["noisy"]], [read, *read["noisy"]], strict=True):
                    its_own["answers"] = _answers(model, its_teachers, tokenizer.pad_token_id or 0)
            return ours

        with (
            patch.object(fitting, "with_noisy_versions", with_answers),
            patch.object(fitting, "collate", _collate_answers),
            learning(_student_loss),
        ):
            return fit(train, validation, taxonomy, recipe, folder, **given)

    with patch.object(fitting, "fit", changed):
        yield


def _answers(model: Any, feature: dict[str, Any], pad: int) -> dict[str, Tensor]:
    """Logits of tags and of polarities for each word."""
    with torch.no_grad():
        batch = collate([feature], pad)
        out = model(batch["input_ids"], batch["attention_mask"])
    wanted = batch["labels"][0] >= 0
    return {name: out[name][0][wanted] for name in ("tag_logits", "polarity_logits") if name in out}


def _collate_answers(features: Sequence[Any], pad: int) -> dict[str, Any]:
    batch = collate(features, pad)
    if all("answers" in feature for feature in features):
        for name in features[0]["answers"]:
            batch[f"taught_{name}"] = torch.cat([feature["answers"][name] for feature in features])
    return batch


def _student_loss(_: Any, model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The labels' loss, and how far each word's softened answers are from the teacher's."""
    taught = {name.removeprefix("taught_"): batch.pop(name) for name in list(batch) if name.startswith("taught_")}
    out = model(**batch)
    loss: Tensor = out["loss"]
    # Polarity matters where the teacher sees something.
    seen = 1 - taught["tag_logits"].softmax(-1)[:, :1]
    for name, theirs in taught.items():
        ours = labelled(out[name].float(), batch["labels"])[0]
        apart = kl_div((ours / SOFT).log_softmax(-1), (theirs / SOFT).softmax(-1), reduction="none").sum(-1)
        share = torch.ones_like(seen) if name == "tag_logits" else seen
        loss = loss + SOFT**2 * (apart * share[:, 0]).sum() / share.sum()
    return loss


@contextmanager
def self_taught(path: str) -> Iterator[None]:
    """A first model labels the texts in the file at `path`; a second learns from those too."""
    fit = fitting.fit

    def changed(train: Any, validation: Any, taxonomy: Taxonomy, recipe: Any, folder: Path, **given: Any) -> Any:
        found = data.read_splits(path)
        texts = [review.text for split in found.values() for review in split][: int(UNLABELLED * len(train))]
        with tempfile.TemporaryDirectory() as room:
            first = fit(train, validation, taxonomy, recipe, Path(room), **given)
            write_fp32(first.checkpoint, taxonomy, recipe, Path(room))
            answers = AspectParser(Path(room)).parse(texts)
        more = [Review(f"more-{n}", its.text, its.aspects) for n, its in enumerate(answers)]
        with reviews(lambda its: its + more):
            return fit(train, validation, taxonomy, recipe, folder, **given)

    with patch.object(fitting, "fit", changed):
        yield


# By name: what it is, the value that is taken if none is given, and how.
TRIALS: dict[str, tuple[str, float | str, Callable[[Any], AbstractContextManager[None]]]] = {
    "words": ("each word's tag by itself, in place of a chain", 0.0, words),
    "words-too": ("each word's tag by itself beside the chain, by weight", 0.5, words_too),
    "forbidden": ("a chain with no transitions but the forbidden ones", 0.0, forbidden),
    "smoothed": ("words, labels smoothed by a share", 0.1, smoothed),
    "focal": ("words, focal loss with gamma", 1.0, focal),
    "weighted": ("words, rare tags weigh more: inverse frequency to the power", 0.3, weighted),
    "span-polarity": ("polarity of spans beside that of words, by weight", 1.0, span_polarity),
    "adversarial": ("adversarial embeddings (FGM) of a length", 1.0, adversarial),
    "consistent": ("R-Drop, by weight", 1.0, consistent),
    "averaged": ("an exponential mean of the weights (EMA), by decay", 0.99, averaged),
    "by-layer": ("each layer learns slower than the one above, by a factor", 0.85, by_layer),
    "cosine": ("the rate falls as a cosine", 0.0, cosine),
    "dropout": ("dropout of a share", 0.2, dropout),
    "single": ("of a span with several categories the first alone", 0.0, single),
    "joined": ("a share of reviews joined with another", 0.25, joined),
    "corpus": ("the shipped corpus beside the reviews", 0.0, corpus),
    "taught": ("distilled from a teacher over that backbone", "minilm-l6", taught),
    "self-taught": ("self-training on the texts of that file", "corpus", self_taught),
}


def trial(wish: str) -> AbstractContextManager[None]:
    """Raises ValueError where there is no such trial."""
    name, _, value = wish.partition("=")
    if name not in TRIALS:
        raise ValueError(f"there is no trial '{name}': name one of {', '.join(TRIALS)}")
    _, usual, make = TRIALS[name]
    return make(type(usual)(value) if value else usual)
