"""How many CPU cores this process may use: its affinity, and the CPU quota of its cgroup (a container's limit)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SYSTEM = Path("/")


def usable_cores(root: Path = SYSTEM) -> int:
    """Return the number of cores to use, at least 1: those of the affinity mask, at most the CPU quota rounded up.

    `root` holds `proc` and `sys`. Quotas are those of cgroup v2 (`cpu.max`) and v1 (`cpu.cfs_quota_us`), the smallest
    of the process's own group and all around it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quota, in cores, of every cgroup that limits this process."""
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controllers if controllers else "")
        mounts = [mount, mount.with_name("cpu")] if controllers else [mount]
        own = PurePosixPath(path or "/").relative_to("/") if path.startswith("/") else PurePosixPath()
        for base in mounts:
            # Inside a container the path may be that of the host; the container's own group is then the mount itself.
            for group in (own, *own.parents):
                if (quota := _quota(base / group)) is not None:
                    yield quota


def _quota(group: Path) -> float | None:
    """Return the quota of one cgroup folder in cores; None if it has none or cannot be read."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period")
            )
        return float(quota) / float(period) if quota != "max" and float(quota) > 0 and float(period) > 0 else None
    except (OSError, ValueError):
        return None
