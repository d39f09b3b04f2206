"""Training and parsing on a busy machine and under a CPU quota, as ratios to the same work on free cores.

    python benchmarks/threads.py [--json] [--runs 3] [--reviews 600] [--quota 1.0]

Each measurement is a process of its own. `busy` is beside another program that keeps one core busy; `quota` is in a
cgroup that is given so many cores (cgroup v1 or v2; needs the right to make one, as root has), which a container's CPU
limit sets as well. The waiting policies of OpenMP are compared beside what `train` chooses.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from machine import machine, others
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
    """Run `program` in a process of its own, in the cgroup `group`; return what it measured."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}

    def join() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    done = subprocess.run(
        [sys.executable, "-c", program, str(reviews)],
        env=clean | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=join,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


@contextmanager
def busy() -> Iterator[None]:
    """Another program that keeps one core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


@contextmanager
def quota(cores: float) -> Iterator[Path]:
    """A cgroup with so many cores. Raises OSError if none can be made."""
    first = (CGROUPS / "cgroup.controllers").is_file()
    group = (CGROUPS if first else CGROUPS / "cpu") / f"reviews-parsing-{os.getpid()}"
    group.mkdir()
    try:
        limit = round(cores * PERIOD)
        if first:
            (group / "cpu.max").write_text(f"{limit} {PERIOD}", encoding="ascii")
        else:
            (group / "cpu.cfs_quota_us").write_text(str(limit), encoding="ascii")
        yield group
    finally:
        group.rmdir()


def measure(program: str, reviews: int, runs: int, variables: dict[str, str], cores: float) -> dict[str, float]:
    """Median seconds on free cores, beside a busy program, and under the quota where one can be set."""
    found: dict[str, list[float]] = {"free": [], "busy": [], "quota": []}
    for _ in range(runs):
        for name, times in found.items():
            try:
                load = busy() if name == "busy" else nullcontext()
                with load, quota(cores) if name == "quota" else nullcontext() as group:
                    times.append(seconds(program, reviews, variables, group))
            except OSError:
                continue
    return {name: statistics.median(times) for name, times in found.items() if times}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    options.add_argument("--json", action="store_true")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--reviews", type=int, default=600)
    options.add_argument("--quota", type=float, default=1.0, help="cores")
    given = options.parse_args()
    rows: list[dict[str, Any]] = []
    for work, program, policies in (("an epoch", TRAIN, POLICIES), ("parsing", PARSE, {"as parse chooses": {}})):
        for policy, variables in policies.items():
            times = measure(program, given.reviews, given.runs, variables, given.quota)
            rows.append({"work": work, "policy": policy, "seconds": times})
            print(f"{work}, {policy}: {times}", file=sys.stderr)
    if given.json:
        print(json.dumps({"machine": machine(), "others": others(), "quota": given.quota, "rows": rows}, indent=2))
        return
    table = Table(title=f"{given.reviews} reviews; seconds, and times as long as on free cores")
    for column in ("", "", "free", "one core taken", f"quota of {given.quota:g} cores"):
        table.add_column(column)
    for row in rows:
        times, free = row["seconds"], row["seconds"]["free"]
        cells = [f"{times[k]:.1f} s ({times[k] / free:.2f})" if k in times else "-" for k in ("busy", "quota")]
        table.add_row(row["work"], row["policy"], f"{free:.1f} s", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
