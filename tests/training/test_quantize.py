"""Static int8 quantization: close to fp32 despite outliers, and independent of the batch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from reviews_parsing.training.quantize import quantize

WIDTH = 96


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write a network with outlier channels, three products of one activation and a narrow head, in fp32 and int8."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(50, WIDTH)).astype(np.float32)
    table[:, 7] = 40 + 5 * rng.normal(size=50)  # outlier channels, as in transformers
    table[:, 31] *= 25
    arrays: dict[str, np.ndarray] = {"table": table}
    for name in ("q", "k", "v", "up"):
        arrays[name] = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 10
        arrays[f"{name}.bias"] = rng.normal(size=WIDTH).astype(np.float32)
    arrays["head"] = rng.normal(size=(WIDTH, 5)).astype(np.float32) / 10
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["x"])]
    for name, operand in (("q", "x"), ("k", "x"), ("v", "x"), ("up", "mixed")):
        nodes.append(helper.make_node("MatMul", [operand, name], [f"{name}.raw"]))
        nodes.append(helper.make_node("Add", [f"{name}.raw", f"{name}.bias"], [f"{name}.out"]))
        if name == "v":
            nodes.append(helper.make_node("Max", ["q.out", "k.out", "v.out"], ["mixed"]))
    nodes += [helper.make_node("Relu", ["up.out"], ["act"]), helper.make_node("MatMul", ["act", "head"], ["logits"])]
    shapes = [("input_ids", TensorProto.INT64), ("attention_mask", TensorProto.INT64)]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, kind, ["batch", "tokens"]) for name, kind in shapes],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "tokens", 5])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    folder = tmp_path_factory.mktemp("quantize")
    source, target = folder / "fp32.onnx", folder / "int8.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    quantize(source, target, [rng.integers(0, 50, 20).tolist() for _ in range(40)])
    return source, target


def run(model: Path, ids: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    return logits


def test_int8_is_close_to_fp32_despite_outlier_channels(models: tuple[Path, Path]) -> None:
    ids = np.random.default_rng(1).integers(0, 50, (8, 30))
    exact, rounded = (run(model, ids) for model in models)
    assert np.abs(exact - rounded).mean() < 0.02 * np.abs(exact).mean()


def test_wide_products_are_quantized_and_those_of_one_activation_merged(models: tuple[Path, Path]) -> None:
    model = onnx.load(models[1])
    onnx.checker.check_model(model)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert (kinds["MatMul"], kinds["QuantizeLinear"], kinds["Split"]) == (3, 2, 1)
    weights = [numpy_helper.to_array(t) for t in model.graph.initializer if t.name.endswith(".weights")]
    assert [w.dtype for w in weights] == [np.int8] * 2
    assert max(int(np.abs(w).max()) for w in weights) <= 63
    assert all(t.dims != [WIDTH, WIDTH] or t.data_type == TensorProto.INT8 for t in model.graph.initializer)


def test_answers_do_not_depend_on_the_batch(models: tuple[Path, Path]) -> None:
    ids = np.random.default_rng(2).integers(0, 50, (16, 24))
    batch = run(models[1], ids)
    assert all(np.array_equal(run(models[1], row[None])[0], batch[i]) for i, row in enumerate(ids))
