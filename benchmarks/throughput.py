"""Reviews a second on the cores of this machine: the usual recipe, other tools, and the parser, on the same texts.

    python benchmarks/throughput.py [--json] [--runs 5] [--reviews 2048] [--only NAME ...] [--lengths]
                                    [--model models:/NAME@ALIAS] [--checkpoint FOLDER] [--engine onnxruntime]
                                    [--peers-python PYTHON]

Every system may use all cores, reads texts to warm up, and then takes its turn with the others, run by run.
Figures are medians. They are worth something on a machine that does nothing else: threads that wait for each other, as
torch's do, lose more to a busy one than threads that do not. Texts are reviews of the shipped corpus, the
longest left out so that a review has 27 tokens on average; slow systems read fewer of them, with the same average.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from machine import HOW, int8_peak, machine, others, versions
from peers import Job, Remote, fastest, seconds
from rich.console import Console
from rich.progress import track
from rich.table import Table

from reviews_parsing import data, registry
from reviews_parsing.cores import usable_cores
from reviews_parsing.engines import ENGINES
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.model_folder import MODEL_FILE
from reviews_parsing.parser import CHUNK_TEXTS, AspectParser
from reviews_parsing.registry.runs import fetch_file
from reviews_parsing.registry.versions import run_of
from reviews_parsing.settings import Settings
from reviews_parsing.training.backbone import EMBEDDED, load_tokenizer, resolve_backbone
from reviews_parsing.training.export import export, write_fp32
from reviews_parsing.training.fit import Recipe

MEAN_TOKENS = 27.0
# Reviews in a run: of systems that read a few a second, tens, hundreds; the rest read as many as are asked for.
CRAWLING, SLOW, MIDDLING = 16, 64, 256
WARM_UP = 256
# Words in a run over long texts.
LONG_WORDS = 24_000
LONG = {"ours-300-words": 300, "ours-3000-words": 3000}
BATCH_SIZES = (8, 32)
# Other programs' share of the machine from which figures are not to be trusted.
QUIET = 0.05
PACKAGES = ("reviews-parsing", "onnxruntime", "openvino", "tokenizers", "numpy", "torch", "transformers")


class Absent(ReviewsParsingError):
    """A system that cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class System:
    """Something that reads reviews: what it is, and how many seconds a run over `texts` takes.

    `versions` are those of another process; those of this one are the same for all.
    """

    what: str
    texts: Sequence[str]
    run: Callable[[], float]
    versions: dict[str, str]


def locate(model: str) -> tuple[Path, str | None]:
    """The model's folder, and its version where the registry knows it."""
    return registry.fetch(model) if model.startswith("models:") else (Path(model), None)


class Bench:
    """What systems are built from; `folder` is theirs to write in, `exits` ends what they start."""

    def __init__(self, options: argparse.Namespace, folder: Path, exits: ExitStack) -> None:
        self.options, self.folder, self.exits = options, folder, exits
        self.model, self.version = locate(options.model)
        self.parser = self.load(self.model)
        self._reviews = self._choose([r.text for reviews in data.read_splits("corpus").values() for r in reviews])

    def load(self, folder: Path) -> AspectParser:
        return AspectParser(folder, engine=self.options.engine)

    def _choose(self, texts: Sequence[str]) -> list[str]:
        """As many of `texts`, shortest first, as have MEAN_TOKENS tokens on average."""
        lengths = np.array([self.tokens([text]) for text in texts])
        order = np.argsort(lengths, kind="stable")
        means = np.cumsum(lengths[order]) / np.arange(1, len(order) + 1)
        return [texts[i] for i in order[: np.searchsorted(means, MEAN_TOKENS, side="right")]]

    def texts(self, most: int | None = None) -> list[str]:
        """Reviews drawn evenly from short to long, in any order: as many as are asked for, at most `most`."""
        count = min(self.options.reviews, most or self.options.reviews)
        places = (np.arange(count) + 0.5) * len(self._reviews) / count
        return [self._reviews[i] for i in np.random.default_rng(0).permutation(places.astype(int))]

    def long_texts(self, words: int) -> list[str]:
        """Texts of `words` words (by white space) each, LONG_WORDS in all."""
        stream = cycle(word for text in self.texts() for word in text.split())
        return [" ".join(islice(stream, words)) for _ in range(LONG_WORDS // words)]

    def tokens(self, texts: Sequence[str]) -> int:
        """What the champion's encoder reads of `texts`, special tokens included."""
        return self.parser.prepare(texts).tokens

    @cached_property
    def checkpoint(self) -> Path:
        """The champion's checkpoint: transformers' form of its weights. Raises Absent where it cannot be found."""
        if self.options.checkpoint:
            return Path(self.options.checkpoint)
        if self.version is None:
            raise Absent(f"{self.options.model} is a folder, so its checkpoint is not known: give --checkpoint FOLDER")
        return fetch_file(run_of(self.version), "checkpoint", self.folder)

    @cached_property
    def bert_base(self) -> Path:
        """A checkpoint with BERT-base's architecture, MiniLM's tokenizer and random weights."""
        import torch
        from transformers import BertConfig, BertForTokenClassification

        tags = dict(enumerate(self.parser.taxonomy.tags))
        torch.manual_seed(0)
        model = BertForTokenClassification(BertConfig(id2label=tags, label2id={tag: i for i, tag in tags.items()}))
        # Random weights would find an aspect in every word: most words have none.
        model.classifier.bias.data[0] = 2.0
        target = self.folder / "bert-base"
        model.save_pretrained(target)
        load_tokenizer(EMBEDDED).save_pretrained(target)
        return target

    @cached_property
    def ours_bert_base(self) -> AspectParser:
        """The parser on `bert_base`, exported like any model; few texts will do, for the scales mean nothing."""
        corpus, folder = data.read_splits("corpus"), self.folder / "ours-bert-base"
        few = corpus["train"][:16], corpus["validation"][:16]
        return self.load(export(self.bert_base, self.parser.taxonomy, Recipe(), *few, folder).folder)


def pipeline(folder: Path) -> Any:
    """The usual recipe for a model of tags."""
    import transformers

    return transformers.pipeline("token-classification", model=str(folder), aggregation_strategy="simple")


def one_by_one(what: str, folder: Path, texts: Sequence[str]) -> System:
    pipe = pipeline(folder)
    return system(f"{what}, one by one", texts, lambda texts: [pipe(text) for text in texts])


def batched(what: str, folder: Path, texts: Sequence[str]) -> System:
    pipe = pipeline(folder)

    def by(size: int) -> Callable[[Sequence[str]], object]:
        return lambda texts: pipe(list(texts), batch_size=size)

    size, read = fastest({size: by(size) for size in BATCH_SIZES}, texts)
    return system(f"{what}, batches of {size}, the better of {BATCH_SIZES}", texts, read)


def system(what: str, texts: Sequence[str], read: Callable[[Sequence[str]], object]) -> System:
    """A system of this process, warmed up."""
    read(texts[:WARM_UP])
    return System(what, texts, lambda: seconds(read, texts), {})


def parsing(what: str, parser: AspectParser, texts: Sequence[str]) -> System:
    return system(f"{what}, {parser.config.precision} on {parser.engine}", texts, parser.parse)


def encoding(what: str, parser: AspectParser, texts: Sequence[str]) -> System:
    """From token ids to logits: what `parse` does between tokenizing and decoding."""
    chunks = [parser.prepare(texts[at : at + CHUNK_TEXTS]) for at in range(0, len(texts), CHUNK_TEXTS)]
    return system(f"{what}, its encoder alone", texts, lambda _: [parser.encode(chunk) for chunk in chunks])


def fp32(bench: Bench) -> System:
    folder = bench.folder / "ours-fp32"
    write_fp32(bench.checkpoint, bench.parser.taxonomy, Recipe(), folder)
    return parsing("the parser on the champion's checkpoint", bench.load(folder), bench.texts())


def peer(name: str, most: int | None) -> Callable[[Bench], System]:
    """A tool of peers.py, in a process of its own."""

    def build(bench: Bench) -> System:
        texts = bench.texts(most)
        job = Job(texts, list(bench.parser.taxonomy.categories), resolve_backbone(EMBEDDED), usable_cores())
        try:
            remote = Remote(bench.options.peers_python, name)
        except OSError as error:
            raise Absent(f"{bench.options.peers_python} is no interpreter ({error.strerror})") from error
        bench.exits.callback(remote.close)
        told = remote.ask(json.dumps(job._asdict()))
        if "absent" in told:
            raise Absent(told["absent"])
        return System(told["note"], texts, remote.run, told["versions"])

    return build


def long(name: str) -> Callable[[Bench], System]:
    what = f"the parser on the champion, texts of {LONG[name]} words"
    return lambda bench: parsing(what, bench.parser, bench.long_texts(LONG[name]))


SYSTEMS: dict[str, Callable[[Bench], System]] = {
    "reference": lambda bench: one_by_one(
        "transformers pipeline, BERT-base with random weights, fp32", bench.bert_base, bench.texts(SLOW)
    ),
    "reference-batched": lambda bench: batched(
        "transformers pipeline, BERT-base with random weights, fp32", bench.bert_base, bench.texts(SLOW)
    ),
    "backbone": lambda bench: one_by_one(
        "transformers pipeline, the champion's checkpoint, fp32", bench.checkpoint, bench.texts(MIDDLING)
    ),
    "backbone-batched": lambda bench: batched(
        "transformers pipeline, the champion's checkpoint, fp32", bench.checkpoint, bench.texts(MIDDLING)
    ),
    "pyabsa": peer("pyabsa", CRAWLING),
    "setfit": peer("setfit", SLOW),
    "gliner": peer("gliner", SLOW),
    "spacy": peer("spacy", None),
    "ours": lambda bench: parsing("the parser on the champion", bench.parser, bench.texts()),
    "ours-openvino": lambda bench: parsing(
        "the parser on the champion", AspectParser(bench.model, engine="openvino"), bench.texts()
    ),
    "ours-encoder": lambda bench: encoding("the parser on the champion", bench.parser, bench.texts()),
    "ours-fp32": fp32,
    "ours-bert-base": lambda bench: parsing(
        "the parser on BERT-base with random weights", bench.ours_bert_base, bench.texts(MIDDLING)
    ),
    "ours-bert-base-encoder": lambda bench: encoding(
        "the parser on BERT-base with random weights", bench.ours_bert_base, bench.texts(MIDDLING)
    ),
    **{name: long(name) for name in LONG},
}


def main() -> None:
    options = arguments()
    err = Console(stderr=True)
    settle()
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as exits:
            report = measure(Bench(options, Path(folder), exits), err)
    except ReviewsParsingError as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


def settle() -> None:
    """Give torch all cores, and keep transformers to itself: that random weights are new is no news."""
    import torch
    import transformers

    torch.set_num_threads(usable_cores())
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--reviews", type=int, default=2048, help="reviews in a run of the fast systems")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="NAME")
    parser.add_argument("--lengths", dest="only", action="store_const", const=list(LONG), help="long texts only")
    parser.add_argument("--model", default=Settings().champion_uri, help="models:/NAME@ALIAS or a model folder")
    parser.add_argument("--checkpoint", help="the model's checkpoint folder; default: that of its run in the registry")
    parser.add_argument("--engine", choices=ENGINES, default=Settings().engine, help="what runs the parser's models")
    parser.add_argument("--peers-python", default=sys.executable, help="an interpreter that has the other tools")
    return parser.parse_args()


def measure(bench: Bench, err: Console) -> dict[str, Any]:
    """Everything that is printed."""
    systems: dict[str, System] = {}
    absent: dict[str, str] = {}
    for name in track(bench.options.only, "getting ready", console=err):
        try:
            systems[name] = SYSTEMS[name](bench)
        except ReviewsParsingError as error:
            absent[name] = str(error)
    taken: dict[str, list[float]] = {name: [] for name in systems}
    peaks, disturbance = [], []
    for _ in track(range(bench.options.runs), "measuring", console=err):
        disturbance.append(others())
        peaks.append(int8_peak())
        for name, system in systems.items():
            taken[name].append(system.run())
    peak = max(peaks)
    figures = {name: figures_of(bench, systems[name], taken[name]) for name in systems}
    return {
        "reviews_per_second": {name: figure["reviews_per_second"] for name, figure in figures.items()},
        **ratios(figures),
        **shares(bench, figures, peak),
        "systems": figures,
        "absent": absent,
        "int8_peak": {"gop_per_second": peak / 1e9, "how": HOW},
        "others": statistics.mean(disturbance),
        "runs": bench.options.runs,
        "model": bench.options.model,
        "version": bench.version,
        "engine": bench.parser.engine,
        "machine": machine(),
        "versions": versions(PACKAGES),
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", *sys.argv]),
    }


def figures_of(bench: Bench, system: System, taken: Sequence[float]) -> dict[str, Any]:
    """Medians over runs of `taken` seconds; the runs themselves too."""
    median = statistics.median(taken)
    reviews, tokens = len(system.texts), bench.tokens(system.texts)
    return {
        "what": system.what,
        "reviews_per_second": reviews / median,
        "reviews_per_second_per_core": reviews / median / usable_cores(),
        "tokens_per_second": tokens / median,
        "words_per_second": sum(len(text.split()) for text in system.texts) / median,
        "reviews": reviews,
        "mean_tokens": tokens / reviews,
        "seconds": list(taken),
        "versions": system.versions,
    }


def ratios(figures: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """How many times as many reviews, or words, a second; None where one of the two was not measured."""

    def ratio(name: str, other: str, figure: str = "reviews_per_second") -> float | None:
        return figures[name][figure] / figures[other][figure] if {name, other} <= figures.keys() else None

    return {
        "ratio_to_reference": ratio("ours", "reference"),
        "ratio_to_reference_batched": ratio("ours", "reference-batched"),
        "ratio_same_backbone": ratio("ours", "backbone"),
        "ratio_same_backbone_batched": ratio("ours", "backbone-batched"),
        "bert_base_ratio_to_reference": ratio("ours-bert-base", "reference"),
        "bert_base_ratio_to_reference_batched": ratio("ours-bert-base", "reference-batched"),
        "ratio_3000_to_300_words": ratio("ours-3000-words", "ours-300-words", "words_per_second"),
    }


def shares(bench: Bench, figures: dict[str, dict[str, Any]], peak: float) -> dict[str, Any]:
    """The part of the peak that goes into the encoder's linear layers: 2 operations a weight and token."""
    weights = linear_weights(bench.model / MODEL_FILE)

    def share(name: str) -> float | None:
        return 2 * weights * figures[name]["tokens_per_second"] / peak if name in figures else None

    return {"linear_weights": weights, "share_of_peak": share("ours"), "share_of_peak_encoder": share("ours-encoder")}


def linear_weights(path: Path) -> int:
    """Weights of all products with constant matrices, whether they are stored as floats or as 8-bit integers."""
    import onnx

    graph = onnx.load(path).graph
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer if len(tensor.dims) == 2}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in sizes:
            sizes[node.output[0]] = sizes[node.input[0]]
    products = [node for node in graph.node if "MatMul" in node.op_type or node.op_type == "Gemm"]
    return sum(sizes.get(name, 0) for node in products for name in node.input)


def show(report: dict[str, Any]) -> None:
    """The report as a person reads it."""
    out = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    columns = {
        "reviews/s": ("reviews_per_second", ".1f"),
        "per core": ("reviews_per_second_per_core", ".1f"),
        "tokens/s": ("tokens_per_second", ",.0f"),
        "words/s": ("words_per_second", ",.0f"),
        "reviews": ("reviews", "d"),
        "tokens each": ("mean_tokens", ".1f"),
    }
    yardsticks = {"x reference": "reference", "x backbone": "backbone", "x backbone batched": "backbone-batched"}
    rates = report["reviews_per_second"]
    table = Table(title=f"Medians of {report['runs']} runs")
    table.add_column("", no_wrap=True)
    for heading in (*columns, "all runs", *yardsticks):
        table.add_column(heading, justify="right")
    for name, figure in report["systems"].items():
        numbers = [format(figure[key], form) for key, form in columns.values()]
        slowest, best = (figure["reviews"] / extreme(figure["seconds"]) for extreme in (max, min))
        known = {} if name in LONG else rates
        times = [f"{rates[name] / known[other]:.2f}" if other in known else "" for other in yardsticks.values()]
        table.add_row(name, *numbers, f"{slowest:.1f}-{best:.1f}", *times)
    out.print(table)
    for name, figure in report["systems"].items():
        others = ", ".join(f"{package} {number}" for package, number in figure["versions"].items())
        out.print(f"[bold]{name}[/]: {figure['what']}{others and f' ({others})'}")
    for name, why in report["absent"].items():
        out.print(f"[bold]{name}[/] absent: {why}")
    out.print()
    for name, number in report.items():
        if name.startswith(("ratio", "bert_base", "share")) and number is not None:
            out.print(f"{name.replace('_', ' ')}: {number:.3f}")
    if report["others"] > QUIET:
        out.print(f"[red]other programs had {report['others']:.0%} of this machine: measure again when it is quiet[/]")
    peak, host = report["int8_peak"], report["machine"]
    out.print(f"measured int8 matrix peak: {peak['gop_per_second']:.0f} GOP/s; {peak['how']}")
    out.print(f"linear weights of the encoder: {report['linear_weights']:,}; a share of the peak counts nothing else")
    flags = ", ".join(f"{flag} {'yes' if there else 'no'}" for flag, there in host["flags"].items())
    out.print(f"{host['processor']}, {host['cores']} cores, {flags}; Python {host['python']}")
    out.print(", ".join(f"{name} {number}" for name, number in report["versions"].items()))
    model = report["model"] if report["version"] is None else f"{report['model']} (version {report['version']})"
    out.print(f"{model}, {report['date']}: {report['command']}")


if __name__ == "__main__":
    main()
