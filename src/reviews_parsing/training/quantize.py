"""Static int8 quantization of an encoder in ONNX; scales are constants, so batches do not change answers.

Activations before constant weights are shifted and scaled by channel before rounding, because some channels of
transformers are outliers (Xiao et al., 2023, SmoothQuant; Wei et al., 2023, Outlier Suppression+); the weights absorb
the inverse scale. Smoothing strength and clipping minimise the error of the product on calibration texts. Weights have
7 bits: sums of two products then fit into 16 bits on processors without VNNI, and all processors give the same answer.
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
# Levels of a table in 4 bits, and what is added to them for storage.
SMALL_TABLE_LEVELS, SMALL_TABLE_OFFSET = 7, 8
SMOOTHING = (0.35, 0.5, 0.65, 0.8)
CLIPPING = (1.0, 0.8, 0.6, 0.4)
# Calibration tokens for the rounding of weights, and for the search of scales.
ROUNDING_TOKENS, SCALE_TOKENS = 4000, 800
# GPTQ: channels per block, and damping of the Hessian's diagonal.
BLOCK_CHANNELS, DAMPING = 128, 0.01
# Narrower products, such as those of heads, stay fp32: they are cheap and sensitive.
MIN_WIDTH = 64


@dataclass(frozen=True, slots=True)
class QuantizedProduct:
    """Approximation of x @ w by `clip(round(x * scale + shift), 0, 255) @ weights * weight_scale + bias`."""

    scale: Array
    shift: Array
    weights: npt.NDArray[np.int8]
    weight_scale: Array
    bias: Array
    error: float


def quantize(source: Path, target: Path, texts: Sequence[Sequence[int]]) -> None:
    """Write the model `source` with 8-bit products to `target`; `texts` are token ids for calibration."""
    model = onnx.load(source)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    products = defaultdict(list)
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants and min(constants[node.input[1]].dims) >= MIN_WIDTH:
            products[node.input[0]].append(node)
    activations = _observe(model, list(products), texts)
    for name, nodes in products.items():
        weights = [numpy_helper.to_array(constants[node.input[1]]) for node in nodes]
        quantized = _quantize_product(activations[name], np.concatenate(weights, axis=1))
        _replace_products(model.graph, constants, name, nodes, [w.shape[1] for w in weights], quantized)
    for node in [node for node in model.graph.node if node.op_type == "Gather"]:
        table = constants.get(node.input[0])
        if table is not None and table.data_type == onnx.TensorProto.FLOAT and min(table.dims) >= MIN_WIDTH:
            _replace_table(model.graph, node, numpy_helper.to_array(table))
    inputs = {name for node in model.graph.node for name in node.input}
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in inputs]
    del model.graph.initializer[:]
    model.graph.initializer.extend(initializers)
    onnx.save(model, target)


def round_rows(table: Array, levels: int) -> tuple[Array, Array]:
    """Return integers in [-levels, levels] of the shape of `table`, and the scale of each row, of shape [rows, 1]."""
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / levels, 1e-12).astype(np.float32)
    return np.rint(table / scale), scale


def _replace_table(graph: Any, gather: Any, table: Array) -> None:
    """Store the embedding table of a Gather with a scale per row, and scale the gathered rows.

    A table whose values are already rounded to 4 bits (`compression`) is stored in 4 bits, any other in 8.
    """
    name, ids, output = gather.input[0], gather.input[1], gather.output[0]
    levels, scale = round_rows(table, SMALL_TABLE_LEVELS)
    is_small = table.shape[1] % 2 == 0 and np.allclose(levels * scale, table, rtol=1e-5, atol=1e-8)
    if not is_small:
        levels, scale = round_rows(table, TABLE_LEVELS)
    stored = _pack(levels) if is_small else levels.astype(np.int8)
    for suffix, value in (("levels", stored), ("scale", scale)):
        graph.initializer.append(numpy_helper.from_array(value, f"{name}.{suffix}"))
    number = f"{output}.float"
    nodes = [
        helper.make_node("Gather", [f"{name}.levels", ids], [f"{output}.levels"], name=f"{output}.GatherLevels"),
        helper.make_node("Gather", [f"{name}.scale", ids], [f"{output}.scale"], name=f"{output}.GatherScale"),
        helper.make_node("Cast", [f"{output}.levels"], [number], name=f"{output}.Cast", to=onnx.TensorProto.FLOAT),
        *(_unpack(graph, number, f"{output}.unpacked") if is_small else ()),
        helper.make_node(
            "Mul", [f"{output}.unpacked" if is_small else number, f"{output}.scale"], [output], name=f"{output}.Scale"
        ),
    ]
    _replace_nodes(graph, [gather], nodes)


def _pack(levels: Array) -> npt.NDArray[np.uint8]:
    """Return bytes with a level of the first half of the columns in the high bits, of the second in the low bits."""
    high, low = np.split((levels + SMALL_TABLE_OFFSET).astype(np.uint8), 2, axis=1)
    return high * 16 + low


def _unpack(graph: Any, packed: str, output: str) -> list[Any]:
    """Return the nodes that turn bytes (as floats) of `_pack` into levels; they are operators of every engine."""
    for name, value in (("sixteenth", 1 / 16), ("sixteen", 16), ("offset", SMALL_TABLE_OFFSET)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"{output}.{name}"))

    def node(operator: str, inputs: Sequence[str], result: str, **attributes: int) -> Any:
        return helper.make_node(operator, inputs, [result], name=f"{result}.{operator}", **attributes)

    return [
        node("Mul", [packed, f"{output}.sixteenth"], f"{output}.quotient"),
        node("Floor", [f"{output}.quotient"], f"{output}.high"),
        node("Mul", [f"{output}.high", f"{output}.sixteen"], f"{output}.multiple"),
        node("Sub", [packed, f"{output}.multiple"], f"{output}.low"),
        node("Concat", [f"{output}.high", f"{output}.low"], f"{output}.both", axis=-1),
        node("Sub", [f"{output}.both", f"{output}.offset"], output),
    ]


def _replace_nodes(graph: Any, old_nodes: Sequence[Any], new_nodes: Sequence[Any]) -> None:
    """Replace `old_nodes` by `new_nodes` at the position of the first of them."""
    position = min(list(graph.node).index(node) for node in old_nodes)
    for node in old_nodes:
        graph.node.remove(node)
    for i, node in enumerate(new_nodes):
        graph.node.insert(position + i, node)


def _observe(model: Any, names: Sequence[str], texts: Sequence[Sequence[int]]) -> dict[str, Array]:
    """Return rows [n, width] of each named activation, an even sample of about ROUNDING_TOKENS."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = [{"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)} for ids in texts]
    runs = [session.run(list(names), feed) for feed in feeds]
    rows = {}
    for i, name in enumerate(names):
        stacked = np.concatenate([run[i].reshape(-1, run[i].shape[-1]) for run in runs])
        rows[name] = stacked[:: max(1, len(stacked) // ROUNDING_TOKENS)]
    return rows


def _quantize_product(x: Array, w: Array) -> QuantizedProduct:
    """Choose smoothing and clipping by grid search, then round the weights with error compensation."""
    sample = x[:: max(1, len(x) // SCALE_TOKENS)]
    exact = sample @ w
    low, high = sample.min(axis=0), sample.max(axis=0)
    middle, ranges = (low + high) / 2, np.maximum((high - low) / 2, 1e-5)
    weight_ranges = np.maximum(np.abs(w).max(axis=1), 1e-5)

    def candidate(smoothing: float, clipping: float) -> QuantizedProduct:
        smooth = ranges**smoothing / weight_ranges ** (1 - smoothing)
        widest = float((ranges / smooth).max())
        return _round_to_nearest(sample, w, exact, middle, smooth * (widest * clipping / ACTIVATION_LEVELS))

    smoothing = min(SMOOTHING, key=lambda smoothing: candidate(smoothing, 1.0).error)
    best = min((candidate(smoothing, clipping) for clipping in CLIPPING), key=lambda product: product.error)
    return _compensate_errors(x, w, best)


def _round_to_nearest(x: Array, w: Array, exact: Array, middle: Array, step: Array) -> QuantizedProduct:
    scale, shift = 1 / step, 127.5 - middle / step
    levels = np.clip(np.rint(x * scale + shift), 0, 255)
    scaled = w * step[:, None]
    weight_scale = np.maximum(np.abs(scaled).max(axis=0) / WEIGHT_LEVELS, 1e-12)
    weights = np.rint(scaled / weight_scale)
    product = (levels @ weights) * weight_scale
    bias = (exact - product).mean(axis=0)
    error = float(np.square(exact - product - bias).mean())
    return QuantizedProduct(scale, shift, weights.astype(np.int8), weight_scale, bias, error)


def _compensate_errors(x: Array, w: Array, rounded: QuantizedProduct) -> QuantizedProduct:
    """Round the weights anew with the same scales, channel by channel, each compensating the errors of earlier ones.

    GPTQ (Frantar et al., 2023).
    """
    levels = np.clip(np.rint(x * rounded.scale + rounded.shift), 0, 255)
    centred = levels - levels.mean(axis=0)
    hessian = centred.T @ centred
    hessian[np.diag_indices_from(hessian)] += DAMPING * np.diag(hessian).mean()
    # The upper Cholesky factor of the inverse, from the lower factor of the reversed matrix.
    reversed_factor = np.linalg.cholesky(hessian[::-1, ::-1])[::-1, ::-1]
    forward = solve_triangular(reversed_factor, np.eye(len(w), dtype=reversed_factor.dtype), check_finite=False)
    remaining = (w / rounded.scale[:, None]) / rounded.weight_scale
    weights = np.empty_like(remaining)
    for start in range(0, len(w), BLOCK_CHANNELS):
        stop = min(start + BLOCK_CHANNELS, len(w))
        errors = np.empty((stop - start, w.shape[1]))
        for row in range(start, stop):
            weights[row] = np.clip(np.rint(remaining[row]), -WEIGHT_LEVELS, WEIGHT_LEVELS)
            errors[row - start] = (remaining[row] - weights[row]) / forward[row, row]
            remaining[row:stop] -= np.outer(forward[row, row:stop], errors[row - start])
        remaining[stop:] -= forward[start:stop, stop:].T @ errors
    residual = x @ w - (levels @ weights) * rounded.weight_scale
    bias = residual.mean(axis=0)
    return replace(rounded, weights=weights.astype(np.int8), bias=bias, error=float(np.square(residual - bias).mean()))


def _replace_products(
    graph: Any,
    constants: dict[str, Any],
    name: str,
    nodes: Sequence[Any],
    widths: Sequence[int],
    quantized: QuantizedProduct,
) -> None:
    """Replace the products `nodes` of the activation `name` by one, between QuantizeLinear and DequantizeLinear.

    Biases that are added to the products are merged with the correction bias.
    """
    new_nodes: list[Any] = []

    def constant(suffix: str, value: npt.NDArray[Any]) -> str:
        graph.initializer.append(numpy_helper.from_array(value, f"{name}.{suffix}"))
        return f"{name}.{suffix}"

    def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        new_nodes.append(helper.make_node(kind, inputs, outputs, name=f"{name}.{kind}{len(new_nodes)}", **attributes))
        return outputs[0]

    outputs, biases, old_nodes = [], [], list(nodes)
    for product, width in zip(nodes, widths, strict=True):
        consumers = [consumer for consumer in graph.node if product.output[0] in consumer.input]
        bias_names = [i for i in consumers[0].input if i in constants] if consumers[0].op_type == "Add" else []
        has_bias = len(consumers) == 1 and len(bias_names) == 1 and list(constants[bias_names[0]].dims) == [width]
        outputs.append(consumers[0].output[0] if has_bias else product.output[0])
        biases.append(numpy_helper.to_array(constants[bias_names[0]]) if has_bias else np.zeros(width, np.float32))
        old_nodes += consumers if has_bias else []
    unit, zero = constant("one", np.array(1, np.float32)), constant("zero", np.array(0, np.uint8))
    scaled = node("Mul", [name, constant("scale", quantized.scale)], [f"{name}.scaled"])
    shifted = node("Add", [scaled, constant("shift", quantized.shift)], [f"{name}.shifted"])
    levels = node("QuantizeLinear", [shifted, unit, zero], [f"{name}.levels"])
    x = node("DequantizeLinear", [levels, unit, zero], [f"{name}.x"])
    values = constant("weights", quantized.weights)
    scales = constant("weight_scale", quantized.weight_scale)
    zeros = constant("weight_zero", np.zeros(sum(widths), np.int8))
    w = node("DequantizeLinear", [values, scales, zeros], [f"{name}.w"], axis=1)
    product = node("MatMul", [x, w], [f"{name}.product"])
    bias = constant("bias", quantized.bias + np.concatenate(biases))
    if len(nodes) == 1:
        node("Add", [product, bias], outputs)
    else:
        total = node("Add", [product, bias], [f"{name}.sum"])
        node("Split", [total, constant("widths", np.array(widths, np.int64))], outputs, axis=-1)
    _replace_nodes(graph, old_nodes, new_nodes)
