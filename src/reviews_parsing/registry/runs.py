"""Runs on the tracking store: start or resume one, log to it, download its files."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.registry.download import PARTIAL_PREFIX, bounded
from reviews_parsing.registry.integrity import CHECKSUM_TAG, describe_files, encode_records
from reviews_parsing.registry.signatures import SIGNATURE_FILE, sign, signing_is_configured
from reviews_parsing.registry.store import ARTIFACT, DOWNLOAD_LIMITS, MODEL_FOLDER, artifact_location, tracking
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

NOTE_TAG = "mlflow.note.content"
# MLflow shows the runs of such an experiment first; of others it shows traces.
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    NOTE_TAG: "Trainings and evaluations of the model of `reviews-parsing`. Compare runs by `test/aggregated/f1`; "
    "`reviews-parsing models` lists the registered versions.",
}
PROCESS_TAG = "reviews_parsing.process"
RETRAINING, REFERENCE_SETS = "retraining", "reference-sets"
"""Purposes of a registered model's own experiments."""
MAX_NOTE_CHARACTERS, MAX_DIGEST_CHARACTERS = 5000, 36
_FIGURES = ("precision", "recall", "f1", "support", "ece", "ece_chance", "ece_most", "accuracy")
PACKAGES = ("reviews-parsing", "torch", "transformers", "onnxruntime", "tokenizers", "numpy", "mlflow-skinny")


@contextmanager
def run(state: Path | None = None, experiment: str | None = None, name: str | None = None) -> Iterator[MlflowRunLog]:
    """Open a run of `experiment` (default: the configured one) called `name` and close it after the block.

    The run is finished after the block, killed if the process was asked to end, and failed after another error. `state`
    is a file that keeps the run's id, so that a killed run is resumed. Raises TrackingError.
    """
    import mlflow

    with tracking() as client:
        experiment_id = ensure_experiment(client, experiment or Settings().experiment)
        _mark_killed_runs(client, experiment_id)
    run_id = state.read_text(encoding="utf-8") if state and state.is_file() else None
    with tracking(limits={}):
        active = mlflow.start_run(run_id=run_id, experiment_id=experiment_id, run_name=None if run_id else name)
        status = "FAILED"
        try:
            if state:
                state.write_text(active.info.run_id, encoding="utf-8")
            mlflow.set_tags({**_provenance(), PROCESS_TAG: f"{socket.gethostname()} {os.getpid()}"})
            yield MlflowRunLog(active.info.run_id)
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            mlflow.end_run(status)


_run = run  # its name in 0.1.0, removed in 0.3.0


def mark_killed_runs() -> None:
    """Set the status of running runs of the configured experiment whose process on this machine no longer exists.

    Raises TrackingError.
    """
    with tracking() as client:
        if experiment := client.get_experiment_by_name(Settings().experiment):
            _mark_killed_runs(client, experiment.experiment_id)


def _mark_killed_runs(client: MlflowClient, experiment_id: str) -> None:
    for entry in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        host, _, process = entry.data.tags.get(PROCESS_TAG, "").partition(" ")
        if host == socket.gethostname() and not _is_running(int(process)):
            client.set_terminated(entry.info.run_id, "KILLED")


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def name_experiment(purpose: str, model_name: str | None = None) -> str:
    """Return the name of a registered model's experiment for a purpose: RETRAINING or REFERENCE_SETS."""
    return f"{model_name or Settings().model_name}-{purpose}"


def ensure_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment, which is created if it does not exist."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location(), EXPERIMENT_TAGS))
        except MlflowException:
            # Another process may have created it meanwhile.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    for key, value in EXPERIMENT_TAGS.items():
        if key not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return str(experiment.experiment_id)


class MlflowRunLog:
    """An open run; implements the protocol `training.run_log.RunLog`."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def parameters(self, values: Mapping[str, object]) -> None:
        """Log parameters; a value can be logged once."""
        import mlflow

        mlflow.log_params({key: str(value)[:6000] for key, value in values.items()})

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics, optionally of an epoch."""
        import mlflow

        # MLflow allows [A-Za-z0-9_./ :-] in names; FOOD#QUALITY is stored as FOOD:QUALITY.
        clean = {re.sub(r"[^\w./ :-]", ":", key): float(value) for key, value in values.items()}
        mlflow.log_metrics(clean, step=step)

    def split_metrics(self, split: str, values: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics of a split, which MLflow's pages group by split: `FOOD_f1` of `test` is `test/FOOD/f1`."""
        self.metrics({f"{split}/{_with_group(name)}": value for name, value in values.items()}, step)

    def dataset(self, name: str, source: str, digest: str, facts: Mapping[str, int], context: str) -> None:
        """Log reviews that the run used: their numbers, and what for (`context`: training, validation, test)."""
        import mlflow
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:MAX_DIGEST_CHARACTERS],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(dict(facts)),
        )
        tags = [InputTag("mlflow.data.context", context)]
        mlflow.MlflowClient().log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def description(self, markdown: str) -> None:
        """Set the description of the run."""
        self.tags({NOTE_TAG: markdown[:MAX_NOTE_CHARACTERS]})

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; a later value replaces an earlier one."""
        import mlflow

        mlflow.set_tags(dict(values))

    def figure(self, figure: Figure, name: str) -> None:
        """Log a figure under `plots/`."""
        import mlflow

        mlflow.log_figure(figure, f"plots/{name}")

    def table(self, rows: Sequence[Mapping[str, object]], name: str) -> None:
        """Log rows with the same keys as a table."""
        import mlflow

        columns = list(rows[0]) if rows else ["kind"]
        mlflow.log_table({column: [row[column] for row in rows] for column in columns}, name)

    def file(self, path: Path, place: str) -> None:
        """Log a file into the artifact folder `place`."""
        import mlflow

        mlflow.log_artifact(str(path), place or None)

    def folder(self, path: Path, place: str) -> None:
        """Log the files of a folder into the artifact folder `place`."""
        import mlflow

        mlflow.log_artifacts(str(path), place)

    def model(self, folder: Path, example: str) -> None:
        """Log a model folder as a pyfunc with signature and input example.

        The SHA-256 and the size of every file become a tag of the run, the signature, if there is a key, an artifact.
        """
        from importlib.metadata import version

        import mlflow
        from mlflow.models.signature import ModelSignature
        from mlflow.types.schema import AnyType, Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema

        signature = ModelSignature(
            inputs=Schema([ColSpec(DataType.string)]),
            outputs=Schema([ColSpec(Array(AnyType()))]),
            params=ParamSchema(
                [ParamSpec("min_score", DataType.double, 0.0), ParamSpec("spans_only", DataType.boolean, False)]
            ),
        )
        pinned = ("reviews-parsing", "onnxruntime", "tokenizers", "numpy", "regex", "pandas")
        with tempfile.TemporaryDirectory() as scratch:
            # MLflow keeps the name of the folder, and fetching looks for this one. It refuses symbolic links.
            copy = Path(scratch) / MODEL_FOLDER
            shutil.copytree(folder, copy)
            self.tags({CHECKSUM_TAG: encode_records(describe_files(copy))})
            if signing_is_configured():
                sign(copy, Path(scratch) / SIGNATURE_FILE)
                self.file(Path(scratch) / SIGNATURE_FILE, "")
            mlflow.pyfunc.log_model(
                name=ARTIFACT,
                python_model=str(Path(__file__).parent.parent / "pyfunc.py"),
                artifacts={MODEL_FOLDER: str(copy)},
                signature=signature,
                input_example=[example],
                pip_requirements=[f"{package}=={version(package)}" for package in pinned],
            )


def fetch_file(run_id: str, path: str, folder: Path) -> Path:
    """Download one artifact of a run, a file or a folder, into `folder`. Returns its path there.

    Raises ModelError if it does not exist, TrackingError.
    """
    target = folder / Path(path).name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=PARTIAL_PREFIX) as partial:
        copy = bounded(f"{path} of run {run_id}", download_artifact, run_id, path, partial, folder=Path(partial))
        shutil.rmtree(target, ignore_errors=True)
        return Path(copy).replace(target)


def download_artifact(run_id: str, path: str, folder: str) -> str:
    """Download one artifact of a run into `folder`. Returns its path there. Raises ModelError or TrackingError."""
    with tracking() as client:
        client.get_run(run_id)
    with tracking(DOWNLOAD_LIMITS) as client:
        return str(client.download_artifacts(run_id, path, folder))


def _with_group(name: str) -> str:
    """Return the name of a metric with its figure apart: `FOOD_f1` is `FOOD/f1`."""
    figure = max((figure for figure in _FIGURES if name.endswith(f"_{figure}")), key=len, default="")
    return f"{name.removesuffix(f'_{figure}')}/{figure}" if figure else name


def _provenance() -> dict[str, str]:
    """Return the git commit and package versions as tags."""
    import platform
    import subprocess
    from importlib.metadata import PackageNotFoundError, version

    tags = {"version.python": platform.python_version()}
    for package in PACKAGES:
        try:
            tags[f"version.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    if commit.returncode == 0:
        tags["mlflow.source.git.commit"] = commit.stdout.strip()
    return tags
