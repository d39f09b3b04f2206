"""Count the work of parsing a fixed set of texts, the same on all machines, and compare it with the stored baseline.

    python benchmarks/costs.py [--json] [--renew "REASON"]

Counts are exact for a version of Python: bytecode instructions of this package, calls from it into libraries, peak
memory of Python and NumPy, and runs and tokens (with padding) of the encoder. They do not see the time within one call
of a library. The exit status is 1 if a count exceeds its baseline by more than 5 %; --renew stores the new counts with
the reason.
"""

from __future__ import annotations

import gc
import json
import platform
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

from machine import argument_parser, print_table
from rich.table import Table

import reviews_parsing
from reviews_parsing import data, engines, pretrained
from reviews_parsing.parser import AspectParser
from reviews_parsing.tagging.crf import Floats, Ints

BASELINE = Path(__file__).with_name("costs.json")
PACKAGE = str(Path(reviews_parsing.__file__).parent)
MAX_GROWTH = 0.05
REVIEWS, LONG_TEXT_WORDS = 100, 3000
ADVICE = "make it cheaper, or store the new counts: python benchmarks/costs.py --renew 'REASON'"
HTML_AND_EMOJI = "<p>Caf&eacute; &amp; bar: soooo good \N{SMILING FACE WITH SUNGLASSES}</p>see www.example.com"


class CountingEngine:
    """Engine that counts its runs and their tokens, padding included."""

    def __init__(self, engine: engines.Engine) -> None:
        self.name, self.widths = engine.name, engine.widths
        self.runs = self.tokens = 0
        self._engine = engine

    def run(self, ids: Ints, mask: Ints) -> list[Floats]:
        """Run and count a batch."""
        self.runs += 1
        self.tokens += ids.size
        return self._engine.run(ids, mask)


def fixed_texts() -> list[str]:
    """Return reviews of the corpus, one long text of them, and one with markup."""
    reviews = [review.text for review in data.read_splits("corpus")["test"]]
    words = " ".join(reviews).split()
    return [*reviews[:REVIEWS], " ".join((words * 2)[:LONG_TEXT_WORDS]), HTML_AND_EMOJI]


def measure() -> dict[str, Any]:
    """Return the counts of parsing the fixed set with the pretrained model in one thread."""
    load = engines.load
    with patch.object(engines, "load", lambda *arguments: CountingEngine(load(*arguments))):
        parser = AspectParser(pretrained.model_folder(), threads=1)
    engine: Any = parser._encoder._engine
    texts = fixed_texts()
    # Fills the caches of patterns and of the language identifier.
    parser.parse(texts)
    engine.runs = engine.tokens = 0
    peak = peak_bytes(parser, texts)
    encoder = {"encoder_runs": engine.runs, "encoder_tokens": engine.tokens}
    modules = bytecodes(parser, texts)
    calls = library_calls(parser, texts)
    return {
        "bytecodes": modules.total(),
        "library_calls": calls,
        "peak_kilobytes": peak // 1000,
        **encoder,
        "bytecodes_by_module": dict(sorted(modules.items())),
    }


@contextmanager
def hooked(read: Callable[[], Any], install: Callable[[Any], None], hook: Any) -> Iterator[None]:
    """Install a hook of the interpreter for a block, and restore the one before."""
    previous = read()
    install(hook)
    try:
        yield
    finally:
        install(previous)


def bytecodes(parser: AspectParser, texts: list[str]) -> Counter[str]:
    """Return the number of bytecode instructions executed in each module of the package."""
    counts: Counter[str] = Counter()

    def trace_call(frame: FrameType, event: str, argument: object) -> Any:
        path = frame.f_code.co_filename
        if not path.startswith(PACKAGE):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        module = path.removeprefix(PACKAGE + "/")

        def trace_instruction(frame: FrameType, event: str, argument: object) -> Any:
            if event == "opcode":
                counts[module] += 1
            return trace_instruction

        return trace_instruction

    with hooked(sys.gettrace, sys.settrace, trace_call):
        parser.parse(texts)
    return counts


def library_calls(parser: AspectParser, texts: list[str]) -> int:
    """Return the number of calls from the package to functions outside it."""
    calls = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        if event == "c_call":
            calls += frame.f_code.co_filename.startswith(PACKAGE)
        elif event == "call" and frame.f_back is not None and not frame.f_code.co_filename.startswith(PACKAGE):
            calls += frame.f_back.f_code.co_filename.startswith(PACKAGE)

    with hooked(sys.getprofile, sys.setprofile, profile):
        parser.parse(texts)
    return calls


def peak_bytes(parser: AspectParser, texts: list[str]) -> int:
    """Return the peak memory that Python and NumPy allocate while the texts are parsed."""
    gc.collect()
    tracemalloc.start()
    try:
        parser.parse(texts)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def read_baseline() -> dict[str, Any]:
    """Return the stored counts, with the version of Python and the reason of the last change."""
    baseline: dict[str, Any] = json.loads(BASELINE.read_text(encoding="utf-8"))
    return baseline


def growths(counts: dict[str, Any], baseline: dict[str, Any]) -> dict[str, float]:
    """Return for each count its growth over the baseline, 0.05 for 5 %."""
    return {name: counts[name] / number - 1 for name, number in baseline["counts"].items() if isinstance(number, int)}


def excess(counts: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """Return a line for each count that exceeds its baseline by more than MAX_GROWTH."""
    by_module = baseline["counts"]["bytecodes_by_module"]
    largest = Counter(counts["bytecodes_by_module"])
    largest.subtract(by_module)
    lines = []
    for name, growth in growths(counts, baseline).items():
        if growth > MAX_GROWTH:
            lines.append(f"{name}: {counts[name]:,}, {growth:.1%} above {baseline['counts'][name]:,}")
            if name == "bytecodes":
                lines += [f"  {module}: {more:+,}" for module, more in largest.most_common(3) if more > 0]
    return lines


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--renew", metavar="REASON", help="store the counts as the new baseline, with the reason")
    options = parser.parse_args()
    counts = measure()
    if options.renew:
        document = {"python": python_version(), "reason": options.renew, "counts": counts}
        BASELINE.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    baseline = read_baseline()
    if baseline["python"] != python_version():
        sys.exit(f"error: the baseline is of Python {baseline['python']}; counts of {python_version()} differ")
    if options.json:
        print(json.dumps(counts, indent=2))
    else:
        table = Table("", "now", "baseline", "growth", title="Work of parsing the fixed set")
        for name, growth in growths(counts, baseline).items():
            table.add_row(name, f"{counts[name]:,}", f"{baseline['counts'][name]:,}", f"{growth:+.1%}")
        print_table(table)
    if lines := excess(counts, baseline):
        sys.exit("\n".join(["error: parsing costs more than the baseline allows", *lines, ADVICE]))


def python_version() -> str:
    """Return the minor version of Python, which determines the bytecode."""
    return ".".join(platform.python_version_tuple()[:2])


if __name__ == "__main__":
    main()
