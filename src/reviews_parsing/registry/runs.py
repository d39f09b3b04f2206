"""Runs on the tracking store: start or resume one, log to it, download its files."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.registry.integrity import CHECKSUM_TAG, describe_files, encode_records
from reviews_parsing.registry.store import ARTIFACT, MODEL_FOLDER, artifact_location, tracking
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

PACKAGES = ("reviews-parsing", "torch", "transformers", "onnxruntime", "tokenizers", "numpy", "mlflow-skinny")


@contextmanager
def run(state: Path | None = None, experiment: str | None = None) -> Iterator[RunLog]:
    """Open a run of `experiment` (default: the configured one) and close it after the block.

    `state` is a file that keeps the run's id, so that a killed run is resumed. Raises TrackingError.
    """
    import mlflow

    with tracking() as client:
        experiment_id = ensure_experiment(client, experiment or Settings().experiment)
    run_id = state.read_text(encoding="utf-8") if state and state.is_file() else None
    with tracking(patient=True), mlflow.start_run(run_id=run_id, experiment_id=experiment_id) as active:
        if state:
            state.write_text(active.info.run_id, encoding="utf-8")
        mlflow.set_tags(_provenance())
        yield RunLog(active.info.run_id)


def ensure_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment, which is created if it does not exist."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location()))
        except MlflowException:
            # Another process may have created it meanwhile.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


class RunLog:
    """An open run; implements the protocol `training.run.RunLog`."""

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

        The SHA-256 and the size of every file become a tag of the run.
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
            mlflow.pyfunc.log_model(
                name=ARTIFACT,
                python_model=str(Path(__file__).parent.parent / "pyfunc.py"),
                artifacts={MODEL_FOLDER: str(copy)},
                signature=signature,
                input_example=[example],
                pip_requirements=[f"{package}=={version(package)}" for package in pinned],
            )


def fetch_file(run_id: str, path: str, folder: Path) -> Path:
    """Download one artifact of a run into `folder`. Raises ModelError if it does not exist, TrackingError."""
    with tracking() as client:
        return Path(client.download_artifacts(run_id, path, str(folder)))


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
