"""What a tagger knows before it sees data of its own: the shipped corpus.

People's labels are few, and other businesses with other categories are judged in much the same words: who has learnt
to read the one needs less of the other (intermediate-task training: Phang, Févry and Bowman, 2018).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from reviews_parsing import data
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.training.backbone import resolve_backbone
from reviews_parsing.training.fit import Progress, Recipe, fit


def foundation(
    splits: Mapping[str, Sequence[Review]],
    recipe: Recipe,
    kept: Path,
    folder: Path,
    *,
    resume: bool = False,
    progress: Progress = lambda share, metrics: None,
) -> Path:
    """The checkpoint of a tagger over the recipe's backbone that has learnt the shipped corpus.

    The folder `kept` keeps what was fitted before, by backbone, window and epochs; what it lacks is fitted in `folder`
    and goes there. No text that `splits` hold out is learnt. Raises ModelError where the backbone cannot be loaded.
    """
    corpus = data.read_splits("corpus")
    held_out = {review.text for name, its in splits.items() if name != "train" for review in its}
    train = [review for review in corpus["train"] if review.text not in held_out]
    lesson = Recipe(
        backbone=recipe.backbone, epochs=recipe.foundation_epochs, window=recipe.window, margin=recipe.margin
    )
    state = {**asdict(lesson), "backbone": _state(recipe.backbone), "corpus": data.digest({"train": train})}
    place = kept / hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
    if not place.is_dir():
        part = folder / "foundation"
        part.mkdir(parents=True, exist_ok=True)
        fit(train, corpus["validation"], Taxonomy.of(train), lesson, part, resume=resume, progress=progress)
        kept.mkdir(parents=True, exist_ok=True)
        try:
            part.rename(place)
        except OSError:
            if not place.is_dir():
                raise
            # Another training was faster.
            shutil.rmtree(part)
    return place / "checkpoint"


def _state(backbone: str) -> str | list[tuple[str, int, int]]:
    """What tells backbones apart: the files of a folder; a hub's name."""
    folder = Path(resolve_backbone(backbone))
    files = sorted(its for its in folder.glob("*") if its.is_file())
    return [(its.name, its.stat().st_size, its.stat().st_mtime_ns) for its in files] or backbone
