"""Fitting of a tagger with the Trainer of transformers: token-based batches, resumption, optional early stopping."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from reviews_parsing import pretrained
from reviews_parsing.cores import usable_cores
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.tagging import LinearChainCRF, WordTokenizer, decode, tags_to_spans
from reviews_parsing.tagging.crf import Floats
from reviews_parsing.training.backbone import EMBEDDED, build_tagger, inherit, load_tokenizer
from reviews_parsing.training.crf import transitions
from reviews_parsing.training.features import (
    IGNORE,
    TEXT_LABELS,
    WORD_LABELS,
    SoftReview,
    collate,
    draw_versions,
    featurize,
    soft_features,
    with_noisy_versions,
)
from reviews_parsing.training.metrics import Entity, flatten, score

NO_FOUNDATION = "none"
EVALUATION_WINDOWS = 64
# Maximum relative change of lengths, so that each epoch has different batches.
LENGTH_NOISE = 0.2
# Epochs of a training; on a foundation, as many as show the model about so many reviews, and no fewer than a minimum.
DEFAULT_EPOCHS, MIN_EPOCHS, REVIEWS_ON_A_FOUNDATION = 10, 3, 15_000
# Spins of a thread of libgomp before it sleeps; the default is minutes, in which it takes a core from other programs.
SPIN_COUNT = "2000"
Progress = Callable[[float, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Parameters of a training; the defaults are the recipe of the pretrained model.

    Backbone and foundation: training starts from the weights of `foundation`: `pretrained` (the shipped checkpoint),
    `none` (the backbone alone), a checkpoint folder or `runs:/ID`; by default `pretrained` for the embedded backbone,
    `none` for others.

    Optimization: a step has at most `batch_size` windows and about `batch_tokens` tokens. `learning_rate` is that of
    the encoder; heads learn `head_factor` times faster. The rate rises over the share `warmup` of all steps and falls
    to zero. `epochs` is by default `DEFAULT_EPOCHS`, fewer on a foundation if there are many reviews. The last epoch is
    used, so that the validation split stays unbiased for calibration; with `patience`,
    training stops after that number of epochs without a better validation F1 (span + category), and the best epoch is
    used. `freeze_embeddings` saves a quarter of the time.

    Data: `window` and `margin` are in tokens; `noisy_share` is the share of reviews in a noisy version at each step.

    Distillation (`training.distillation`), if there are texts without labels: `teachers` models of the backbone
    `teacher` (by default the same) label the texts; the student learns soft labels and labels, then the labels alone
    for `polish_epochs` at `polish_rate` times the learning rate.

    Compression (`training.compression`), if the student has fewer `layers` than the backbone, or feed-forward parts of
    `feed_forward` units instead of the backbone's: the student learns to imitate the `teacher` (a finished model, by
    default one that is trained first) on `student_texts` texts at the learning rate `student_rate`.
    """

    backbone: str = EMBEDDED
    foundation: str | None = None
    epochs: int | None = None
    teacher: str | None = None
    teachers: int = 2
    layers: int | None = None
    feed_forward: int | None = None
    student_texts: int = 150_000
    student_rate: float = 6e-4
    polish_epochs: int = 2
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
    window: int = 256
    margin: int = 12
    seed: int = 13

    @property
    def is_compressed(self) -> bool:
        """True if the model is smaller than its backbone."""
        return self.layers is not None or self.feed_forward is not None

    @property
    def foundation_name(self) -> str:
        """The foundation, with the default resolved."""
        return self.foundation or (pretrained.NAME if self.backbone == EMBEDDED else NO_FOUNDATION)

    def count_epochs(self, review_count: int) -> int:
        """Return the number of epochs for a training split of `review_count` reviews."""
        if self.epochs is not None:
            return self.epochs
        if self.foundation_name == NO_FOUNDATION:
            return DEFAULT_EPOCHS
        return min(DEFAULT_EPOCHS, max(MIN_EPOCHS, round(REVIEWS_ON_A_FOUNDATION / review_count)))

    def window_for(self, config: Any) -> int:
        """Return the window in tokens, at most what a backbone with `config` can read."""
        return min(self.window, getattr(config, "max_position_embeddings", self.window))

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the losses relative to the tag loss."""
        return {"polarity": self.polarity_weight, "implicit": self.implicit_weight, "opinion": self.opinion_weight}


@dataclass(frozen=True, slots=True)
class FitResult:
    """Checkpoint folder of a trained tagger, metrics of each epoch, seconds and reviews per second."""

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
) -> FitResult:
    """Train a tagger on `train` and `soft` and write it to `folder / "checkpoint"`.

    Training starts from the checkpoint `foundation` (see `backbone.inherit`). `progress` receives the share done in
    [0, 1] after each step, and the metrics after each epoch. `resume` continues an interrupted call from its last
    epoch. Raises DataError if there are no labelled spans or no validation reviews.
    """
    configure_threads()
    from transformers import set_seed

    require_reviews(train, validation, taxonomy)
    set_seed(recipe.seed)
    tokenizer = load_tokenizer(recipe.backbone)
    model = build_tagger(recipe.backbone, taxonomy, None, **recipe.weights)
    if foundation:
        inherit(model, foundation)
    if recipe.freeze_embeddings:
        model.base_model.embeddings.requires_grad_(False)
    options = (WordTokenizer(tokenizer.backend_tokenizer), taxonomy, recipe.window_for(model.config), recipe.margin)
    padding = tokenizer.pad_token_id or 0
    dataset = [*with_noisy_versions(train, *options, recipe.seed), *soft_features(soft, *options)]
    outcome = train_batches(
        model,
        recipe,
        folder,
        dataset=dataset,
        lengths=[len(feature["input_ids"]) for feature in dataset],
        collate=lambda features: collate(draw_versions(features, recipe.noisy_share), padding),
        epochs=recipe.count_epochs(len(train)),
        resume=resume,
        progress=progress,
        evaluation=validation_of(model, featurize(validation, *options), taxonomy),
    )
    return outcome.write(folder / "checkpoint", tokenizer, len(train))


def require_reviews(train: Sequence[Review], validation: Sequence[Review], taxonomy: Taxonomy) -> None:
    """Raise DataError if there are no labelled spans or no validation reviews."""
    if not train or not taxonomy.categories:
        raise DataError("the training data has no labelled span; check it with `reviews-parsing data stats`")
    if not validation:
        raise DataError("the validation split is empty; give more data, or a folder with a validation file")


def validation_of(model: Any, features: Sequence[Mapping[str, Any]], taxonomy: Taxonomy) -> dict[str, Any]:
    """Return the arguments of the Trainer that evaluate `model` on labelled features after each epoch."""
    return {
        "eval_dataset": features,
        "compute_metrics": lambda prediction: window_metrics(prediction, taxonomy, transitions(model.tag_chain)),
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """Trained model, metrics of each epoch, seconds, and number of epochs."""

    model: Any
    history: list[dict[str, float]]
    seconds: float
    epochs: float

    def write(self, checkpoint: Path, tokenizer: Any, count: int) -> FitResult:
        """Write the checkpoint; an epoch had `count` reviews."""
        shutil.rmtree(checkpoint, ignore_errors=True)
        self.model.save_pretrained(checkpoint)
        tokenizer.save_pretrained(checkpoint)
        return FitResult(checkpoint, self.history, self.seconds, count * self.epochs / self.seconds)


def train_batches(
    model: Any,
    recipe: Recipe,
    folder: Path,
    *,
    dataset: Sequence[Any],
    lengths: Sequence[int],
    collate: Callable[[Sequence[Any]], dict[str, Any]],
    epochs: int,
    resume: bool,
    progress: Progress,
    evaluation: Mapping[str, Any],
    loss: Callable[[Any, dict[str, Any]], Any] | None = None,
) -> Outcome:
    """Train `model` on batches of `dataset` with the Trainer, whose states are in `folder / "states"` until the end.

    `lengths` are in tokens. `evaluation` is that of `validation_of`. `loss` of model and batch replaces the model's own
    on batches without labels. `resume` continues an interrupted call from its last epoch.
    """
    import torch
    from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments

    states = folder / "states"
    if not resume:
        shutil.rmtree(states, ignore_errors=True)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    arguments = TrainingArguments(
        output_dir=str(states),
        num_train_epochs=epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=EVALUATION_WINDOWS,
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

    class ProgressCallback(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress(state.global_step / state.max_steps, {})

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
            counts = {"epoch": state.epoch, "epochs": state.num_train_epochs}
            progress(state.global_step / state.max_steps, {**counts, **_history(state.log_history)[-1]})

    trainer = _trainer_class()(
        model=model,
        args=arguments,
        recipe=recipe,
        lengths=lengths,
        loss=loss,
        train_dataset=dataset,
        data_collator=collate,
        callbacks=[ProgressCallback(), *([EarlyStoppingCallback(recipe.patience)] if recipe.patience else [])],
        **evaluation,
    )
    # It prints the metrics of each epoch as a dict, which `progress` already reports.
    trainer.remove_callback(PrinterCallback)
    outcome = trainer.train(resume_from_checkpoint=_last_complete_state(states))
    shutil.rmtree(states)
    history = _history(trainer.state.log_history)
    return Outcome(trainer.model, history, outcome.metrics["train_runtime"], trainer.state.epoch or 0)


def configure_threads() -> None:
    """Let torch use all usable cores with threads that sleep when idle; OMP_* and GOMP_* variables take precedence.

    Must be called before torch is imported, since OpenMP reads its variables at load. On two cores of which another
    program used one, steps of 16 windows took 3.3 times as long as on free cores with OpenMP's default, and 1.6 times
    with a short spin; on free cores both are equal (`benchmarks/threads.py`).
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cores())


def window_metrics(prediction: Any, taxonomy: Taxonomy, transitions: Floats) -> dict[str, float]:
    """Return exact-match metrics of a Trainer's predictions, with window and word numbers as offsets."""
    outputs = prediction.predictions
    tag_logits, *head_logits = outputs if isinstance(outputs, tuple) else (outputs,)
    polarity_logits = head_logits[0] if taxonomy.polarities else np.empty((*tag_logits.shape[:2], 0))
    labels, polarity_labels, *_ = prediction.label_ids
    crf = LinearChainCRF(transitions)
    gold, predicted = [], []
    for row in range(len(labels)):
        words = labels[row] != IGNORE
        for span in tags_to_spans(labels[row][words].tolist()):
            polarity = polarity_labels[row][words][span.start]
            name = taxonomy.polarities[polarity] if polarity >= 0 else None
            gold.append(Entity((row, span.start, span.stop), taxonomy.categories[span.category], name))
        first = np.array([0, words.sum()])
        spans = decode(crf.marginals(tag_logits[row][words], first), polarity_logits[row][words], first)
        for i in range(len(spans.start)):
            name = taxonomy.polarities[spans.polarity_logits[i].argmax()] if taxonomy.polarities else None
            location = (row, int(spans.start[i]), int(spans.stop[i]))
            predicted.append(Entity(location, taxonomy.categories[spans.category[i]], name))
    return flatten(score(gold, predicted))


def _last_complete_state(states: Path) -> str | None:
    """Return the newest complete checkpoint of the Trainer, if any, and delete incomplete ones."""
    folders = sorted(states.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    # The Trainer writes this file last.
    complete = [folder for folder in folders if (folder / "trainer_state.json").is_file()]
    for folder in set(folders) - set(complete):
        shutil.rmtree(folder)
    return str(complete[-1]) if complete else None


def _history(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return the Trainer's log with one entry per epoch: training loss and validation metrics."""
    epochs: dict[float, dict[str, float]] = {}
    for entry in log:
        epochs.setdefault(entry["epoch"], {}).update(entry)
    return [entry for _, entry in sorted(epochs.items()) if "eval_loss" in entry]


class TokenBatches:
    """Batch sampler of indices of windows with similar lengths.

    A batch has at most `rows` windows, and about `tokens` tokens at most, padding included; `lengths` are in tokens.
    Each epoch (`set_epoch`) has different batches, but the same number of them. The order is a function of seed and
    epoch.
    """

    def __init__(self, lengths: Sequence[int], rows: int, tokens: int, seed: int) -> None:
        self._lengths, self._seed, self._epoch = lengths, seed, 0
        self._sizes: list[int] = []
        remaining = sorted(lengths, reverse=True)
        while remaining:
            size = max(1, min(rows, tokens // max(1, remaining[0])))
            self._sizes.append(len(remaining[:size]))
            remaining = remaining[size:]

    def __len__(self) -> int:
        return len(self._sizes)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which seeds the order of the batches."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        rng = random.Random(f"{self._seed}/{self._epoch}")  # noqa: S311
        noisy_lengths = [length * rng.uniform(1 - LENGTH_NOISE, 1 + LENGTH_NOISE) for length in self._lengths]
        order = iter(sorted(range(len(noisy_lengths)), key=lambda i: -noisy_lengths[i]))
        batches = [list(islice(order, size)) for size in self._sizes]
        rng.shuffle(batches)
        yield from batches


def _trainer_class() -> Any:
    import torch
    from transformers import Trainer

    class TaggerTrainer(Trainer):  # type: ignore[misc]
        def __init__(self, recipe: Recipe, lengths: Sequence[int], loss: Any, **arguments: Any) -> None:
            self.recipe, self.lengths, self.loss = recipe, lengths, loss
            super().__init__(**arguments)

        def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **options: Any) -> Any:
            """Return the model's loss, or that of `loss` for batches without labels."""
            if self.loss is None or "labels" in inputs:
                return super().compute_loss(model, inputs, return_outputs, **options)
            return self.loss(model, inputs)

        def get_train_dataloader(self) -> Any:
            """Return a loader of TokenBatches."""
            recipe = self.recipe
            batches = TokenBatches(self.lengths, recipe.batch_size, recipe.batch_tokens, recipe.seed)

            class Loader(torch.utils.data.DataLoader):  # type: ignore[misc]
                def set_epoch(self, epoch: int) -> None:
                    batches.set_epoch(epoch)

            pinned = self.args.dataloader_pin_memory
            return Loader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator, pin_memory=pinned)

        def create_optimizer(self, model: Any = None) -> Any:
            """Return AdamW with a higher learning rate for heads, and no weight decay on biases and norms."""
            recipe = self.recipe
            groups: dict[tuple[bool, bool], list[Any]] = {}
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    is_head = not name.startswith(self.model.base_model_prefix)
                    groups.setdefault((is_head, parameter.ndim < 2), []).append(parameter)
            self.optimizer = torch.optim.AdamW(
                [
                    {
                        "params": parameters,
                        "lr": recipe.learning_rate * (recipe.head_factor if is_head else 1),
                        "weight_decay": 0.0 if is_vector else recipe.weight_decay,
                    }
                    for (is_head, is_vector), parameters in groups.items()
                ],
                fused=True,
            )
            return self.optimizer

    return TaggerTrainer
