"""Measure training and parsing on a busy machine and under a CPU quota, relative to free cores.

    python benchmarks/threads.py [--json] [--runs 3] [--reviews 600] [--quota 1.0]

Each measurement is a new process. For `busy`, another program uses one core; for `quota`, the process is in a cgroup
(v1 or v2) with a CPU limit like that of a container, which needs permission to create cgroups. The waiting policies of
OpenMP are compared with that of `train`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from machine import argument_parser, background_load, machine
from rich.console import Console
from rich.table import Table

CGROUPS = Path("/sys/fs/cgroup")
PERIOD = 100_000
POLICIES: dict[str, dict[str, str]] = {
    "as train chooses": {},
    "OpenMP's default": {"GOMP_SPINCOUNT": "30000000000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
TRAIN = """
import sys, tempfile, time
from pathlib import Path
from reviews_parsing import data
from reviews_parsing.schema import Taxonomy
from reviews_parsing.training.fit import Recipe, fit
reviews = data.read_splits("corpus")["train"][-int(sys.argv[1]):]
times = []
with tempfile.TemporaryDirectory() as folder:
    recipe = Recipe(epochs=2, foundation="none")
    def progress(share, metrics):
        if metrics:
            times.append(time.perf_counter())
    fit(reviews, reviews[:8], Taxonomy.of(reviews), recipe, Path(folder), progress=progress)
print(times[1] - times[0])
"""
PARSE = """
import sys, time
from reviews_parsing import AspectParser, data
texts = [review.text for review in data.read_splits("corpus")["train"][-int(sys.argv[1]):]]
parser = AspectParser.load("pretrained")
parser.parse(texts)
begin = time.perf_counter()
parser.parse(texts)
print(time.perf_counter() - begin)
"""


def seconds(program: str, reviews: int, variables: dict[str, str], group: Path | None = None) -> float:
    """Run `program` in a new process, in the cgroup `group` if given, and return the seconds that it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}

    def join() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    process = subprocess.run(
        [sys.executable, "-c", program, str(reviews)],
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=join,
        text=True,
        check=True,
    )
    return float(process.stdout.splitlines()[-1])


@contextmanager
def busy() -> Iterator[None]:
    """Run another program that uses one core."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


@contextmanager
def quota(cores: float) -> Iterator[Path]:
    """Create a cgroup with a CPU quota. Raises OSError if that is not permitted."""
    is_v2 = (CGROUPS / "cgroup.controllers").is_file()
    group = (CGROUPS if is_v2 else CGROUPS / "cpu") / f"reviews-parsing-{os.getpid()}"
    group.mkdir()
    try:
        limit = round(cores * PERIOD)
        if is_v2:
            (group / "cpu.max").write_text(f"{limit} {PERIOD}", encoding="ascii")
        else:
            (group / "cpu.cfs_quota_us").write_text(str(limit), encoding="ascii")
        yield group
    finally:
        group.rmdir()


def measure(program: str, reviews: int, runs: int, variables: dict[str, str], cores: float) -> dict[str, float]:
    """Return median seconds on free cores, beside a busy program, and under the quota if it can be set."""
    measured: dict[str, list[float]] = {"free": [], "busy": [], "quota": []}
    for _ in range(runs):
        for name, times in measured.items():
            try:
                load = busy() if name == "busy" else nullcontext()
                with load, quota(cores) if name == "quota" else nullcontext() as group:
                    times.append(seconds(program, reviews, variables, group))
            except OSError:
                continue
    return {name: statistics.median(times) for name, times in measured.items() if times}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--runs", type=int, default=3, help="number of runs of which the median is reported")
    parser.add_argument("--reviews", type=int, default=600, help="number of reviews to train on or to parse")
    parser.add_argument("--quota", type=float, default=1.0, help="CPU quota in cores")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for work, program, policies in (("an epoch", TRAIN, POLICIES), ("parsing", PARSE, {"as parse chooses": {}})):
        for policy, variables in policies.items():
            times = measure(program, options.reviews, options.runs, variables, options.quota)
            rows.append({"work": work, "policy": policy, "seconds": times})
            print(f"{work}, {policy}: {times}", file=sys.stderr)
    if options.json:
        print(
            json.dumps(
                {"machine": machine(), "others": background_load(), "quota": options.quota, "rows": rows}, indent=2
            )
        )
        return
    table = Table(title=f"{options.reviews} reviews; seconds, and the ratio to free cores")
    for column in ("", "", "free", "one core busy", f"quota of {options.quota:g} cores"):
        table.add_column(column)
    for row in rows:
        times, free = row["seconds"], row["seconds"]["free"]
        cells = [f"{times[k]:.1f} s ({times[k] / free:.2f})" if k in times else "-" for k in ("busy", "quota")]
        table.add_row(row["work"], row["policy"], f"{free:.1f} s", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
