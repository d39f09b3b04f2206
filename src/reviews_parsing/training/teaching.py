"""Training with teachers: fit them, let them answer texts without labels, fit a student on answers and labels."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.training.distillation import answer
from reviews_parsing.training.export import calibrate, write_fp32
from reviews_parsing.training.fit import NO_FOUNDATION, Fitted, Progress, Recipe, fit


def learn_from_teachers(
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
) -> Fitted:
    """Train `recipe.teachers` teachers, then a student that learns `texts` from them, in `folder / "checkpoint"`.

    The teachers differ by their seeds. The student first learns the teachers' answers and the labels together, then the
    labels alone at a lower rate. `progress` is told the share done of everything, and the metrics of each epoch. With
    `resume`, what was finished by a run that was killed is kept. Raises DataError or ModelError.
    """
    # Teachers, answers, student, polish: rough shares of the time, for the progress alone.
    parts = [1.0] * recipe.teachers + [0.3, 2.0, 0.3]
    done = 0

    def part(share: float, metrics: dict[str, float] | None = None) -> None:
        progress((sum(parts[:done]) + parts[done] * share) / sum(parts), metrics or {})

    teachers = []
    for number in range(recipe.teachers):
        parser = folder / f"teacher-{number + 1}" / "parser"
        if not parser.is_dir():
            backbone = recipe.teacher or recipe.backbone
            same = backbone == recipe.backbone
            lesson = replace(
                recipe,
                backbone=backbone,
                seed=recipe.seed + number,
                learning_rate=recipe.learning_rate if same else recipe.learning_rate * LARGER_RATE,
                foundation=recipe.foundation if same else NO_FOUNDATION,
            )
            say(f"teacher {number + 1} of {recipe.teachers}: {backbone}, seed {lesson.seed}")
            first = foundation if same else None
            fitted = fit(
                train, validation, taxonomy, lesson, parser.parent, foundation=first, resume=resume, progress=part
            )
            draft = parser.with_name("draft")
            shutil.rmtree(draft, ignore_errors=True)
            write_fp32(fitted.checkpoint, taxonomy, lesson, draft)
            calibrate(draft, validation)
            draft.rename(parser)
        teachers.append(AspectParser(parser))
        done += 1
    soft = answer(teachers, texts, part)
    certain = sum(int(review.certain.sum()) for review in soft)
    say(f"learning from {len(soft):,} of {len(texts):,} texts without labels, {certain:,} certain words")
    done += 1
    student = folder / "student"
    if not (student / "checkpoint").is_dir():
        fit(
            train,
            validation,
            taxonomy,
            recipe,
            student,
            foundation=foundation,
            soft=soft,
            resume=resume,
            progress=part,
        )
    done += 1
    last = replace(recipe, epochs=recipe.polish_epochs, learning_rate=recipe.learning_rate * recipe.polish_rate)
    return fit(
        train, validation, taxonomy, last, folder, foundation=student / "checkpoint", resume=resume, progress=part
    )


LARGER_RATE = 0.4
"""Of the recipe's learning rate, for a teacher of another, larger backbone."""
