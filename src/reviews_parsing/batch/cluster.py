"""The parts of a folder shared out among the workers of a Ray cluster (extra `ray`), one model in each.

A worker parses a part as one machine would and writes it itself; what comes back is what it counted. A part whose
worker is killed is given to another, and written over if it was there already: the same bytes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviews_parsing.errors import ClusterError, DataError, ReviewsParsingError
from reviews_parsing.model_folder import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from reviews_parsing.parser import AspectParser

if TYPE_CHECKING:
    from reviews_parsing.batch.source import Part
    from reviews_parsing.batch.tally import Tally
    from reviews_parsing.io.filesystems import Folder

MOST_BLOCKS = 2000
"""Parts beyond as many share a block of Ray Data's."""


@dataclass(frozen=True, slots=True)
class Ray:
    """A cluster: its address ("auto": the one that this machine belongs to; None: one on this machine, for this run).

    `workers` are how many there may be at most, of one core each; None: one for each core of the cluster.
    """

    address: str | None = None
    workers: int | None = None

    def parse(
        self, parser: AspectParser, manifest: Mapping[str, Any], folder: Folder, parts: Sequence[Part]
    ) -> Generator[tuple[int, Tally]]:
        """Write these parts; says of each how many rows it has and what was counted.

        Raises ClusterError where there is no cluster, DataError where an input cannot be read.
        """
        from reviews_parsing.batch.tally import Tally

        if not parts:
            return
        ray = self._started([file["name"] for file in manifest["inputs"] if file["copied"]])
        try:
            most = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            model = {name: (parser.folder / name).read_bytes() for name in (CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE)}
            numbers = [{"number": part.number} for part in parts]
            found = ray.data.from_items(numbers, override_num_blocks=min(len(parts), MOST_BLOCKS)).map(
                Worker,
                fn_constructor_args=(ray.put(model), parser.engine, dict(manifest), folder.name),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(parts))),
                num_cpus=1,
            )
            for answer in found.iter_rows():
                if answer["error"]:
                    raise DataError(answer["error"])
                yield answer["rows"], Tally.from_json(json.loads(answer["tally"]))
        finally:
            ray.shutdown()

    def _started(self, copied: Sequence[str]) -> Any:
        # It would tell its makers how it is used.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
            import ray.data
        except ImportError:
            raise ClusterError("Ray is not installed; run: pip install 'reviews-parsing[ray]'") from None
        if copied:
            raise DataError(f"workers cannot read {copied[0]}: give files that each of them can reach")
        try:
            ray.init(self.address, include_dashboard=False if self.address is None else None, log_to_driver=False)
        except Exception as error:  # Ray raises bare exceptions of its own, and RPC errors
            ray.shutdown()
            where = self.address or os.environ.get("RAY_ADDRESS")
            why = next(iter(str(error).splitlines()), type(error).__name__)
            what = f"no Ray cluster can be reached at '{where}'" if where else "no Ray cluster can be started here"
            raise ClusterError(f"{what} ({why}): start one and give its --address") from None
        ray.data.DataContext.get_current().enable_progress_bars = False
        return ray


class Worker:
    """An actor; it holds one model, with one thread."""

    def __init__(self, model: Any, engine: str, form: dict[str, Any], folder: str) -> None:
        import ray

        from reviews_parsing.batch import manifest
        from reviews_parsing.batch.plan import Options
        from reviews_parsing.io.filesystems import Folder

        with tempfile.TemporaryDirectory(prefix="reviews-parsing-") as files:
            for name, content in ray.get(model).items():
                (Path(files) / name).write_bytes(content)
            self._parser = AspectParser(Path(files), threads=1, engine=engine)
        self._plan, self._options = manifest.plan(form), Options(**form["options"])
        self._folder = Folder(folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        from reviews_parsing.batch.folder import parse_parts
        from reviews_parsing.batch.tally import Tally

        part, total = self._plan.parts[row["number"]], Tally()
        try:
            for _, tally in parse_parts(self._parser, self._plan, [part], self._options, self._folder):
                total.merge(tally)
        except ReviewsParsingError as error:
            return {"rows": 0, "tally": "", "error": str(error)}
        return {"rows": part.rows, "tally": json.dumps(total.to_json()), "error": ""}
