"""Facts about the machine for reports (processor, load, versions, int8 peak), and the benchmarks' command line."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from reviews_parsing.cores import usable_cores

CPUINFO, STAT = Path("/proc/cpuinfo"), Path("/proc/stat")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
SHAPES = ((512, 512, 512), (512, 4096, 512), (384, 1536, 384), (1024, 1024, 1024), (2048, 2048, 2048))
TRIAL_SECONDS, LOAD_SECONDS = 0.1, 0.5
HOW = (
    "the best of ONNX Runtime's MatMulInteger (u8 x s8, one session and thread per core) and torch's oneDNN product "
    "(s8 x s8, all cores), over several shapes, in each round; bare loops of the instruction are about 10 % faster"
)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help with the unchanged module docstring, and with the defaults of options except None and False."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        hidden = action.default is None or action.default is False or action.default == []
        return action.help if hidden else super()._get_help_string(action)


def argument_parser(doc: str | None, with_json: bool = True) -> argparse.ArgumentParser:
    """Return a command-line parser with the module docstring `doc` as its help, and the option --json."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=HelpFormatter)
    if with_json:
        parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    return parser


def print_table(table: Table) -> None:
    """Print a table in the width of the terminal, or 160 columns in a pipe."""
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def machine() -> dict[str, Any]:
    """Return the processor, the usable cores, and the flags that 8-bit products depend on."""
    facts = dict(_facts())
    flags = facts.get("flags", "").split()
    return {
        "processor": facts.get("model name", platform.processor()),
        "cores": usable_cores(),
        "flags": {flag: flag in flags for flag in FLAGS},
        "python": platform.python_version(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the installed packages among `packages`."""
    installed = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def int8_peak() -> float:
    """Return the operations per second of the fastest 8-bit matrix product of a library on all cores, see HOW.

    A product of [m, k] and [k, n] has 2 m k n operations.
    """
    with ThreadPoolExecutor(usable_cores()) as pool:
        return max(
            _rate(product(m, k, n, pool), operations)
            for m, k, n in SHAPES
            for product, operations in ((_onnxruntime, usable_cores() * 2 * m * k * n), (_torch, 2 * m * k * n))
        )


def background_load() -> float:
    """Return the share of the machine that other programs use, 0.0 if it cannot be measured."""
    start = _ticks()
    time.sleep(LOAD_SECONDS)
    busy, total = (now - earlier for now, earlier in zip(_ticks(), start, strict=True))
    return busy / total if total else 0.0


def _ticks() -> tuple[int, int]:
    """Return the processor time so far: busy and in total."""
    if not STAT.is_file():
        return 0, 0
    ticks = [int(number) for number in STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    idle, waiting = ticks[3:5]
    return sum(ticks) - idle - waiting, sum(ticks)


def _rate(run: Callable[[], object], operations: int) -> float:
    run()
    begin, runs = time.perf_counter(), 0
    while time.perf_counter() - begin < TRIAL_SECONDS:
        run()
        runs += 1
    return runs * operations / (time.perf_counter() - begin)


def _onnxruntime(m: int, k: int, n: int, pool: ThreadPoolExecutor) -> Callable[[], object]:
    """Return a function that runs one product on each core."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [m, k])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [m, n])],
        [numpy_helper.from_array(random.integers(-127, 127, (k, n), dtype=np.int8), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"]) for _ in range(usable_cores())]
    feeds = {"x": random.integers(0, 255, (m, k), dtype=np.uint8)}
    return lambda: list(pool.map(lambda session: session.run(None, feeds), sessions))


def _torch(m: int, k: int, n: int, _: ThreadPoolExecutor) -> Callable[[], object]:
    """Return a function that runs one product on all cores."""
    import torch

    x = torch.randint(-127, 127, (m, k), dtype=torch.int8)
    w = torch.randint(-127, 127, (k, n), dtype=torch.int8)
    return lambda: torch._int_mm(x, w)


def _facts() -> Iterator[tuple[str, str]]:
    """Yield the facts of the first processor in /proc/cpuinfo."""
    if not CPUINFO.is_file():
        return
    for line in CPUINFO.read_text(encoding="utf-8").split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        yield key.strip(), value.strip()
