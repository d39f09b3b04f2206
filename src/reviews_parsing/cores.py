"""Number of CPU cores that this process may use, from its affinity mask and its cgroup's CPU quota."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SYSTEM = Path("/")


def usable_cores(root: Path = SYSTEM) -> int:
    """Return the number of usable cores: the affinity mask limited by the CPU quota rounded up, at least 1.

    `root` is the folder of `proc` and `sys`. Reads cgroup v2 (`cpu.max`) and v1 (`cpu.cfs_quota_us`); the smallest
    quota of the process's group and its ancestors applies.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quota in cores of each cgroup that limits this process."""
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        mounts = [mount, mount.with_name("cpu")] if controllers else [mount]
        relative = PurePosixPath(path or "/").relative_to("/") if path.startswith("/") else PurePosixPath()
        for base in mounts:
            # Inside a container the path may be a path of the host; the container's group is then the mount itself.
            for group in (relative, *relative.parents):
                if (quota := _quota(base / group)) is not None:
                    yield quota


def _quota(group: Path) -> float | None:
    """Return the quota of a cgroup folder in cores, or None if it is unlimited or unreadable."""
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
