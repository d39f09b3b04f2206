"""Fitting a tagger: transformers' Trainer, with resumption and early stopping where it is wished for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reviews_parsing import pretrained
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.tagging import LinearChainCRF, decode, tags_to_spans
from reviews_parsing.tagging.crf import Floats
from reviews_parsing.training.backbone import EMBEDDED, build_tagger, inherit, load_tokenizer
from reviews_parsing.training.batches import TokenBatches
from reviews_parsing.training.crf import transitions
from reviews_parsing.training.distillation import SoftReview, soft_features
from reviews_parsing.training.features import (
    IGNORE,
    TEXT_LABELS,
    WORD_LABELS,
    collate,
    draw_versions,
    featurize,
    with_noisy_versions,
)
from reviews_parsing.training.metrics import Entity, flatten, score
from reviews_parsing.training.threads import settle

NO_FOUNDATION = "none"
Progress = Callable[[float, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a tagger is trained; the defaults are the recipe of the shipped model.

    A step takes at most `batch_size` windows and about `batch_tokens` tokens. `learning_rate` is the encoder's; the
    heads, which begin from nothing, learn `head_factor` times faster. `window` and `margin` are in tokens, `warmup` is
    a share of all steps. The learning rate ends at zero, and the last epoch is kept: nothing is chosen on the
    validation split, so that probabilities calibrated there mean what they say elsewhere. With `patience`, training
    stops after so many epochs without a better validation F1 of span + category, and the best is kept.
    `freeze_embeddings` saves a quarter of the time. `noisy_share` is the share of reviews that a step sees in a noisy
    version. Training begins with the weights of `foundation`: `pretrained` (the shipped checkpoint), `none` (the
    backbone alone), a checkpoint folder or `runs:/ID`; by default `pretrained` for the embedded backbone and `none` for
    others. With texts without labels, `teachers` models of the backbone `teacher` (by default the same) are trained
    first, and the student learns their answers beside the labels, then `polish_epochs` of the labels alone at
    `polish_rate` times the learning rate (`training.distillation`).
    """

    backbone: str = EMBEDDED
    foundation: str | None = None
    epochs: int = 10
    teacher: str | None = None
    teachers: int = 2
    polish_epochs: int = 3
    polish_rate: float = 0.25
    learning_rate: float = 2e-4
    head_factor: float = 5.0
    batch_size: int = 16
    batch_tokens: int = 512
    weight_decay: float = 0.01
    warmup: float = 0.1
    patience: int | None = None
    polarity_weight: float = 1.0
    implicit_weight: float = 0.25
    opinion_weight: float = 0.2
    freeze_embeddings: bool = True
    noisy_share: float = 0.15
    window: int = 128
    margin: int = 12
    seed: int = 13

    @property
    def foundation_name(self) -> str:
        """What training begins with, the default settled."""
        return self.foundation or (pretrained.NAME if self.backbone == EMBEDDED else NO_FOUNDATION)

    @property
    def weights(self) -> dict[str, float]:
        """Of the losses beside that of tags."""
        return {"polarity": self.polarity_weight, "implicit": self.implicit_weight, "opinion": self.opinion_weight}

    def write(self, folder: Path) -> None:
        (folder / "recipe.json").write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained tagger: its checkpoint folder, the metrics of each epoch, and seconds and reviews a second."""

    checkpoint: Path
    history: list[dict[str, float]]
    seconds: float
    reviews_per_second: float


def fit(
    train: Sequence[Review],
    validation: Sequence[Review],
    taxonomy: Taxonomy,
    recipe: Recipe,
    folder: Path,
    *,
    foundation: Path | None = None,
    soft: Sequence[SoftReview] = (),
    resume: bool = False,
    progress: Progress = lambda share, metrics: None,
) -> Fitted:
    """Train on `train` and write the last epoch, or the best with `recipe.patience`, to `folder / "checkpoint"`.

    The tagger begins as that of the checkpoint `foundation`, as far as the two have things in common, and learns `soft`
    answers of teachers beside the labels. `progress` hears
    the share done in [0, 1] after each step, with the metrics where an epoch ended. With `resume`, a run that was
    killed goes on from its last epoch. Raises DataError where there is nothing to learn from.
    """
    settle()
    import torch
    from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments, set_seed

    if not train or not taxonomy.categories:
        raise DataError("the training data holds no labelled span; check it with `reviews-parsing data stats`")
    if not validation:
        raise DataError("the validation split is empty; give more data, or a folder with a validation file")
    states = folder / "states"
    if not resume:
        shutil.rmtree(states, ignore_errors=True)
    set_seed(recipe.seed)
    tokenizer = load_tokenizer(recipe.backbone)
    model = build_tagger(recipe.backbone, taxonomy, **recipe.weights)
    if foundation:
        inherit(model, foundation)
    if recipe.freeze_embeddings:
        model.base_model.embeddings.requires_grad_(False)
    limit = min(recipe.window, getattr(model.config, "max_position_embeddings", recipe.window))
    reading = (tokenizer.backend_tokenizer, taxonomy, limit, recipe.margin)
    padding = tokenizer.pad_token_id or 0
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    arguments = TrainingArguments(
        output_dir=str(states),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=4 * recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=recipe.patience is not None,
        metric_for_best_model="eval_aggregated_f1",
        seed=recipe.seed,
        use_cpu=not (cuda or mps),
        bf16=torch.cuda.is_bf16_supported() if cuda else bool(torch.cpu.get_capabilities().get("avx512_bf16")),
        dataloader_pin_memory=cuda,
        label_names=[*WORD_LABELS, *TEXT_LABELS],
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )

    class Report(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress(state.global_step / state.max_steps, {})

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
            progress(state.global_step / state.max_steps, {"epoch": state.epoch, **_history(state.log_history)[-1]})

    trainer = _trainer_class()(
        model=model,
        args=arguments,
        recipe=recipe,
        train_dataset=[*with_noisy_versions(train, *reading, recipe.seed), *soft_features(soft, *reading)],
        eval_dataset=featurize(validation, *reading),
        data_collator=lambda features: collate(draw_versions(features, recipe.noisy_share), padding),
        compute_metrics=lambda prediction: window_metrics(prediction, taxonomy, transitions(model.tag_chain)),
        callbacks=[Report(), *([EarlyStoppingCallback(recipe.patience)] if recipe.patience else [])],
    )
    # The caller's `progress` is the one voice; the Trainer's own would print each epoch's metrics as a dict.
    trainer.remove_callback(PrinterCallback)
    outcome = trainer.train(resume_from_checkpoint=_last_whole(states))
    checkpoint = folder / "checkpoint"
    shutil.rmtree(checkpoint, ignore_errors=True)
    trainer.model.save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    shutil.rmtree(states)
    seconds = outcome.metrics["train_runtime"]
    epochs = trainer.state.epoch or 0
    return Fitted(checkpoint, _history(trainer.state.log_history), seconds, len(train) * epochs / seconds)


def window_metrics(prediction: Any, taxonomy: Taxonomy, transitions: Floats) -> dict[str, float]:
    """Exact-match metrics over windows, from a Trainer's predictions; window and word numbers stand for offsets."""
    outputs = prediction.predictions
    tag_logits, *others = outputs if isinstance(outputs, tuple) else (outputs,)
    polarity_logits = others[0] if taxonomy.polarities else np.empty((*tag_logits.shape[:2], 0))
    labels, polarity_labels, *_ = prediction.label_ids
    chain = LinearChainCRF(transitions)
    gold, predicted = [], []
    for row in range(len(labels)):
        words = labels[row] != IGNORE
        for span in tags_to_spans(labels[row][words].tolist()):
            polarity = polarity_labels[row][words][span.start]
            name = taxonomy.polarities[polarity] if polarity >= 0 else None
            gold.append(Entity((row, span.start, span.stop), taxonomy.categories[span.category], name))
        first = np.array([0, words.sum()])
        found = decode(chain.marginals(tag_logits[row][words], first), polarity_logits[row][words], first)
        for i in range(len(found.start)):
            name = taxonomy.polarities[found.polarity_logits[i].argmax()] if taxonomy.polarities else None
            place = (row, int(found.start[i]), int(found.stop[i]))
            predicted.append(Entity(place, taxonomy.categories[found.category[i]], name))
    return flatten(score(gold, predicted))


def _last_whole(states: Path) -> str | None:
    """The newest checkpoint that was written to its end; one that a kill cut short is removed."""
    found = sorted(states.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    # The Trainer writes this file last.
    whole = [folder for folder in found if (folder / "trainer_state.json").is_file()]
    for folder in set(found) - set(whole):
        shutil.rmtree(folder)
    return str(whole[-1]) if whole else None


def _trainer_class() -> Any:
    import torch
    from transformers import Trainer

    class TaggerTrainer(Trainer):  # type: ignore[misc]
        def __init__(self, recipe: Recipe, **arguments: Any) -> None:
            self.recipe = recipe
            super().__init__(**arguments)

        def get_train_dataloader(self) -> Any:
            """Return batches by tokens; the Trainer's own are of so many rows, however long."""
            recipe = self.recipe
            lengths = [len(feature["input_ids"]) for feature in self.train_dataset]
            batches = TokenBatches(lengths, recipe.batch_size, recipe.batch_tokens, recipe.seed)

            class Loader(torch.utils.data.DataLoader):  # type: ignore[misc]
                def set_epoch(self, epoch: int) -> None:
                    batches.set_epoch(epoch)

            pinned = self.args.dataloader_pin_memory
            return Loader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator, pin_memory=pinned)

        def create_optimizer(self, model: Any = None) -> Any:
            """AdamW with faster heads, and no decay on biases and norms."""
            recipe = self.recipe
            groups: dict[tuple[bool, bool], list[Any]] = {}
            for name, parameter in self.model.named_parameters():
                if not parameter.requires_grad:
                    continue
                head, flat = not name.startswith(self.model.base_model_prefix), parameter.ndim < 2
                groups.setdefault((head, flat), []).append(parameter)
            self.optimizer = torch.optim.AdamW(
                [
                    {
                        "params": parameters,
                        "lr": recipe.learning_rate * (recipe.head_factor if head else 1),
                        "weight_decay": 0.0 if flat else recipe.weight_decay,
                    }
                    for (head, flat), parameters in groups.items()
                ],
                fused=True,
            )
            return self.optimizer

    return TaggerTrainer


def _history(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """The Trainer's log as one entry for each epoch, training loss and validation metrics together."""
    epochs: dict[float, dict[str, float]] = {}
    for entry in log:
        epochs.setdefault(entry["epoch"], {}).update(entry)
    return [entry for _, entry in sorted(epochs.items()) if "eval_loss" in entry]
