"""Measure what the parts of the int8 graph cost: the same graph without one part, and without several.

    python benchmarks/graph_parts.py [--json] [--runs 9] [--model pretrained] [--rows 16] [--tokens 32]

The variants answer nonsense in the same shapes. Their times are bounds: a faster way of computing a part saves at most
what the graph without the part saves. Runs are interleaved, on one thread, medians; the ratio is to the whole graph of
the same engine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from machine import argument_parser, machine, print_table
from rich.console import Console
from rich.progress import track
from rich.table import Table

from reviews_parsing import engines, registry
from reviews_parsing.model_folder import MODEL_FILE

# Runs of the graph in a timing, and untimed ones before.
REPEATS, WARM_UP = 10, 3


def main() -> None:
    options = parse_arguments()
    report = measure(options)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--runs", type=int, default=9, help="number of timings of which the median is reported")
    parser.add_argument("--model", default="pretrained", help="int8 model: models:/NAME@ALIAS, pretrained or a folder")
    parser.add_argument("--rows", type=int, default=16, help="texts in a run")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of a text")
    return parser.parse_args()


def bypass(graph: Any, is_part: Callable[[Any], bool]) -> None:
    """Remove the nodes that are a part: readers of their output read their first input instead."""
    for node in [node for node in graph.node if is_part(node)]:
        for other in graph.node:
            for i, name in enumerate(other.input):
                if name == node.output[0]:
                    other.input[i] = node.input[0]
        graph.node.remove(node)


def without_scales(graph: Any) -> None:
    """Remove the scaling and shifting of channels before quantization."""
    bypass(graph, lambda node: node.output[0].endswith((".scaled", ".shifted")))


def without_activation(graph: Any) -> None:
    """Remove the activation of the feed-forward parts."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name.endswith("intermediate_act_fn/Mul_1_output_0"):
                node.input[i] = name.replace("intermediate_act_fn/Mul_1_output_0", "dense/Add_output_0")


def without_attention(graph: Any) -> None:
    """Let tokens attend to themselves alone: the values go on to the next product."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name.endswith("attention/self/Reshape_3_output_0"):
                node.input[i] = name.replace("Reshape_3_output_0", "value/Add_output_0")


def without_norms(graph: Any) -> None:
    """Remove residual sums and layer norms."""
    bypass(graph, lambda node: node.op_type == "LayerNormalization")
    bypass(graph, lambda node: node.output[0].endswith("output/Add_output_0"))


PARTS: dict[str, list[Callable[[Any], None]]] = {
    "whole": [],
    "without scales and shifts": [without_scales],
    "without activation": [without_activation],
    "without residual sums and norms": [without_norms],
    "without attention": [without_attention],
    "products and quantization alone": [without_scales, without_activation, without_norms, without_attention],
}


def write_variants(source: Path, folder: Path) -> dict[str, Path]:
    """Write the graph without each of the parts."""
    paths = {}
    for number, (name, changes) in enumerate(PARTS.items()):
        model = onnx.load(source)
        for change in changes:
            change(model.graph)
        remove_unused(model.graph)
        paths[name] = folder / f"{number}.onnx"
        onnx.save(model, paths[name])
    return paths


def remove_unused(graph: Any) -> None:
    """Remove constants that no node reads, about which the engines would warn."""
    inputs = {name for node in graph.node for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in inputs]
    del graph.initializer[:]
    graph.initializer.extend(initializers)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time all variants in both engines."""
    folder, _ = registry.locate(options.model)
    rng = np.random.default_rng(0)
    ids = rng.integers(1000, 20_000, (options.rows, options.tokens))
    mask = np.ones_like(ids)
    names = [name for name in engines.ENGINES if name != "auto"]
    with tempfile.TemporaryDirectory() as scratch:
        variants = write_variants(folder / MODEL_FILE, Path(scratch))
        loaded = {(name, engine): engines.load(path, engine) for name, path in variants.items() for engine in names}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in loaded}
    for run in track(range(options.runs + WARM_UP), "measuring", console=Console(stderr=True)):
        for key, engine in loaded.items():
            duration = timeit.timeit(partial(engine.run, ids, mask), number=REPEATS)
            if run >= WARM_UP:
                times[key].append(duration / REPEATS)
    milliseconds = {key: 1000 * statistics.median(values) for key, values in times.items()}
    return {
        "variants": {
            name: {
                engine: {
                    "ms": milliseconds[name, engine],
                    "ratio": milliseconds["whole", engine] / milliseconds[name, engine],
                }
                for engine in names
            }
            for name in PARTS
        },
        "rows": options.rows,
        "tokens": options.tokens,
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def show(report: dict[str, Any]) -> None:
    """Print a table."""
    names = list(next(iter(report["variants"].values())))
    table = Table("", *(f"{name}, {unit}" for name in names for unit in ("ms", "times as fast")))
    for name, figures in report["variants"].items():
        table.add_row(name, *(f"{figures[e][k]:.2f}" for e in names for k in ("ms", "ratio")))
    print_table(table)
    print(f"{report['rows']} texts of {report['tokens']} tokens on one thread, {report['date']}")
    print(f"{report['machine']['processor']}, {report['machine']['cores']} cores")


if __name__ == "__main__":
    main()
