"""Measure reviews per second of the parser, the usual recipe with transformers, and other tools, on the same texts.

    python benchmarks/throughput.py [--json] [--runs 5] [--reviews 2048] [--only NAME ...] [--lengths]
                                    [--model models:/NAME@ALIAS] [--checkpoint FOLDER] [--engine onnxruntime]
                                    [--peers-python PYTHON]

Each system may use all cores and is warmed up; runs are interleaved, and figures are medians. The machine should be
idle: other programs slow down systems whose threads wait for each other, such as torch, more than the parser. Texts are
reviews of the corpus without the longest, 27 tokens on average; slow systems parse fewer texts with the same average.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from machine import HOW, argument_parser, background_load, int8_peak, machine, versions
from peers import PeerJob, PeerProcess, fastest, seconds
from rich.console import Console
from rich.progress import track
from rich.table import Table

from reviews_parsing import data, pretrained, registry
from reviews_parsing.cores import usable_cores
from reviews_parsing.engines import ENGINES
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.model_folder import MODEL_FILE
from reviews_parsing.parser import CHUNK_TEXTS, AspectParser
from reviews_parsing.registry.runs import fetch_file
from reviews_parsing.registry.versions import run_of
from reviews_parsing.settings import Settings
from reviews_parsing.training.backbone import EMBEDDED, WEIGHTS, build_tagger, inherit, load_tokenizer, resolve_backbone
from reviews_parsing.training.evaluate import evaluate
from reviews_parsing.training.export import export, write_fp32
from reviews_parsing.training.fit import Recipe

MEAN_TOKENS = 27.0
# Maximum number of reviews in a run, by the speed of the system.
VERY_SLOW, SLOW, MEDIUM = 16, 64, 256
WARM_UP_TEXTS = 256
# Total number of words in a run over long texts.
LONG_WORDS = 24_000
LONG = {"ours-300-words": 300, "ours-3000-words": 3000}
BATCH_SIZES = (8, 32)
# Maximum load of other programs for reliable figures.
MAX_LOAD = 0.05
PACKAGES = ("reviews-parsing", "onnxruntime", "openvino", "tokenizers", "numpy", "torch", "transformers")


# List price on demand (us-east-1, November 2026) of a machine with two cores like those of the measurements.
MACHINE, DOLLARS_AN_HOUR = "AWS c7a.large", 0.1026
# List prices in dollars for a million tokens of prompt and of answer, November 2026: platform.claude.com/docs.
LANGUAGE_MODELS = {"Claude Haiku 5.5": (0.1, 0.5), "Claude Sonnet 5.5": (2.0, 10.0)}
# Tokens of the instructions with a short review, and of an answer with two aspects in JSON.
PROMPT_TOKENS, ANSWER_TOKENS = 450, 120
F1 = ("span", "aggregated", "with_polarity")


class SystemUnavailable(ReviewsParsingError):
    """Error for a system that cannot be measured here."""


@dataclass(frozen=True, slots=True)
class System:
    """Description of a system, its texts, and a function that returns the seconds of a run.

    `versions` are those of another process, if any. `model` is the folder or file of its model, and `parser` the parser
    on trained weights, if it is one.
    """

    description: str
    texts: Sequence[str]
    run: Callable[[], float]
    versions: dict[str, str]
    model: Path | None = None
    parser: AspectParser | None = None


class Bench:
    """Shared inputs of the systems: models, texts, a scratch folder, and an exit stack for their processes."""

    def __init__(self, options: argparse.Namespace, folder: Path, exits: ExitStack) -> None:
        self.options, self.folder, self.exits = options, folder, exits
        self.model, self.version = registry.locate(options.model)
        self.parser = self.load(self.model)
        self._reviews = self._select([r.text for reviews in data.read_splits("corpus").values() for r in reviews])

    def load(self, folder: Path) -> AspectParser:
        """Load a model folder with the chosen engine."""
        return AspectParser(folder, engine=self.options.engine)

    def _select(self, texts: Sequence[str]) -> list[str]:
        """Return the shortest texts, as many as have MEAN_TOKENS tokens on average."""
        lengths = np.array([self.tokens([text]) for text in texts])
        order = np.argsort(lengths, kind="stable")
        means = np.cumsum(lengths[order]) / np.arange(1, len(order) + 1)
        return [texts[i] for i in order[: np.searchsorted(means, MEAN_TOKENS, side="right")]]

    def texts(self, max_count: int | None = None) -> list[str]:
        """Return an even sample of reviews by length, in random order: --reviews, but at most `max_count`."""
        count = min(self.options.reviews, max_count or self.options.reviews)
        indices = (np.arange(count) + 0.5) * len(self._reviews) / count
        return [self._reviews[i] for i in np.random.default_rng(0).permutation(indices.astype(int))]

    def long_texts(self, words: int) -> list[str]:
        """Return texts of `words` words (separated by white space), LONG_WORDS in total."""
        stream = cycle(word for text in self.texts() for word in text.split())
        return [" ".join(islice(stream, words)) for _ in range(LONG_WORDS // words)]

    def tokens(self, texts: Sequence[str]) -> int:
        """Return the number of encoder tokens of `texts`, including special tokens."""
        return self.parser.prepare(texts).tokens

    @cached_property
    def checkpoint(self) -> Path:
        """Checkpoint of the champion. Raises SystemUnavailable if it is unknown."""
        if self.options.checkpoint:
            return Path(self.options.checkpoint)
        if self.version == pretrained.NAME:
            return self._whole_checkpoint()
        if self.version is None:
            raise SystemUnavailable(f"{self.options.model} is a folder without checkpoint: give --checkpoint FOLDER")
        return fetch_file(run_of(self.version), "checkpoint", self.folder)

    def _whole_checkpoint(self) -> Path:
        """Write the pretrained checkpoint with its embeddings, which are the backbone's."""
        tagger = build_tagger(EMBEDDED, self.parser.taxonomy)
        inherit(tagger, pretrained.checkpoint())
        target = self.folder / "pretrained-checkpoint"
        tagger.save_pretrained(target)
        load_tokenizer(EMBEDDED).save_pretrained(target)
        return target

    @cached_property
    def bert_base(self) -> Path:
        """Checkpoint with the architecture of BERT-base, the tokenizer of MiniLM and random weights."""
        import torch
        from transformers import BertConfig, BertForTokenClassification

        tags = dict(enumerate(self.parser.taxonomy.tags))
        torch.manual_seed(0)
        model = BertForTokenClassification(BertConfig(id2label=tags, label2id={tag: i for i, tag in tags.items()}))
        # The bias makes most words O, as in reviews; random weights would predict an aspect at each word.
        model.classifier.bias.data[0] = 2.0
        target = self.folder / "bert-base"
        model.save_pretrained(target)
        load_tokenizer(EMBEDDED).save_pretrained(target)
        return target

    @cached_property
    def ours_bert_base(self) -> AspectParser:
        """Parser on `bert_base`, exported with few texts, since its scales are meaningless."""
        corpus, folder = data.read_splits("corpus"), self.folder / "ours-bert-base"
        samples = corpus["train"][:16], corpus["validation"][:16]
        return self.load(export(self.bert_base, self.parser.taxonomy, Recipe(), *samples, folder).folder)


def pipeline(folder: Path) -> Any:
    """Return the token-classification pipeline of transformers for a checkpoint."""
    import transformers

    return transformers.pipeline("token-classification", model=str(folder), aggregation_strategy="simple")


def pipeline_system(description: str, folder: Path, texts: Sequence[str], batched: bool) -> System:
    """Return a pipeline that parses texts one by one, or in batches of the faster of BATCH_SIZES."""
    pipe = pipeline(folder)
    model = folder / WEIGHTS
    if not batched:
        one_by_one = local_system(f"{description}, one by one", texts, lambda texts: [pipe(text) for text in texts])
        return replace(one_by_one, model=model)

    def in_batches(size: int) -> Callable[[Sequence[str]], object]:
        return lambda texts: pipe(list(texts), batch_size=size)

    size, read = fastest({size: in_batches(size) for size in BATCH_SIZES}, texts)
    batches = local_system(f"{description}, batches of {size}, the better of {BATCH_SIZES}", texts, read)
    return replace(batches, model=model)


def local_system(description: str, texts: Sequence[str], read: Callable[[Sequence[str]], object]) -> System:
    """Return a warmed-up system of this process."""
    read(texts[:WARM_UP_TEXTS])
    return System(description, texts, lambda: seconds(read, texts), {})


def parser_system(
    description: str, parser: AspectParser, texts: Sequence[str], folder: Path, trained: bool = True
) -> System:
    """Return a system that parses texts with the model in `folder`."""
    system = local_system(f"{description}, {parser.config.precision} on {parser.engine}", texts, parser.parse)
    return replace(system, model=folder, parser=parser if trained else None)


def encoder_system(description: str, parser: AspectParser, texts: Sequence[str]) -> System:
    """Return a system that computes logits from token ids, without tokenizing and decoding."""
    chunks = [parser.prepare(texts[i : i + CHUNK_TEXTS]) for i in range(0, len(texts), CHUNK_TEXTS)]
    return local_system(f"{description}, its encoder alone", texts, lambda _: [parser.encode(c) for c in chunks])


def fp32_system(bench: Bench) -> System:
    """Return the parser on the champion's checkpoint in fp32."""
    folder = bench.folder / "ours-fp32"
    write_fp32(bench.checkpoint, bench.parser.taxonomy, Recipe(), folder)
    return parser_system("the parser on the champion's checkpoint", bench.load(folder), bench.texts(), folder)


def fast_system(bench: Bench) -> System:
    """Return the parser on the smaller model of the package."""
    folder = pretrained.model_folder(pretrained.FAST_NAME)
    return parser_system(f"the parser on {pretrained.FAST_NAME}", bench.load(folder), bench.texts(), folder)


def peer_system(name: str, max_texts: int | None) -> Callable[[Bench], System]:
    """Return a builder for a tool of peers.py, which runs in its own process."""

    def build(bench: Bench) -> System:
        texts = bench.texts(max_texts)
        job = PeerJob(texts, list(bench.parser.taxonomy.categories), resolve_backbone(EMBEDDED), usable_cores())
        try:
            process = PeerProcess(bench.options.peers_python, name)
        except OSError as error:
            raise SystemUnavailable(f"{bench.options.peers_python} is not an interpreter ({error.strerror})") from error
        bench.exits.callback(process.close)
        reply = process.ask(json.dumps(job._asdict()))
        if "absent" in reply:
            raise SystemUnavailable(reply["absent"])
        return System(reply["note"], texts, process.run, reply["versions"])

    return build


def long_text_system(name: str) -> Callable[[Bench], System]:
    """Return a builder for the parser on long texts."""
    description = f"the parser on the champion, texts of {LONG[name]} words"
    return lambda bench: parser_system(description, bench.parser, bench.long_texts(LONG[name]), bench.model)


PIPELINE_ON_BERT = "transformers pipeline, BERT-base with random weights, fp32"
PIPELINE_ON_BACKBONE = "transformers pipeline, the champion's checkpoint, fp32"
PARSER, PARSER_ON_BERT = "the parser on the champion", "the parser on BERT-base with random weights"
SYSTEMS: dict[str, Callable[[Bench], System]] = {
    "reference": lambda b: pipeline_system(PIPELINE_ON_BERT, b.bert_base, b.texts(SLOW), False),
    "reference-batched": lambda b: pipeline_system(PIPELINE_ON_BERT, b.bert_base, b.texts(SLOW), True),
    "backbone": lambda b: pipeline_system(PIPELINE_ON_BACKBONE, b.checkpoint, b.texts(MEDIUM), False),
    "backbone-batched": lambda b: pipeline_system(PIPELINE_ON_BACKBONE, b.checkpoint, b.texts(MEDIUM), True),
    "pyabsa": peer_system("pyabsa", VERY_SLOW),
    "setfit": peer_system("setfit", SLOW),
    "gliner": peer_system("gliner", SLOW),
    "gliner2": peer_system("gliner2", SLOW),
    "spacy": peer_system("spacy", None),
    "ours": lambda b: parser_system(PARSER, b.parser, b.texts(), b.model),
    "ours-openvino": lambda b: parser_system(PARSER, AspectParser(b.model, engine="openvino"), b.texts(), b.model),
    "ours-fast": fast_system,
    "ours-encoder": lambda b: encoder_system(PARSER, b.parser, b.texts()),
    "ours-fp32": fp32_system,
    "ours-bert-base": lambda b: parser_system(
        PARSER_ON_BERT, b.ours_bert_base, b.texts(MEDIUM), b.folder / "ours-bert-base", trained=False
    ),
    "ours-bert-base-encoder": lambda b: encoder_system(PARSER_ON_BERT, b.ours_bert_base, b.texts(MEDIUM)),
    **{name: long_text_system(name) for name in LONG},
}


def main() -> None:
    options = parse_arguments()
    err = Console(stderr=True)
    configure_torch()
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as exits:
            report = measure(Bench(options, Path(folder), exits), err)
    except ReviewsParsingError as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


def configure_torch() -> None:
    """Let torch use all cores, and silence the warnings of transformers about random weights."""
    import torch
    import transformers

    torch.set_num_threads(usable_cores())
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--runs", type=int, default=5, help="number of runs of which the median is reported")
    parser.add_argument("--reviews", type=int, default=2048, help="number of reviews in a run of a fast system")
    only_help = "systems to measure"
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="NAME", help=only_help)
    lengths_help = "measure long texts only"
    parser.add_argument("--lengths", dest="only", action="store_const", const=list(LONG), help=lengths_help)
    parser.add_argument("--model", default=Settings().champion_uri, help="models:/NAME@ALIAS, pretrained or a folder")
    parser.add_argument("--checkpoint", help="checkpoint folder of the model; unset: that of its run in the registry")
    parser.add_argument("--engine", choices=ENGINES, default=Settings().engine, help="engine of the parser")
    parser.add_argument("--peers-python", default=sys.executable, help="Python interpreter with the other tools")
    return parser.parse_args()


def measure(bench: Bench, err: Console) -> dict[str, Any]:
    """Measure the systems and return the report."""
    systems: dict[str, System] = {}
    absent: dict[str, str] = {}
    for name in track(bench.options.only, "preparing", console=err):
        try:
            systems[name] = SYSTEMS[name](bench)
        except ReviewsParsingError as error:
            absent[name] = str(error)
    times: dict[str, list[float]] = {name: [] for name in systems}
    peaks, loads = [], []
    for _ in track(range(bench.options.runs), "measuring", console=err):
        loads.append(background_load())
        peaks.append(int8_peak())
        for name, system in systems.items():
            times[name].append(system.run())
    peak = max(peaks)
    figures = {name: figures_of(bench, systems[name], times[name]) for name in systems}
    return {
        "reviews_per_second": {name: figure["reviews_per_second"] for name, figure in figures.items()},
        **ratios(figures),
        **shares(bench, figures, peak),
        "systems": figures,
        "absent": absent,
        "int8_peak": {"gop_per_second": peak / 1e9, "how": HOW},
        "others": statistics.mean(loads),
        "runs": bench.options.runs,
        "model": bench.options.model,
        "version": bench.version,
        "engine": bench.parser.engine,
        "machine": machine(),
        "versions": versions(PACKAGES),
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", *sys.argv]),
    }


def figures_of(bench: Bench, system: System, times: Sequence[float]) -> dict[str, Any]:
    """Return the figures of a system from the seconds of its runs."""
    median = statistics.median(times)
    reviews, tokens = len(system.texts), bench.tokens(system.texts)
    return {
        "what": system.description,
        "reviews_per_second": reviews / median,
        "reviews_per_second_per_core": reviews / median / usable_cores(),
        "tokens_per_second": tokens / median,
        "words_per_second": sum(len(text.split()) for text in system.texts) / median,
        "reviews": reviews,
        "mean_tokens": tokens / reviews,
        "seconds": list(times),
        "versions": system.versions,
        "megabytes": megabytes(system.model) if system.model else None,
        "cents_per_million": 1e6 / (reviews / median) / 3600 * DOLLARS_AN_HOUR * 100,
        **(f1(system.parser) if system.parser else {}),
    }


def megabytes(model: Path) -> float:
    """Return the size of a file, or of the files in a folder."""
    files = model.rglob("*") if model.is_dir() else [model]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


@cache
def f1(parser: AspectParser) -> dict[str, float]:
    """Return F1 on the test split of the corpus: spans, with category, with polarity."""
    scores = evaluate(parser, data.read_splits("corpus")["test"]).scores
    return {name: scores[name].f1 for name in F1}


def language_models() -> list[tuple[str, float]]:
    """Return large language models, and cents for a million reviews by their list prices."""
    return [
        (name, 100 * (PROMPT_TOKENS * price + ANSWER_TOKENS * answer_price))
        for name, (price, answer_price) in LANGUAGE_MODELS.items()
    ]


def ratios(figures: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Return ratios of rates; None if one of the two systems was not measured."""

    def ratio(name: str, base: str, figure: str = "reviews_per_second") -> float | None:
        return figures[name][figure] / figures[base][figure] if {name, base} <= figures.keys() else None

    return {
        "ratio_fast_to_ours": ratio("ours-fast", "ours"),
        "ratio_to_reference": ratio("ours", "reference"),
        "ratio_to_reference_batched": ratio("ours", "reference-batched"),
        "ratio_same_backbone": ratio("ours", "backbone"),
        "ratio_same_backbone_batched": ratio("ours", "backbone-batched"),
        "bert_base_ratio_to_reference": ratio("ours-bert-base", "reference"),
        "bert_base_ratio_to_reference_batched": ratio("ours-bert-base", "reference-batched"),
        "ratio_3000_to_300_words": ratio("ours-3000-words", "ours-300-words", "words_per_second"),
    }


def shares(bench: Bench, figures: dict[str, dict[str, Any]], peak: float) -> dict[str, Any]:
    """Return the share of the int8 peak used by the encoder's linear layers: 2 operations per weight and token."""
    weights = linear_weights(bench.model / MODEL_FILE)

    def share(name: str) -> float | None:
        return 2 * weights * figures[name]["tokens_per_second"] / peak if name in figures else None

    return {"linear_weights": weights, "share_of_peak": share("ours"), "share_of_peak_encoder": share("ours-encoder")}


def linear_weights(path: Path) -> int:
    """Return the number of weights in products with constant matrices, stored as floats or 8-bit integers."""
    import onnx

    graph = onnx.load(path).graph
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer if len(tensor.dims) == 2}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in sizes:
            sizes[node.output[0]] = sizes[node.input[0]]
    products = [node for node in graph.node if "MatMul" in node.op_type or node.op_type == "Gemm"]
    return sum(sizes.get(name, 0) for node in products for name in node.input)


def show(report: dict[str, Any]) -> None:
    """Print the report as a table and lines of facts."""
    out = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    columns = {
        "reviews/s": ("reviews_per_second", ".1f"),
        "per core": ("reviews_per_second_per_core", ".1f"),
        "tokens/s": ("tokens_per_second", ",.0f"),
        "words/s": ("words_per_second", ",.0f"),
        "reviews": ("reviews", "d"),
        "tokens each": ("mean_tokens", ".1f"),
    }
    bases = {"x reference": "reference", "x backbone": "backbone", "x backbone batched": "backbone-batched"}
    rates = report["reviews_per_second"]
    table = Table(title=f"Medians of {report['runs']} runs")
    table.add_column("", no_wrap=True)
    for heading in (*columns, "all runs", *bases):
        table.add_column(heading, justify="right")
    for name, figure in report["systems"].items():
        numbers = [format(figure[key], form) for key, form in columns.values()]
        slowest, best = (figure["reviews"] / extreme(figure["seconds"]) for extreme in (max, min))
        comparable = {} if name in LONG else rates
        factors = [f"{rates[name] / comparable[base]:.2f}" if base in comparable else "" for base in bases.values()]
        table.add_row(name, *numbers, f"{slowest:.1f}-{best:.1f}", *factors)
    out.print(table)
    for name, figure in report["systems"].items():
        versions = ", ".join(f"{package} {number}" for package, number in figure["versions"].items())
        out.print(f"[bold]{name}[/]: {figure['what']}{versions and f' ({versions})'}")
    costs = Table(title=f"F1 on the corpus's test reviews; cents at ${DOLLARS_AN_HOUR} an hour for {MACHINE}")
    for heading in ("", "span", "category", "polarity", "reviews/s", "MB", "cents per million"):
        costs.add_column(heading, justify="right" if heading else "left")
    for name, figure in report["systems"].items():
        points = [f"{100 * figure[key]:.1f}" if key in figure else "" for key in F1]
        size = "" if figure["megabytes"] is None else f"{figure['megabytes']:.1f}"
        costs.add_row(name, *points, f"{rates[name]:.0f}", size, f"{figure['cents_per_million']:.1f}")
    for name, cents in language_models():
        costs.add_row(name, "", "", "", "", "", f"{cents:,.0f}")
    out.print(costs)
    out.print(f"language models by list price: {PROMPT_TOKENS} tokens of prompt and review, {ANSWER_TOKENS} of answer")
    for name, reason in report["absent"].items():
        out.print(f"[bold]{name}[/] not measured: {reason}")
    out.print()
    for name, number in report.items():
        if name.startswith(("ratio", "bert_base", "share")) and number is not None:
            out.print(f"{name.replace('_', ' ')}: {number:.3f}")
    if report["others"] > MAX_LOAD:
        out.print(f"[red]other programs used {report['others']:.0%} of this machine: measure again when it is idle[/]")
    peak, host = report["int8_peak"], report["machine"]
    out.print(f"measured int8 matrix peak: {peak['gop_per_second']:.0f} GOP/s; {peak['how']}")
    out.print(f"linear weights of the encoder, which the shares of the peak count: {report['linear_weights']:,}")
    flags = ", ".join(f"{flag} {'yes' if present else 'no'}" for flag, present in host["flags"].items())
    out.print(f"{host['processor']}, {host['cores']} cores, {flags}; Python {host['python']}")
    out.print(", ".join(f"{name} {number}" for name, number in report["versions"].items()))
    model = report["model"] if report["version"] is None else f"{report['model']} (version {report['version']})"
    out.print(f"{model}, {report['date']}: {report['command']}")


if __name__ == "__main__":
    main()
