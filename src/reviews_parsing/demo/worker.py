"""Worker process that reads an uploaded file: its columns, its aspects with plots, or its texts as a labelling queue.

The files are untrusted, so the process has limits of memory, CPU time and file size, runs in the folder of the job,
and ends when the page that started it ends. The request is one line of JSON on stdin; progress and the result are lines
of JSON on stdout.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import resource
import sys
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from reviews_parsing import batch, insights
from reviews_parsing.batch.columns import ASPECTS
from reviews_parsing.demo.client import InferenceClient, RemoteParser
from reviews_parsing.demo.plots import draw_report
from reviews_parsing.demo.rejects import summarise_rejects
from reviews_parsing.errors import DataError, ReviewsParsingError
from reviews_parsing.io.files import write_bytes
from reviews_parsing.schema import Aspect
from reviews_parsing.tagging import words as find_words

PREVIEW_REVIEWS = 50
PREVIEW_CHARACTERS = 5_000
"""Longer reviews are shortened in the preview."""
QUEUE_REVIEWS, QUEUE_CHARACTERS = 1_000, 20_000
"""Limits of a labelling queue; longer reviews are left out."""
REPORT_INTERVAL_SECONDS = 0.25
OUTCOME_FILE, DIGESTS_FILE = "outcome.json", "digests.npy"
# Messages of the readers name options of the command line; the page has these fields instead.
_FIELDS = {
    "--delimiter": "'Delimiter'",
    "--encoding": "'Encoding'",
    "--header": "'With header'",
    "--no-header": "'No header'",
    "--skip-lines": "'Lines to skip'",
    "--text-column": "'Column of the texts'",
}
_OPTION = re.compile(rf"(?:{'|'.join(_FIELDS)})\b")

DIALECT = ("delimiter", "encoding", "header", "skip_lines")
"""Options of the layout of delimited text."""

Request = dict[str, Any]


def main() -> None:
    """Serve one request; the last line on stdout has the key `result` or `error`."""
    request = json.loads(sys.stdin.readline())
    _limit_resources(request["limits"])
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.chdir(request["folder"])
    stages: dict[str, Callable[[Request], Any]] = {"scan": scan, "parse": parse, "draw": draw, "queue": build_queue}
    try:
        emit(result=stages[request["stage"]](request))
    except MemoryError:
        emit(error=describe_memory_limit(request["name"], request["limits"]["memory_mb"]))
    except (ReviewsParsingError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
            emit(error=f"the storage of the page is full: delete a file, or parse a smaller one than {request['name']}")
        else:
            emit(error=name_fields(str(error)).replace(request["path"], request["name"]))
    # Threads of readers may still run, and nothing is left to clean up.
    sys.stdout.flush()
    os._exit(0)


def emit(**message: Any) -> None:
    """Write a line of JSON for the page."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def name_fields(message: str) -> str:
    """Replace options of the command line in a message by the fields of the page."""
    return _OPTION.sub(lambda match: _FIELDS[match[0]], message)


def describe_memory_limit(name: str, memory_mb: int) -> str:
    """Return the message for a file that exceeds the memory limit."""
    return (
        f"{name} takes more than {memory_mb:,} MB of memory: split it, or ask whoever runs the page to raise "
        "REVIEWS_PARSING_FILE_MEMORY_MB"
    )


def scan(request: Request) -> dict[str, Any]:
    """Return layout and columns of the file. Raises DataError if it cannot be read or has no column of texts."""
    path = request["path"]
    preview = batch.preview_file(path, _reading(request))
    if not preview.text_columns:
        raise DataError(f"{path} has no column of strings, only {', '.join(preview.columns)}: add one with the texts")
    # A file with predicted aspects, such as one from `data suggest`, has its texts in `text`.
    guess = preview.text_column or ("text" if "text" in preview.text_columns else None)
    columns, parts = insights.list_group_columns(preview.columns)
    dialect = {name: getattr(preview.options, name) for name in DIALECT} if preview.options else None
    return {
        "columns": preview.columns,
        "text_columns": preview.text_columns,
        "guess": guess,
        "group_columns": [*columns, *parts],
        "group_guess": insights.find_place_column(preview.columns),
        "layout": preview.layout,
        "dialect": dialect,
    }


def build_queue(request: Request) -> dict[str, Any]:
    """Write the distinct texts of the column to queue.json."""
    texts: dict[str, None] = {}
    for row in batch.read_rows([request["path"]], _reading(request)):
        text = row.get(request["column"])
        if isinstance(text, str) and text.strip() and len(text) <= QUEUE_CHARACTERS:
            texts[text] = None
        if len(texts) == QUEUE_REVIEWS:
            break
    if not texts:
        raise DataError(f"column '{request['column']}' holds no texts to label: choose another one")
    write_bytes(Path("queue.json"), json.dumps(list(texts)).encode())
    return {"total": len(texts)}


def parse(request: Request) -> dict[str, Any]:
    """Parse the file by the server, write the report, and return the outcome for the page."""
    path, column = request["path"], request["column"]
    target = Path(f"{_stem(request)}-parsed.parquet")
    client = InferenceClient(request["server_url"], request["model"])
    parser = RemoteParser(client, threading.Event())
    rows = 0

    def on_progress(_finished: int, total: int, _rows: int) -> None:
        nonlocal rows
        rows = total

    with _Reporter(lambda: {"phase": "parsing", "done": parser.parsed, "total": rows}):
        report = batch.parse_files(
            parser,
            [path],
            target,
            text_column=column,
            languages=True,
            reading=_reading(request),
            progress=on_progress,
        )
    outcome: dict[str, Any] = {
        "rows": report.rows,
        "parsed": report.parsed,
        "aspects": report.aspects,
        "foreign": sum(report.foreign.values()),
        "mojibake": report.mojibake,
        "seconds": report.seconds,
        "versions": sorted(parser.versions),
        "too_long": parser.too_long,
        "counts": [(category, polarity, count) for (category, polarity), count in report.counts.items()],
        "rejected": "",
        "downloads": {"parsed": target.name},
        "plots": [],
        "plots_error": "",
    }
    if report.rejects:
        rejects = Path(report.rejects)
        outcome["rejected"] = str(summarise_rejects(rejects, Path(request["name"]).name))
        outcome["downloads"]["rejects"] = rejects.name
    emit(progress=_drawing_progress(0.0, "reading"))
    outcome["reviews"] = _index(target, column)
    _draw(request, outcome)
    return {}


def draw(request: Request) -> dict[str, Any]:
    """Draw the report and the plots of a parsed file again, by other groups."""
    _draw(request, json.loads(Path(OUTCOME_FILE).read_bytes()))
    return {}


def _draw(request: Request, outcome: dict[str, Any]) -> None:
    """Write the report, and the outcome with its plots."""
    report_file = Path(f"{_stem(request)}-insights.html")
    outcome["plots"], outcome["plots_error"] = [], ""
    outcome["downloads"].pop("report", None)
    try:
        group_by = [request["group_by"]] if request.get("group_by") else []
        plots = draw_report(
            Path(outcome["downloads"]["parsed"]),
            report_file,
            group_by,
            lambda share, step: emit(progress=_drawing_progress(share, step)),
        )
    except (ReviewsParsingError, MemoryError) as error:
        # Without plots, the parsed file is still of use.
        outcome["plots_error"] = str(error) or describe_memory_limit(request["name"], request["limits"]["memory_mb"])
    else:
        outcome["downloads"]["report"] = report_file.name
        outcome["plots"] = [{"caption": caption, "svg": svg} for caption, svg in plots]
    write_bytes(Path(OUTCOME_FILE), json.dumps(outcome).encode())


def _stem(request: Request) -> str:
    """Return the name of the uploaded file without its extension and unusual characters."""
    return re.sub(r"[^\w-]+", "_", Path(request["name"]).name.split(".")[0] or "reviews")[:80]


def _reading(request: Request) -> batch.ReadOptions:
    """Return the options of the layout that a person has set."""
    return batch.ReadOptions(**request["reading"])


def text_digest(text: str) -> int:
    """Return 64 bits of a digest, by which rows with a given text are found."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "little")


def _index(parsed: Path, column: str) -> list[dict[str, Any]]:
    """Write the digests of all texts, [rows], and return the first reviews with their aspects."""
    import numpy as np
    import pyarrow.parquet as pq

    digests: list[int] = []
    with pq.ParquetFile(parsed) as file:
        for part in file.iter_batches(columns=[column]):
            digests.extend(text_digest(str(text or "")) for text in part.column(0).to_pylist())
    np.save(DIGESTS_FILE, np.array(digests, np.uint64))
    rows = (row for row in batch.read_rows([str(parsed)]) if row[column])
    return [_preview(row[column], row[ASPECTS]) for row in islice(rows, PREVIEW_REVIEWS)]


def _preview(text: str, aspects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a review for the page; a long one without the aspects behind its cut."""
    if len(text) <= PREVIEW_CHARACTERS:
        return {"text": text, "aspects": aspects, "words": find_words(text), "shortened": False}

    def is_inside(aspect: Aspect) -> bool:
        return all(part.end <= PREVIEW_CHARACTERS for part in (aspect, aspect.opinion) if part and part.end is not None)

    inside = [aspect for aspect in aspects if is_inside(Aspect.from_json(aspect))]
    return {"text": f"{text[:PREVIEW_CHARACTERS]} …", "aspects": inside, "shortened": True}


def _drawing_progress(share: float, step: str) -> dict[str, Any]:
    return {"phase": "drawing", "share": share, "step": step}


class _Reporter:
    """Emits progress at an interval while a block runs."""

    def __init__(self, progress: Callable[[], dict[str, Any]]) -> None:
        self._progress = progress
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(REPORT_INTERVAL_SECONDS):
            emit(progress=self._progress())


def _limit_resources(limits: dict[str, int]) -> None:
    """Set hard limits of this process; Linux enforces all of them, macOS not the one of memory."""
    memory, file_size = limits["memory_mb"] * 10**6, limits["file_mb"] * 10**6
    # Private writable memory: the address space also counts reservations that are never used.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)


def _exit_with_parent() -> None:
    """End this process once the page closes its end of stdin, which the end of the page does too."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
