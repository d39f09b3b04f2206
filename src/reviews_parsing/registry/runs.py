"""Runs on the tracking store: begin one, write to it, fetch its files."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.registry.store import ARTIFACT, MODEL_FOLDER, tracking
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def run(state: Path | None = None) -> Iterator[RunLog]:
    """A run of the configured experiment; `state` remembers its id, so that a run that was killed is gone on with."""
    import mlflow

    settings = Settings()
    with tracking() as client:
        experiment = client.get_experiment_by_name(settings.experiment)
        place = None if settings.tracking_uri else (settings.home.resolve() / "artifacts").as_uri()
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(settings.experiment, place)
        known = state.read_text(encoding="utf-8") if state and state.is_file() else None
        with mlflow.start_run(run_id=known, experiment_id=experiment_id) as active:
            if state:
                state.write_text(active.info.run_id, encoding="utf-8")
            mlflow.set_tags(_provenance())
            yield RunLog(active.info.run_id)


class RunLog:
    """What a training run writes to the tracking store."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def parameters(self, values: Mapping[str, object]) -> None:
        import mlflow

        mlflow.log_params({key: str(value)[:6000] for key, value in values.items()})

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        import mlflow

        # MLflow allows [A-Za-z0-9_./ :-] in names; FOOD#QUALITY is stored as FOOD:QUALITY.
        clean = {re.sub(r"[^\w./ :-]", ":", key): float(value) for key, value in values.items()}
        mlflow.log_metrics(clean, step=step)

    def figure(self, figure: Figure, name: str) -> None:
        import mlflow

        mlflow.log_figure(figure, f"plots/{name}")

    def table(self, rows: Sequence[Mapping[str, object]], name: str) -> None:
        import mlflow

        columns = list(rows[0]) if rows else ["kind"]
        mlflow.log_table({column: [row[column] for row in rows] for column in columns}, name)

    def file(self, path: Path, place: str) -> None:
        import mlflow

        mlflow.log_artifact(str(path), place)

    def folder(self, path: Path, place: str) -> None:
        import mlflow

        mlflow.log_artifacts(str(path), place)

    def model(self, folder: Path, example: str) -> None:
        """The complete artifact: model folder, signature, input example, and the code that loads it by name."""
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
            named = Path(scratch) / MODEL_FOLDER
            shutil.copytree(folder, named)
            mlflow.pyfunc.log_model(
                name=ARTIFACT,
                python_model=str(Path(__file__).parent.parent / "pyfunc.py"),
                artifacts={MODEL_FOLDER: str(named)},
                signature=signature,
                input_example=[example],
                pip_requirements=[f"{package}=={version(package)}" for package in pinned],
            )


def fetch_file(run_id: str, path: str, folder: Path) -> Path:
    """Download one artifact of a run into `folder`."""
    with tracking() as client:
        return Path(client.download_artifacts(run_id, path, str(folder)))


def _provenance() -> dict[str, str]:
    """Git commit and package versions, as tags."""
    import platform
    import subprocess
    from importlib.metadata import PackageNotFoundError, version

    found = {"version.python": platform.python_version()}
    for package in ("reviews-parsing", "torch", "transformers", "onnxruntime", "tokenizers", "numpy", "mlflow-skinny"):
        try:
            found[f"version.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    if commit.returncode == 0:
        found["mlflow.source.git.commit"] = commit.stdout.strip()
    return found
