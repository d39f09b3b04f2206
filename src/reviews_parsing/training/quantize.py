"""Static int8 for an encoder in ONNX: the scales are fixed here, so no text can move the answer to another.

Each activation that meets constant weights is shifted and scaled channel by channel before it is rounded, which takes
the outlying channels of a transformer out of the way (Xiao et al., 2023, SmoothQuant; Wei et al., 2023, Outlier
Suppression+); the weights take the inverse. How far, and where to clip, is whatever least disturbs the product on
calibration texts. Weights keep 7 bits: a pair of products then fits the 16 bits that processors without VNNI add
them up in, and every processor gives the same answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from scipy.linalg import solve_triangular

Array = npt.NDArray[np.floating[Any]]

WEIGHT_LEVELS, ACTIVATION_LEVELS, TABLE_LEVELS = 63, 127.5, 127
SMOOTHING = (0.35, 0.5, 0.65, 0.8)
CLIPPING = (1.0, 0.8, 0.6, 0.4)
# Tokens that are looked at, and as many of them as choose among the scales.
TOKENS, CHOOSING = 4000, 800
# Of the rounding that makes good for itself: channels at a time, and how far from singular its matrix is kept.
BLOCK, DAMPING = 128, 0.01
# Narrower products, such as the heads', cost next to nothing and decide everything.
NARROW = 64


@dataclass(frozen=True, slots=True)
class Rounded:
    """x @ w is about `clip(round(x * scale + shift), 0, 255) @ weights * weight_scale + bias`."""

    scale: Array
    shift: Array
    weights: npt.NDArray[np.int8]
    weight_scale: Array
    bias: Array
    error: float


def quantize(source: Path, target: Path, texts: Sequence[Sequence[int]]) -> None:
    """Write `target`, the model in `source` with 8-bit products; `texts` are token ids to choose the scales by."""
    model = onnx.load(source)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    products = defaultdict(list)
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants and min(constants[node.input[1]].dims) >= NARROW:
            products[node.input[0]].append(node)
    seen = _observe(model, list(products), texts)
    for name, nodes in products.items():
        weights = [numpy_helper.to_array(constants[node.input[1]]) for node in nodes]
        rounded = _round(seen[name], np.concatenate(weights, axis=1))
        _replace(model.graph, constants, name, nodes, [w.shape[1] for w in weights], rounded)
    for node in [node for node in model.graph.node if node.op_type == "Gather"]:
        table = constants.get(node.input[0])
        if table is not None and table.data_type == onnx.TensorProto.FLOAT and min(table.dims) >= NARROW:
            _replace_table(model.graph, node, numpy_helper.to_array(table))
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, target)


def _replace_table(graph: Any, gather: Any, table: Array) -> None:
    """Hold the embedding table of a Gather in 8 bits, each row with a scale of its own, and scale the rows it takes."""
    name, ids, output = gather.input[0], gather.input[1], gather.output[0]
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / TABLE_LEVELS, 1e-12).astype(np.float32)
    for suffix, value in (("levels", np.rint(table / scale).astype(np.int8)), ("scale", scale)):
        graph.initializer.append(numpy_helper.from_array(value, f"{name}.{suffix}"))
    made = [
        helper.make_node("Gather", [f"{name}.levels", ids], [f"{output}.levels"], name=f"{output}.GatherLevels"),
        helper.make_node("Gather", [f"{name}.scale", ids], [f"{output}.scale"], name=f"{output}.GatherScale"),
        helper.make_node(
            "Cast", [f"{output}.levels"], [f"{output}.float"], name=f"{output}.Cast", to=onnx.TensorProto.FLOAT
        ),
        helper.make_node("Mul", [f"{output}.float", f"{output}.scale"], [output], name=f"{output}.Scale"),
    ]
    at = list(graph.node).index(gather)
    graph.node.remove(gather)
    for i, node in enumerate(made):
        graph.node.insert(at + i, node)


def _observe(model: Any, names: Sequence[str], texts: Sequence[Sequence[int]]) -> dict[str, Array]:
    """Rows [n, width] of each named activation, at most TOKENS of them, drawn evenly."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = [{"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)} for ids in texts]
    runs = [session.run(list(names), feed) for feed in feeds]
    rows = {}
    for i, name in enumerate(names):
        stacked = np.concatenate([run[i].reshape(-1, run[i].shape[-1]) for run in runs])
        rows[name] = stacked[:: max(1, len(stacked) // TOKENS)]
    return rows


def _round(x: Array, w: Array) -> Rounded:
    everything, x = x, x[:: max(1, len(x) // CHOOSING)]
    exact = x @ w
    low, high = x.min(axis=0), x.max(axis=0)
    middle, reach = (low + high) / 2, np.maximum((high - low) / 2, 1e-5)
    strength = np.maximum(np.abs(w).max(axis=1), 1e-5)

    def tried(smoothing: float, clipping: float) -> Rounded:
        smooth = reach**smoothing / strength ** (1 - smoothing)
        widest = float((reach / smooth).max())
        return _at(x, w, exact, middle, smooth * (widest * clipping / ACTIVATION_LEVELS))

    smoothing = min(SMOOTHING, key=lambda smoothing: tried(smoothing, 1.0).error)
    best = min((tried(smoothing, clipping) for clipping in CLIPPING), key=lambda rounded: rounded.error)
    return _feed_errors_forward(everything, w, best)


def _at(x: Array, w: Array, exact: Array, middle: Array, step: Array) -> Rounded:
    scale, shift = 1 / step, 127.5 - middle / step
    levels = np.clip(np.rint(x * scale + shift), 0, 255)
    scaled = w * step[:, None]
    weight_scale = np.maximum(np.abs(scaled).max(axis=0) / WEIGHT_LEVELS, 1e-12)
    weights = np.rint(scaled / weight_scale)
    found = (levels @ weights) * weight_scale
    bias = (exact - found).mean(axis=0)
    error = float(np.square(exact - found - bias).mean())
    return Rounded(scale, shift, weights.astype(np.int8), weight_scale, bias, error)


def _feed_errors_forward(x: Array, w: Array, rounded: Rounded) -> Rounded:
    """The same scales, the weights rounded one input channel after the other, each making good for those before it.

    Frantar et al. (2023), GPTQ.
    """
    levels = np.clip(np.rint(x * rounded.scale + rounded.shift), 0, 255)
    centred = levels - levels.mean(axis=0)
    curvature = centred.T @ centred
    curvature[np.diag_indices_from(curvature)] += DAMPING * np.diag(curvature).mean()
    # The upper factor of the inverse, from the lower factor of the matrix turned round.
    turned = np.linalg.cholesky(curvature[::-1, ::-1])[::-1, ::-1]
    forward = solve_triangular(turned, np.eye(len(w), dtype=turned.dtype), check_finite=False)
    remaining = (w / rounded.scale[:, None]) / rounded.weight_scale
    weights = np.empty_like(remaining)
    for start in range(0, len(w), BLOCK):
        stop = min(start + BLOCK, len(w))
        errors = np.empty((stop - start, w.shape[1]))
        for row in range(start, stop):
            weights[row] = np.clip(np.rint(remaining[row]), -WEIGHT_LEVELS, WEIGHT_LEVELS)
            errors[row - start] = (remaining[row] - weights[row]) / forward[row, row]
            remaining[row:stop] -= np.outer(forward[row, row:stop], errors[row - start])
        remaining[stop:] -= forward[start:stop, stop:].T @ errors
    left = x @ w - (levels @ weights) * rounded.weight_scale
    bias = left.mean(axis=0)
    return replace(rounded, weights=weights.astype(np.int8), bias=bias, error=float(np.square(left - bias).mean()))


def _replace(
    graph: Any, constants: dict[str, Any], name: str, nodes: Sequence[Any], widths: Sequence[int], rounded: Rounded
) -> None:
    """Put one product between QuantizeLinear and DequantizeLinear, which any engine knows, in place of all of `name`.

    The biases that follow the products become one with the correction.
    """
    made: list[Any] = []

    def constant(suffix: str, value: npt.NDArray[Any]) -> str:
        graph.initializer.append(numpy_helper.from_array(value, f"{name}.{suffix}"))
        return f"{name}.{suffix}"

    def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        made.append(helper.make_node(kind, inputs, outputs, name=f"{name}.{kind}{len(made)}", **attributes))
        return outputs[0]

    outputs, biases, gone = [], [], list(nodes)
    for product, width in zip(nodes, widths, strict=True):
        readers = [reader for reader in graph.node if product.output[0] in reader.input]
        fixed = [i for i in readers[0].input if i in constants] if readers[0].op_type == "Add" else []
        alone = len(readers) == 1 and len(fixed) == 1 and list(constants[fixed[0]].dims) == [width]
        outputs.append(readers[0].output[0] if alone else product.output[0])
        biases.append(numpy_helper.to_array(constants[fixed[0]]) if alone else np.zeros(width, np.float32))
        gone += readers if alone else []
    one, zero = constant("one", np.array(1, np.float32)), constant("zero", np.array(0, np.uint8))
    scaled = node("Mul", [name, constant("scale", rounded.scale)], [f"{name}.scaled"])
    shifted = node("Add", [scaled, constant("shift", rounded.shift)], [f"{name}.shifted"])
    levels = node("QuantizeLinear", [shifted, one, zero], [f"{name}.levels"])
    x = node("DequantizeLinear", [levels, one, zero], [f"{name}.x"])
    values = constant("weights", rounded.weights)
    scales = constant("weight_scale", rounded.weight_scale)
    zeros = constant("weight_zero", np.zeros(sum(widths), np.int8))
    w = node("DequantizeLinear", [values, scales, zeros], [f"{name}.w"], axis=1)
    product = node("MatMul", [x, w], [f"{name}.product"])
    bias = constant("bias", rounded.bias + np.concatenate(biases))
    if len(nodes) == 1:
        node("Add", [product, bias], outputs)
    else:
        total = node("Add", [product, bias], [f"{name}.sum"])
        node("Split", [total, constant("widths", np.array(widths, np.int64))], outputs, axis=-1)
    at = min(list(graph.node).index(product) for product in nodes)
    for old in gone:
        graph.node.remove(old)
    for i, new in enumerate(made):
        graph.node.insert(at + i, new)
