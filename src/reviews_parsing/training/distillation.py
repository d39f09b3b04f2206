"""Knowledge distillation: teachers label texts without labels, and a student learns their probabilities.

Teachers are ordinary models on the same or a larger backbone. Their probabilities are averaged by word (an ensemble);
words on which they are uncertain or disagree are ignored (self-training with filtering: Xie et al., 2020, Noisy
Student). The student learns the tag marginals, not only the best sequence (structure-level distillation: Wang et al.,
2020).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.tagging import covering
from reviews_parsing.training.backbone import average_weights
from reviews_parsing.training.export import calibrate, write_fp32
from reviews_parsing.training.features import SoftReview
from reviews_parsing.training.fit import NO_FOUNDATION, FitResult, Progress, Recipe, fit

# Minimum mean probability of the best tag of a certain word; minimum share of certain words in a text to learn from.
MIN_TAG_PROBABILITY, MIN_CERTAIN_SHARE = 0.6, 0.8
# Learning rate of teachers on another, larger backbone, relative to the recipe's.
LARGE_TEACHER_RATE = 0.4
# Epochs of a student that starts from a teacher, relative to the recipe's.
STUDENT_EPOCHS = 0.1


def distill(
    train: Sequence[Review],
    validation: Sequence[Review],
    texts: Sequence[str],
    taxonomy: Taxonomy,
    recipe: Recipe,
    folder: Path,
    *,
    foundation: Path | None = None,
    resume: bool = False,
    progress: Progress = lambda share, metrics: None,
    say: Callable[[str], None] = lambda line: None,
) -> FitResult:
    """Train `recipe.teachers` teachers and a student that learns `texts` from them, in `folder / "checkpoint"`.

    The teachers differ in their seeds. The student learns soft labels and labels together, then the labels alone at a
    lower rate. If it shares the backbone with its teachers, it starts from the first one, and its weights are averaged
    with that one's at the end, which helps on other kinds of text (Wortsman et al., 2022, arXiv:2109.01903). `progress`
    receives the share done of all stages, and the metrics of each epoch. `resume` continues an interrupted call.
    Raises DataError or ModelError.
    """
    # Approximate durations of the stages: teachers, soft labels, student, polishing.
    stages = [1.0] * recipe.teachers + [0.3, 2.0, 0.3]
    stage = 0

    def report(share: float, metrics: dict[str, float] | None = None) -> None:
        progress((sum(stages[:stage]) + stages[stage] * share) / sum(stages), metrics or {})

    fit_model = partial(fit, train, validation, taxonomy, resume=resume, progress=report)
    teachers = []
    teacher_backbone = recipe.teacher or recipe.backbone
    same_backbone = teacher_backbone == recipe.backbone
    for number in range(recipe.teachers):
        parser = folder / f"teacher-{number + 1}" / "parser"
        if not parser.is_dir():
            teacher_recipe = replace(recipe, backbone=teacher_backbone, seed=recipe.seed + number)
            first = foundation
            if not same_backbone:
                rate = recipe.learning_rate * LARGE_TEACHER_RATE
                teacher_recipe, first = replace(teacher_recipe, learning_rate=rate, foundation=NO_FOUNDATION), None
            say(f"teacher {number + 1} of {recipe.teachers}: {teacher_backbone}, seed {teacher_recipe.seed}")
            result = fit_model(teacher_recipe, parser.parent, foundation=first)
            draft = parser.with_name("draft")
            shutil.rmtree(draft, ignore_errors=True)
            write_fp32(result.checkpoint, taxonomy, teacher_recipe, draft)
            calibrate(draft, validation)
            draft.rename(parser)
        teachers.append(AspectParser(parser))
        stage += 1
    soft = predict_soft_labels(teachers, texts, report)
    certain = sum(int(review.certain.sum()) for review in soft)
    say(f"learning from {len(soft):,} of {len(texts):,} texts without labels, {certain:,} certain words")
    stage += 1
    student = folder / "student"
    if not (student / "checkpoint").is_dir():
        student_recipe = recipe
        if same_backbone:
            foundation = folder / "teacher-1" / "checkpoint"
            epochs = max(1, round(recipe.count_epochs(len(train)) * STUDENT_EPOCHS))
            student_recipe = replace(recipe, epochs=epochs)
        fit_model(student_recipe, student, foundation=foundation, soft=soft)
    stage += 1
    polish = replace(recipe, epochs=recipe.polish_epochs, learning_rate=recipe.learning_rate * recipe.polish_rate)
    result = fit_model(polish, folder, foundation=student / "checkpoint")
    if same_backbone:
        average_weights(folder / "teacher-1" / "checkpoint", result.checkpoint)
    return result


def predict_soft_labels(
    teachers: Sequence[AspectParser],
    texts: Sequence[str],
    progress: Callable[[float], None] = lambda share: None,
    min_probability: float = MIN_TAG_PROBABILITY,
) -> list[SoftReview]:
    """Return the mean probabilities of `teachers`, which share a taxonomy; texts with few certain words are omitted."""
    reviews: list[SoftReview] = []
    for number, predictions in enumerate(zip(*(_predict(teacher, texts) for teacher in teachers), strict=True)):
        progress((number + 1) / len(texts))
        first = predictions[0]
        if not first.bounds or any(prediction.bounds != first.bounds for prediction in predictions):
            continue
        tags, polarities, opinions, implicit = (
            np.mean([getattr(prediction, name) for prediction in predictions], axis=0).astype(np.float16)
            for name in ("tags", "polarities", "opinions", "implicit")
        )
        agree = np.all([p.tags.argmax(axis=1) == tags.argmax(axis=1) for p in predictions], axis=0)
        certain = (tags.max(axis=1) >= min_probability) & agree
        if certain.mean() < MIN_CERTAIN_SHARE:
            continue
        links = _agreed_links([prediction.links for prediction in predictions])
        reviews.append(SoftReview(first.text, first.bounds, tags, polarities, opinions, implicit, certain, links))
    return reviews


def _predict(teacher: AspectParser, texts: Sequence[str]) -> Iterator[SoftReview]:
    """Yield the probabilities of one teacher for each text."""
    for prepared, logits in teacher.encoded(texts):
        opinion_tags = logits.opinions  # [words, 0] if the labels have no opinions
        if teacher.taxonomy.opinions:
            opinion_tags = teacher.opinion_tags(prepared, logits).probabilities
        tags, polarities, opinions, implicit = (
            array.astype(np.float16)
            for array in (
                teacher.tags(prepared, logits).probabilities,
                teacher.polarity_scores(logits),
                opinion_tags,
                teacher.implicit_scores(prepared, logits),
            )
        )
        for number, parsed in enumerate(teacher.finish(prepared, logits)):
            words = slice(prepared.first[number], prepared.first[number + 1])
            arrays = (tags[words], polarities[words], opinions[words], implicit[number])
            bounds = prepared.tokenized[number].bounds
            links = {}
            for aspect in parsed.aspects:
                if aspect.span and (target := covering(bounds, *aspect.span)):
                    opinion = aspect.opinion and covering(bounds, aspect.opinion.start, aspect.opinion.end)
                    links[target[0]] = opinion[0] if opinion else None
            yield SoftReview(parsed.text, tuple(bounds), *arrays, np.ones(len(bounds), dtype=np.bool_), links)


def _agreed_links(links: Sequence[Mapping[int, int | None]]) -> dict[int, int | None]:
    """Return the links of aspects that are the same for all teachers with that aspect."""
    choices: dict[int, set[int | None]] = {}
    for teacher_links in links:
        for word, opinion in teacher_links.items():
            choices.setdefault(word, set()).add(opinion)
    return {word: opinions.pop() for word, opinions in choices.items() if len(opinions) == 1}


def select_new_texts(texts: Iterable[str], excluded_texts: Iterable[str]) -> list[str]:
    """Return the distinct non-blank `texts` that are not excluded (labelled or held out)."""
    excluded = set(excluded_texts)
    return [text for text in dict.fromkeys(texts) if text.strip() and text not in excluded]
