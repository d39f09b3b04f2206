"""`make pretrained`: train the pretrained model and store it in the package. Takes hours on two cores.

    python scripts/pretrained.py [--unlabelled FILE ...] [--teacher FOLDER] [--seed N] [--run ID]

Trains on `corpus` from the embedded backbone, with teachers that label the corpus's unlabelled texts and those of
`--unlabelled` (in `build/pretrained/`; an interrupted run is resumed), and packs the run: the int8 model and its
profile, the checkpoint in fp16 without embeddings, `training.json`, the model card and checksums. `--run` packs a
finished run.
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
LIMITS = {"model/model.onnx": 25e6, "checkpoint/model.safetensors": 22e6}
NOTE = """
## Unlabelled text
Besides the labelled corpus it learnt from {count:,} texts without labels, which teachers labelled: {sources}.{student}
"""
STUDENT = " The\nstudent started from its teacher; at the end the weights of both were averaged."


def main() -> None:
    """Train, or take a finished run, and pack the model."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
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
    run = args.run or train(args.unlabelled, args.teacher, args.teachers, args.seed)
    pack(run, args.sources)


def train(unlabelled: list[str], teacher: str | None, teachers: int, seed: int) -> str:
    """Train with `reviews-parsing train` and return the id of the run."""
    from reviews_parsing.data.reading import UNLABELLED_FILE

    files = [argument for file in [str(UNLABELLED_FILE), *unlabelled] for argument in ("--unlabelled", file)]
    options = ["--foundation", "none", "--teachers", str(teachers), "--seed", str(seed)]
    if teacher:
        options += ["--teacher", teacher]
    command = [sys.executable, "-m", "reviews_parsing.cli", "train", "corpus", *options, *files, "--resume", "--json"]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return str(json.loads(process.stdout)["run_id"])


def pack(run: str, sources: str) -> None:
    """Copy the model and the checkpoint of a run into the package."""
    from reviews_parsing import pretrained, registry
    from reviews_parsing.model_folder import TRAINING_FILE
    from reviews_parsing.registry.runs import fetch_file
    from reviews_parsing.training.backbone import write_compact

    folder, _ = registry.locate(f"runs:/{run}")
    with registry.tracking() as client:
        parameters = dict(client.get_run(run).data.params)
        metrics = {k: round(v, 4) for k, v in client.get_run(run).data.metrics.items() if k.startswith("test_")}
    target = pretrained.FOLDER
    for part in ("model", "checkpoint"):
        shutil.rmtree(target / part, ignore_errors=True)
    shutil.copytree(folder, target / "model")
    checkpoint = fetch_file(run, "checkpoint", BUILD)
    write_compact(checkpoint, target / "checkpoint")
    teacher = parameters.get("teacher", "None")
    facts = {
        "recipe": {k: v for k, v in parameters.items() if not k.startswith("data_")} | {"teacher": Path(teacher).name},
        "data": {k.removeprefix("data_"): v for k, v in parameters.items() if k.startswith("data_")},
        "test": metrics,
    }
    (target / "model" / TRAINING_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    card = target / "model" / "README.md"
    count = int(parameters.get("unlabelled_texts", 0))
    project_license = "written for this project, like the corpus (Apache-2.0)"
    note = ""
    if count:
        all_sources = "; ".join(filter(None, (project_license, sources)))
        note = NOTE.format(count=count, sources=all_sources, student=STUDENT if teacher == "None" else "")
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace("\n## Training\n", f"{note}\n## Training\n"), encoding="utf-8")
    pretrained.write_checksums()
    for name, limit in LIMITS.items():
        size = (target / name).stat().st_size
        print(f"{name}: {size / 1e6:.1f} MB")
        if size > limit:
            sys.exit(f"error: {name} is larger than {limit / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
