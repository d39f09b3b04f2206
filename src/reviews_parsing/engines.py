"""Engines that run an ONNX file: ONNX Runtime, or OpenVINO if it is installed (extra `openvino`).

Both compute the int8 products exactly, so their logits differ only by the rounding of float operations. OpenVINO is a
quarter faster on processors with AVX-512 VNNI, takes a second longer to load and 200 MB more memory.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reviews_parsing.cores import usable_cores
from reviews_parsing.errors import ModelError
from reviews_parsing.tagging.crf import Floats, Ints

ENGINES = ("onnxruntime", "openvino", "auto")
# Input of shape [texts, tokens] that `auto` times the engines with, and the number of timings.
TIMING_SHAPE, TIMINGS = (16, 32), 5


class Engine(Protocol):
    """Thread-safe loaded graph; each calling thread uses one core. `widths` maps output names to their last axis."""

    name: str
    widths: dict[str, int]

    def run(self, ids: Ints, mask: Ints) -> list[Floats]:
        """Run inputs of shape [batch, tokens]; outputs have shape [batch, tokens, width] or [batch, width]."""


class OnnxRuntime:
    """ONNX Runtime session with one thread per call."""

    name = "onnxruntime"

    def __init__(self, model: Path) -> None:
        # Disable usage telemetry; the variable must be set before the import.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.widths = {output.name: int(output.shape[-1]) for output in self._session.get_outputs()}
        self._names = list(self.widths)

    def run(self, ids: Ints, mask: Ints) -> list[Floats]:
        """Return the logits of a batch, one array for each output."""
        return self._session.run(self._names, {"input_ids": ids, "attention_mask": mask})  # type: ignore[no-any-return]


class OpenVino:
    """OpenVINO model with one stream per core and one infer request per calling thread."""

    name = "openvino"

    def __init__(self, model: Path) -> None:
        import openvino

        streams = usable_cores()
        properties: dict[str, Any] = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
            "ENABLE_CPU_PINNING": False,
            # bf16, the default on processors that support it, changes scores by more than 0.01.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._compiled = openvino.Core().compile_model(str(model), "CPU", properties)
        outputs = self._compiled.outputs
        self.widths = {output.get_any_name(): output.partial_shape[-1].get_length() for output in outputs}
        self._local = threading.local()

    def run(self, ids: Ints, mask: Ints) -> list[Floats]:
        """Return the logits of a batch, one array for each output."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        outputs = request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True)
        return [outputs[i] for i in range(len(self.widths))]


def load(model: Path, engine: str = "onnxruntime") -> Engine:
    """Load the graph in the file `model`; `auto` times all installed engines and uses the fastest.

    Raises ModelError if the engine is not installed or unknown.
    """
    classes: dict[str, Callable[[Path], Engine]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}
    if engine not in ENGINES:
        raise ModelError(f"unknown engine '{engine}'; choose one of {', '.join(ENGINES)}")
    if engine != "onnxruntime" and importlib.util.find_spec("openvino") is None:
        if engine == "openvino":
            raise ModelError("the engine openvino is not installed; run: pip install 'reviews-parsing[openvino]'")
        engine = "onnxruntime"
    if engine != "auto":
        return classes[engine](model)
    return min((create(model) for create in classes.values()), key=_fastest_run)


def _fastest_run(engine: Engine) -> float:
    """Return the seconds of the fastest of a few runs."""
    ids: npt.NDArray[np.int64] = np.full(TIMING_SHAPE, 5, np.int64)
    mask = np.ones_like(ids)
    return min(timeit.repeat(lambda: engine.run(ids, mask), number=1, repeat=TIMINGS))
