"""Threads are as many as the process may use: affinity, and the quota of its container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reviews_parsing.cores import usable_cores

HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tree(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, content in {"proc/self/cgroup": groups, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, HERE),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "9900000 100000\n"}, HERE),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "100000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 1),
        ("0::/kubepods/pod1\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        (
            "4:cpu,cpuacct:/docker/1\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            "4:cpu:/docker/1\n0::/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            1,
        ),
        (
            "4:cpu:/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            HERE,
        ),
        ("nonsense\n0::no/slash\n", {"sys/fs/cgroup/cpu.max": "what is this\n"}, HERE),
        ("", {}, HERE),
    ],
)
def test_the_quota_of_the_cgroup_counts(tmp_path: Path, groups: str, files: dict[str, str], cores: int) -> None:
    assert usable_cores(tree(tmp_path, groups, files)) == cores


def test_without_cgroups_it_is_the_affinity(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == HERE
