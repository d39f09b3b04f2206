"""`make pretrained`: train a pretrained model and store it in the package. Takes hours on two cores.

    python scripts/pretrained.py [--fast] [--unlabelled FILE ...] [--teacher FOLDER] [--seed N] [--run ID]

Trains on `corpus` from the embedded backbone, with teachers that label the corpus's unlabelled texts and those of
`--unlabelled` (in `build/pretrained/`; an interrupted run is resumed), and packs the run: the int8 model and its
profile, the checkpoint in fp16 without embeddings, `training.json`, the model card and checksums. `--run` packs a
finished run. `--fast` (`make pretrained-fast`) trains the smaller model, which imitates the pretrained one; it has no
checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build" / "pretrained"
LIMITS = {"model": 25e6, "checkpoint": 22e6, "fast": 12e6}
FAST_STUDENT = "layers=3,feed-forward=768"
NOTE = """
## Unlabelled text
Besides the labelled corpus it learnt from {count:,} texts without labels, which teachers labelled: {sources}.{student}
"""
AVERAGED = " The\nstudent started from its teacher; at the end the weights of both were averaged."
IMITATION = " The\nteacher is the pretrained model, whose hidden states and logits it learnt to imitate."


def main() -> None:
    """Train, or take a finished run, and pack the model."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    options.add_argument("--fast", action="store_true", help="the smaller, faster model")
    options.add_argument(
        "--unlabelled", nargs="*", default=[], metavar="FILE", help="more texts, with a licence for it"
    )
    options.add_argument("--sources", default="", help="what these are and their licence, for the model card")
    options.add_argument("--teacher", help="backbone folder of the teachers; default: the embedded backbone")
    options.add_argument("--teachers", type=int, default=1)
    options.add_argument("--seed", type=int, default=13)
    options.add_argument("--run", help="id of a finished run to pack")
    args = options.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    os.environ["REVIEWS_PARSING_HOME"] = str(BUILD / "home")
    if args.fast:
        recipe = ["--teacher", "pretrained", "--student", FAST_STUDENT]
    else:
        recipe = ["--foundation", "none", "--teachers", str(args.teachers)]
        recipe += ["--teacher", args.teacher] if args.teacher else []
    pack(args.run or train(args.unlabelled, [*recipe, "--seed", str(args.seed)]), args.sources, args.fast)


def train(unlabelled: list[str], options: list[str]) -> str:
    """Train with `reviews-parsing train` and return the id of the run."""
    from reviews_parsing.data.reading import UNLABELLED_FILE

    files = [argument for file in [str(UNLABELLED_FILE), *unlabelled] for argument in ("--unlabelled", file)]
    command = [sys.executable, "-m", "reviews_parsing.cli", "train", "corpus", *options, *files, "--resume", "--json"]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return str(json.loads(process.stdout)["run_id"])


def pack(run: str, sources: str, fast: bool) -> None:
    """Copy the model of a run, and the checkpoint unless it is the `fast` one, into the package."""
    from reviews_parsing import pretrained, registry
    from reviews_parsing.model_folder import TRAINING_FILE
    from reviews_parsing.registry.runs import fetch_file
    from reviews_parsing.training.backbone import write_compact

    folder, _ = registry.locate(f"runs:/{run}")
    with registry.tracking() as client:
        parameters = dict(client.get_run(run).data.params)
        metrics = {k: round(v, 4) for k, v in client.get_run(run).data.metrics.items() if k.startswith("test_")}
    model = pretrained.FOLDER / ("fast" if fast else "model")
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(folder, model)
    if not fast:
        checkpoint = pretrained.FOLDER / "checkpoint"
        shutil.rmtree(checkpoint, ignore_errors=True)
        write_compact(fetch_file(run, "checkpoint", BUILD), checkpoint)
    teacher = parameters.get("teacher", "None")
    facts = {
        "recipe": {k: v for k, v in parameters.items() if not k.startswith("data_")} | {"teacher": Path(teacher).name},
        "data": {k.removeprefix("data_"): v for k, v in parameters.items() if k.startswith("data_")},
        "test": metrics,
    }
    (model / TRAINING_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    card = model / "README.md"
    count = int(parameters.get("unlabelled_texts", 0))
    project_license = "written for this project, like the corpus (Apache-2.0)"
    note = ""
    if count:
        all_sources = "; ".join(filter(None, (project_license, sources)))
        student = IMITATION if fast else AVERAGED if teacher == "None" else ""
        note = NOTE.format(count=count, sources=all_sources, student=student)
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace("\n## Training\n", f"{note}\n## Training\n"), encoding="utf-8")
    pretrained.write_checksums()
    for name, limit in LIMITS.items():
        size = sum(file.stat().st_size for file in (pretrained.FOLDER / name).glob("*"))
        print(f"{name}: {size / 1e6:.1f} MB")
        if size > limit:
            sys.exit(f"error: {name} is larger than {limit / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
