"""Ray executor (extra `ray`): the parts of a folder are shared out among the workers of a cluster, one model in each.

A worker parses a part as a single machine would and writes it itself; only its counters come back. The part of a
worker that was killed goes to another, which writes the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reviews_parsing.batch import manifest
from reviews_parsing.batch.executors import PartsJob
from reviews_parsing.batch.executors.local import LocalExecutor
from reviews_parsing.batch.parsers import StoredParser
from reviews_parsing.batch.stats import Stats
from reviews_parsing.errors import ClusterError, DataError, ReviewsParsingError
from reviews_parsing.io.filesystems import Folder
from reviews_parsing.io.staging import temporary_folder
from reviews_parsing.model_folder import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from reviews_parsing.parser import AspectParser

MAX_BLOCKS = 2000
"""Blocks of Ray Data; with more parts, several share a block."""


@dataclass(frozen=True, slots=True)
class Ray:
    """A cluster: its address ("auto": that of this machine; None: a new one on this machine, for this run).

    `workers` is the most workers that run at once, on one core each; None: one for each core of the cluster.
    """

    address: str | None = None
    workers: int | None = None

    def run(self, job: PartsJob) -> Generator[tuple[int, Stats]]:
        """Parse the parts. Raises ClusterError without a cluster, DataError if an input cannot be read."""
        if not job.parts:
            return
        parser = job.parser
        assert isinstance(parser, StoredParser)  # checked when the manifest was made
        ray = self._start([file["name"] for file in job.manifest["inputs"] if file["is_copy"]])
        try:
            max_workers = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            model = {name: (parser.folder / name).read_bytes() for name in (CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE)}
            numbers = [{"number": part.number} for part in job.parts]
            results = ray.data.from_items(numbers, override_num_blocks=min(len(numbers), MAX_BLOCKS)).map(
                _Worker,
                fn_constructor_args=(ray.put(model), parser.engine, dict(job.manifest), job.folder.name),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(max_workers, len(numbers))),
                num_cpus=1,
            )
            for result in results.iter_rows():
                if result["error"]:
                    raise DataError(result["error"])
                yield result["rows"], Stats.from_json(json.loads(result["stats"]))
        finally:
            ray.shutdown()

    def _start(self, copies: Sequence[str]) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # usage telemetry
        try:
            import ray
            import ray.data
        except ImportError:
            raise ClusterError("Ray is not installed; run: pip install 'reviews-parsing[ray]'") from None
        if copies:
            raise DataError(f"workers cannot read {copies[0]}: give files that each of them can reach")
        try:
            ray.init(self.address, include_dashboard=False if self.address is None else None, log_to_driver=False)
        except Exception as error:  # Ray raises bare exceptions of its own, and RPC errors
            ray.shutdown()
            address = self.address or os.environ.get("RAY_ADDRESS")
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            problem = (
                f"no Ray cluster can be reached at '{address}'" if address else "no Ray cluster can be started here"
            )
            raise ClusterError(f"{problem} ({reason}): start one and give its --address") from None
        ray.data.DataContext.get_current().enable_progress_bars = False
        return ray


class _Worker:
    """Actor that holds one model, with one thread."""

    def __init__(self, model: Any, engine: str, form: dict[str, Any], folder: str) -> None:
        import ray

        with temporary_folder() as files:
            for name, content in ray.get(model).items():
                (files / name).write_bytes(content)
            self._parser = AspectParser(Path(files), threads=1, engine=engine)
        self._form = form
        self._plan, self._options = manifest.restore_plan(form), manifest.read_options(form)
        self._folder = Folder(folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        part, total = self._plan.parts[row["number"]], Stats()
        job = PartsJob(self._parser, self._plan, [part], self._options, self._folder, self._form)
        try:
            for _, stats in LocalExecutor().run(job):
                total.merge(stats)
        except ReviewsParsingError as error:
            return {"rows": 0, "stats": "", "error": str(error)}
        return {"rows": part.rows, "stats": json.dumps(total.to_json()), "error": ""}
