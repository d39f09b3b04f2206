"""Compression: a student with fewer or narrower layers learns the hidden states and the logits of a teacher.

The student starts from layers of the teacher at equal distances and learns, token by token, the hidden states of these
layers and the logits of all heads, also on texts without labels and on altered texts (TinyBERT: Jiao et al., 2020).
To learn the labels afterwards made it worse on other kinds of text. Its word embeddings are the teacher's, rounded to
4 bits, and stay as they are: the student learns with the values that the int8 model stores (`quantize`).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reviews_parsing.errors import ModelError
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.tagging import WordTokenizer, windows
from reviews_parsing.training.backbone import build_tagger, equal_distances, has_same_heads, inherit, load_tokenizer
from reviews_parsing.training.features import collate, featurize
from reviews_parsing.training.fit import (
    FitResult,
    Progress,
    Recipe,
    configure_threads,
    fit,
    require_reviews,
    train_batches,
    validation_of,
)
from reviews_parsing.training.quantize import SMALL_TABLE_LEVELS, round_rows

# Weights of the losses: tags, polarities, opinions, implicit aspects, links; the one of the hidden states is 1.
LOSS_WEIGHTS = {"tag": 4.0, "polarity": 1.0, "opinion": 2.0, "implicit": 4.0, "link": 0.3}
# Shares of windows with replaced words, and of windows that are mixed from sentences of several texts.
REPLACED_SHARE, MIXED_SHARE = 0.3, 0.3
# Share of words that are replaced in a window, and sentences of a mixed one.
WORD_SHARES, MIXED_SENTENCES = (0.05, 0.1, 0.2), (1, 1, 2, 3, 4)
# Of the replacing words, the share of neighbours in the embedding space; others are drawn from the texts.
NEIGHBOUR_SHARE, NEIGHBOURS = 0.7, 15
# Maximum windows and tokens of a step: larger than for labels, since the targets are less noisy.
BATCH_SIZE, BATCH_TOKENS = 64, 1024
SENTENCE_ENDS = ".!?"

Words = list[tuple[int, ...]]


def compress(
    train: Sequence[Review],
    validation: Sequence[Review],
    texts: Sequence[str],
    taxonomy: Taxonomy,
    recipe: Recipe,
    folder: Path,
    *,
    teacher: Path | None = None,
    foundation: Path | None = None,
    resume: bool = False,
    progress: Progress = lambda share, metrics: None,
    say: Callable[[str], None] = lambda line: None,
) -> FitResult:
    """Train a student of `recipe.layers` layers of width `recipe.feed_forward` in `folder / "checkpoint"`.

    `teacher` is the checkpoint of a tagger with the same labels; without it, one is trained from `foundation`. The
    student learns from the texts of `train` and from `texts`. `progress` receives the share done of all stages.
    `resume` continues an interrupted call. Raises DataError or ModelError.
    """
    require_reviews(train, validation, taxonomy)
    # Before a teacher is trained for minutes: sizes that the backbone lacks are refused.
    _build_small(taxonomy, recipe)
    # Durations of the stages, relative to that of the student.
    stages = [0.0 if teacher else 0.3, 1.0]
    stage = 0

    def report(share: float, metrics: dict[str, float] | None = None) -> None:
        progress((sum(stages[:stage]) + stages[stage] * share) / sum(stages), metrics or {})

    if teacher is None:
        teacher = folder / "teacher" / "checkpoint"
        if not teacher.is_dir():
            say(f"teacher: {recipe.backbone}, seed {recipe.seed}")
            whole = replace(recipe, layers=None, feed_forward=None)
            options: dict[str, Any] = {"foundation": foundation, "resume": resume, "progress": report}
            fit(train, validation, taxonomy, whole, teacher.parent, **options)
    stage += 1
    all_texts = list(dict.fromkeys([*(review.text for review in train), *texts]))
    say(f"student: learning {recipe.student_texts:,} texts, drawn and altered from {len(all_texts):,}")
    return imitate(all_texts, validation, taxonomy, recipe, folder, teacher, resume=resume, progress=report)


def imitate(
    texts: Sequence[str],
    validation: Sequence[Review],
    taxonomy: Taxonomy,
    recipe: Recipe,
    folder: Path,
    teacher: Path,
    *,
    resume: bool = False,
    progress: Progress = lambda share, metrics: None,
) -> FitResult:
    """Train a student to return what the checkpoint `teacher` returns on `texts`, and write `folder / "checkpoint"`.

    `validation` is scored after each epoch. Raises ModelError if the teacher has another backbone or other labels.
    """
    configure_threads()
    import torch
    from transformers import set_seed

    set_seed(recipe.seed)
    tokenizer = load_tokenizer(recipe.backbone)
    guide = build_tagger(recipe.backbone, taxonomy)
    if not has_same_heads(guide, teacher):
        raise ModelError("the teacher has other categories or polarities than the data; train one with the same labels")
    inherit(guide, teacher)
    student = build_student(teacher, taxonomy, recipe)
    window = recipe.window_for(guide.config)
    word_tokenizer = WordTokenizer(tokenizer.backend_tokenizer)
    dataset = list(_split(texts, word_tokenizer, window))
    augmentation = Augmentation(dataset, guide.get_input_embeddings().weight.detach().numpy(), tokenizer, recipe.seed)
    features = featurize(validation, word_tokenizer, taxonomy, window, recipe.margin)
    # A teacher that only predicts needs no more than 16 bits.
    guide = guide.eval().to(torch.bfloat16)
    layers = equal_distances(guide.config.num_hidden_layers, student.config.num_hidden_layers)

    def batch(rows: Sequence[Any]) -> dict[str, Any]:
        """Return a batch of texts to imitate, or of labelled features to evaluate."""
        if isinstance(rows[0], dict):
            return collate(rows, tokenizer.pad_token_id or 0)
        augmented = [augmentation(words) for words in rows]
        return _collate(augmented, word_tokenizer.special_tokens, tokenizer.pad_token_id or 0)

    outcome = train_batches(
        student,
        replace(recipe, learning_rate=recipe.student_rate, batch_size=BATCH_SIZE, batch_tokens=BATCH_TOKENS),
        folder,
        dataset=dataset,
        lengths=[sum(map(len, words)) for words in dataset],
        collate=batch,
        loss=lambda model, inputs: _imitation_loss(model, guide, layers, inputs),
        epochs=max(1, round(recipe.student_texts / len(dataset))),
        resume=resume,
        progress=progress,
        evaluation=validation_of(student, features, taxonomy),
    )
    return outcome.write(folder / "checkpoint", tokenizer, len(texts))


def build_student(teacher: Path, taxonomy: Taxonomy, recipe: Recipe) -> Any:
    """Return a tagger with layers of the checkpoint `teacher`, narrowed, with embeddings in 4 bits, frozen."""
    import torch

    student = _build_small(taxonomy, recipe, teacher)
    student.base_model.embeddings.requires_grad_(False)
    table = student.get_input_embeddings().weight
    with torch.no_grad():
        levels, scale = round_rows(table.numpy(), SMALL_TABLE_LEVELS)
        table.copy_(torch.from_numpy(levels * scale))
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return student


def _build_small(taxonomy: Taxonomy, recipe: Recipe, teacher: Path | None = None) -> Any:
    """Return a tagger with the recipe's sizes, with the weights of the checkpoint `teacher` where one is given."""
    student = build_tagger(recipe.backbone, taxonomy, recipe.layers, **recipe.weights)
    if teacher:
        inherit(student, teacher)
    if recipe.feed_forward:
        narrow(student, recipe.feed_forward)
    return student


def narrow(tagger: Any, width: int) -> None:
    """Keep the `width` units with the largest weights in the feed-forward part of each layer.

    Raises ModelError if the backbone has no such parts, or narrower ones.
    """
    import torch

    layers = getattr(getattr(tagger.base_model, "encoder", None), "layer", ())
    if not all(hasattr(layer, "intermediate") for layer in layers) or not len(layers):
        raise ModelError("only backbones with the layers of BERT can be narrowed; give --student layers=N alone")
    for layer in layers:
        first, second = layer.intermediate.dense, layer.output.dense
        if width > first.out_features:
            raise ModelError(f"the feed-forward part has {first.out_features} units, not {width}; choose fewer")
        importance = first.weight.norm(dim=1) * second.weight.norm(dim=0)
        kept = importance.topk(width).indices.sort().values
        with torch.no_grad():
            first.weight, first.bias = (torch.nn.Parameter(p[kept].clone()) for p in (first.weight, first.bias))
            second.weight = torch.nn.Parameter(second.weight[:, kept].clone())
        first.out_features = second.in_features = width
    tagger.config.intermediate_size = width


def _split(texts: Sequence[str], tokenizer: WordTokenizer, window: int) -> Iterator[Words]:
    """Yield the words of each window of at most `window` tokens."""
    size = window - sum(map(len, tokenizer.special_tokens))
    for text in tokenizer.tokenize(texts):
        for piece in windows(text.first, size, margin=0) if text.ids else ():
            bounds = itertools.pairwise(text.first[piece.start : piece.stop + 1])
            yield [tuple(text.ids[start:stop]) for start, stop in bounds]


class Augmentation:
    """Altered windows: words replaced by neighbours in the embedding space or by others, and mixed sentences.

    The teacher labels what comes out, so it need not make sense. `windows` are lists of words, which are token ids;
    `embeddings` of shape [vocabulary, width] are the teacher's.
    """

    def __init__(self, windows: Sequence[Words], embeddings: Any, tokenizer: Any, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311
        ends = set(tokenizer.convert_tokens_to_ids(list(SENTENCE_ENDS)))
        self._sentences = [sentence for words in windows for sentence in _sentences(words, ends)]
        self._longest = max(sum(map(len, words)) for words in windows)
        self._words = [word for words in windows for word in words if len(word) == 1]
        names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        candidates = np.array([i for i, name in enumerate(names) if name.isalpha() and len(name) > 2])
        self._neighbours = _neighbours(embeddings, {word[0] for word in self._words}, candidates)

    def __call__(self, words: Words) -> Words:
        """Return `words`, or an altered or another window."""
        draw = self._rng.random()
        if draw < MIXED_SHARE:
            sentences = self._rng.choices(self._sentences, k=self._rng.choice(MIXED_SENTENCES))
            mixed = list(itertools.chain.from_iterable(sentences))
            ends = np.cumsum([len(word) for word in mixed])
            words = mixed[: max(1, int(np.searchsorted(ends, self._longest, side="right")))]
        return self._replace_words(words) if draw < MIXED_SHARE + REPLACED_SHARE else words

    def _replace_words(self, words: Words) -> Words:
        share = self._rng.choice(WORD_SHARES)
        return [self._replacement(word) if self._rng.random() < share else word for word in words]

    def _replacement(self, word: tuple[int, ...]) -> tuple[int, ...]:
        neighbours = self._neighbours.get(word[0]) if len(word) == 1 else None
        if neighbours is None:
            return word
        if self._rng.random() < NEIGHBOUR_SHARE:
            return (int(self._rng.choice(neighbours)),)
        return self._rng.choice(self._words)


def _sentences(words: Words, ends: set[int]) -> Iterator[Words]:
    """Yield the sentences of a window; `ends` are the tokens that end one."""
    sentence: Words = []
    for word in words:
        sentence.append(word)
        if word[-1] in ends:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _neighbours(embeddings: Any, tokens: set[int], candidates: Any) -> Mapping[int, list[int]]:
    """Return the nearest of the `candidates` by cosine, for each of the `tokens` that is one."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    known = np.array(sorted(tokens & set(candidates.tolist())), dtype=np.int64)
    if not len(known):
        return {}
    count = min(NEIGHBOURS + 1, len(candidates))
    neighbours = {}
    for block in np.array_split(known, max(1, len(known) // 1000)):
        nearest = np.argpartition(-unit[block] @ unit[candidates].T, count - 1, axis=1)[:, :count]
        for token, row in zip(block.tolist(), candidates[nearest].tolist(), strict=True):
            if others := [other for other in row if other != token]:
                neighbours[token] = others
    return neighbours


def _collate(rows: Sequence[Words], special_tokens: tuple[list[int], list[int]], padding: int) -> dict[str, Any]:
    """Return `input_ids`, `attention_mask` and `first_tokens` (of words) of shape [batch, tokens]."""
    import torch

    prefix, suffix = special_tokens
    ids = [[*prefix, *itertools.chain.from_iterable(words), *suffix] for words in rows]
    longest = max(map(len, ids))
    tensors = {
        "input_ids": torch.full((len(rows), longest), padding),
        "attention_mask": torch.zeros(len(rows), longest, dtype=torch.long),
        "first_tokens": torch.zeros(len(rows), longest, dtype=torch.bool),
    }
    for row, (tokens, words) in enumerate(zip(ids, rows, strict=True)):
        tensors["input_ids"][row, : len(tokens)] = torch.tensor(tokens)
        tensors["attention_mask"][row, : len(tokens)] = 1
        first = len(prefix) + np.cumsum([0, *map(len, words[:-1])])
        tensors["first_tokens"][row, first] = True
    return tensors


def _imitation_loss(student: Any, teacher: Any, layers: Sequence[int], batch: Mapping[str, Any]) -> Any:
    """Return the error of the student's hidden states and logits; `layers` are the teacher's that it imitates.

    The error of the hidden states is relative to their variance. Tags, polarities (where the teacher sees an aspect)
    and opinions count by Kullback-Leibler divergence, implicit aspects by cross entropy, links by squared error.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    device = batch["input_ids"].device
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        targets, target_states = _outputs(teacher.to(device), inputs)
    outputs, states = _outputs(student, inputs)
    tokens, first = batch["attention_mask"].bool(), batch["first_tokens"]
    loss = 0.0
    for number, layer in enumerate(layers):
        target = target_states[layer][tokens].float()
        loss = loss + mse_loss(states[number][tokens].float(), target) / target.var() / len(layers)
    pairs = {
        name.removesuffix("_logits"): (outputs[name][first].float(), targets[name][first].float()) for name in outputs
    }
    inside = 1 - pairs["tag"][1].softmax(dim=-1)[:, 0]
    for name, (logits, target) in pairs.items():
        if name == "link":
            error = mse_loss(logits, target) / target.var().clamp(min=1e-6)
        elif name == "implicit":
            error = binary_cross_entropy_with_logits(logits, target.sigmoid())
        else:
            divergence = (target.softmax(-1) * (target.log_softmax(-1) - logits.log_softmax(-1))).sum(dim=-1)
            weights = inside if name == "polarity" else torch.ones_like(inside)
            error = (divergence * weights).sum() / weights.sum().clamp(min=1)
        loss = loss + LOSS_WEIGHTS[name] * error
    return loss


def _outputs(tagger: Any, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return the logits of a tagger, and the hidden states after each layer."""
    outputs = tagger(**inputs, output_hidden_states=True)
    return outputs, outputs.pop("hidden_states")[1:]
