"""What runs the graph in an ONNX file: ONNX Runtime, or OpenVINO where it is installed (extra `openvino`).

The products are of whole numbers, so both give the same answers but for the last digits of what lies between them.
OpenVINO is a quarter faster on processors with AVX-512 VNNI and takes a second longer to load and 200 MB more.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reviews_parsing.cores import usable_cores
from reviews_parsing.errors import ModelError
from reviews_parsing.tagging.crf import Floats, Ints

ENGINES = ("onnxruntime", "openvino", "auto")
# What `auto` times: runs of so many texts of so many tokens.
TRIAL, ROUNDS = (16, 32), 5


class Engine(Protocol):
    """A loaded graph; safe to share between threads, each of which uses one core."""

    name: str
    widths: dict[str, int]
    """Of each output by its name, in their order."""

    def run(self, ids: Ints, mask: Ints) -> list[Floats]:
        """One array for each output, of shape [batch, tokens, width], or [batch, width] where it is of whole rows, from
        two of shape [batch, tokens]."""


class OnnxRuntime:
    name = "onnxruntime"

    def __init__(self, model: Path) -> None:
        # It would tell its makers how it is used.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.widths = {output.name: int(output.shape[-1]) for output in self._session.get_outputs()}
        self._names = list(self.widths)

    def run(self, ids: Ints, mask: Ints) -> list[Floats]:
        return self._session.run(self._names, {"input_ids": ids, "attention_mask": mask})  # type: ignore[no-any-return]


class OpenVino:
    name = "openvino"

    def __init__(self, model: Path) -> None:
        import openvino

        # A stream is what one thread waits for: as many as may come at once.
        streams = usable_cores()
        properties: dict[str, Any] = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
            "ENABLE_CPU_PINNING": False,
            # In bf16, which it would choose by itself, scores move by more than they may.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._compiled = openvino.Core().compile_model(str(model), "CPU", properties)
        outputs = self._compiled.outputs
        self.widths = {output.get_any_name(): output.partial_shape[-1].get_length() for output in outputs}
        self._own = threading.local()

    def run(self, ids: Ints, mask: Ints) -> list[Floats]:
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        outputs = request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True)
        return [outputs[i] for i in range(len(self.widths))]


def load(model: Path, engine: str = "onnxruntime") -> Engine:
    """The graph in `model`; `auto` is whichever engine of those installed is faster here, by trying.

    Raises ModelError where the engine is not installed or there is none of that name.
    """
    classes: dict[str, Callable[[Path], Engine]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}
    if engine not in ENGINES:
        raise ModelError(f"there is no engine '{engine}'; choose one of {', '.join(ENGINES)}")
    if engine != "onnxruntime" and importlib.util.find_spec("openvino") is None:
        if engine == "openvino":
            raise ModelError("the engine openvino is not installed; run: pip install 'reviews-parsing[openvino]'")
        engine = "onnxruntime"
    if engine != "auto":
        return classes[engine](model)
    return min((made(model) for made in classes.values()), key=_seconds)


def _seconds(engine: Engine) -> float:
    """The shortest of a few runs."""
    ids: npt.NDArray[np.int64] = np.full(TRIAL, 5, np.int64)
    found = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        engine.run(ids, np.ones_like(ids))
        found.append(time.perf_counter() - begin)
    return min(found)
