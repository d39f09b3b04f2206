"""What figures were taken on: the processor, the versions, and the most that its 8-bit arithmetic gives."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from reviews_parsing.cores import usable_cores

CPUINFO, STAT = Path("/proc/cpuinfo"), Path("/proc/stat")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
SHAPES = ((512, 512, 512), (512, 4096, 512), (384, 1536, 384), (1024, 1024, 1024), (2048, 2048, 2048))
TRY_SECONDS, MOMENT = 0.1, 0.5
HOW = (
    "the best of ONNX Runtime's MatMulInteger (u8 x s8, one session and one thread a core) and torch's oneDNN product "
    "(s8 x s8, all cores), over several shapes, in every round; bare loops of the instruction reach about a tenth more"
)


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, and those of its flags that 8-bit products depend on."""
    facts = dict(_facts())
    flags = facts.get("flags", "").split()
    return {
        "processor": facts.get("model name", platform.processor()),
        "cores": usable_cores(),
        "flags": {flag: flag in flags for flag in FLAGS},
        "python": platform.python_version(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def int8_peak() -> float:
    """Operations a second of the fastest 8-bit matrix product that a library reaches on all cores; see HOW.

    A product of [m, k] and [k, n] is m k n multiplications and as many additions.
    """
    with ThreadPoolExecutor(usable_cores()) as pool:
        return max(
            _rate(product(m, k, n, pool), operations)
            for m, k, n in SHAPES
            for product, operations in ((_onnxruntime, usable_cores() * 2 * m * k * n), (_torch, 2 * m * k * n))
        )


def others() -> float:
    """The share of the machine that is at work while this process sleeps for a moment; 0.0 where nobody can tell."""
    before = _ticks()
    time.sleep(MOMENT)
    busy, total = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    return busy / total if total else 0.0


def _ticks() -> tuple[int, int]:
    """Processor time so far: at work, and in all."""
    if not STAT.is_file():
        return 0, 0
    ticks = [int(number) for number in STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    idle, waiting = ticks[3:5]
    return sum(ticks) - idle - waiting, sum(ticks)


def _rate(run: Callable[[], object], operations: int) -> float:
    run()
    begin, runs = time.perf_counter(), 0
    while time.perf_counter() - begin < TRY_SECONDS:
        run()
        runs += 1
    return runs * operations / (time.perf_counter() - begin)


def _onnxruntime(m: int, k: int, n: int, pool: ThreadPoolExecutor) -> Callable[[], object]:
    """One product on each core."""
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
    """One product over all cores."""
    import torch

    x = torch.randint(-127, 127, (m, k), dtype=torch.int8)
    w = torch.randint(-127, 127, (k, n), dtype=torch.int8)
    return lambda: torch._int_mm(x, w)


def _facts() -> Iterator[tuple[str, str]]:
    """What the kernel says of the first processor."""
    if not CPUINFO.is_file():
        return
    for line in CPUINFO.read_text(encoding="utf-8").split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        yield key.strip(), value.strip()
