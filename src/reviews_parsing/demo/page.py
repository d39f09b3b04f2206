"""The page: what stands where, and which event calls what. Imported when it is served: Gradio is heavy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from reviews_parsing.demo import files
from reviews_parsing.demo.client import Client
from reviews_parsing.demo.one import EXAMPLES, Reviews, note
from reviews_parsing.errors import DataError

TITLE = "Reviews Parsing"
INTRODUCTION = (
    "<h1>Reviews Parsing</h1><p>What a review talks about, how its writer feels about each thing, and how sure the "
    "model is.</p>"
)
QUICK: dict[str, Any] = {"concurrency_id": "quick", "concurrency_limit": 8}
SLOW: dict[str, Any] = {"concurrency_id": "slow", "concurrency_limit": 2}
WAITING = 64
"""Events that may wait; beyond, the page says that it is busy."""
LOOK = 0.01
"""Between two looks at the queue, in seconds."""
KEPT_SECONDS = 3600
"""How long an uploaded file, and what came of it, is kept."""


def build(reviews: Reviews, client: Client, max_upload_mb: int) -> gr.Blocks:
    """The page; `look` says what it looks like."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as page:
        gr.HTML(INTRODUCTION, js_on_load=None, elem_classes=["rp-head", "rp-plain"])
        serving = gr.HTML("", js_on_load=None, elem_classes="rp-plain")
        with gr.Tabs():
            with gr.Tab("One review"):
                legend = _one(reviews, serving)
            with gr.Tab("A file"):
                _file(client, max_upload_mb)
        page.load(reviews.serving, None, [serving, legend], show_progress="hidden", api_visibility="private", **QUICK)
        page.queue(max_size=WAITING, api_open=False)
        # Gradio's own millisecond costs some percent of a core while nobody asks anything.
        page._queue.sleep_when_free = LOOK
    return page  # type: ignore[no-any-return]


def look() -> dict[str, Any]:
    """Theme and style: fonts that every machine has, nothing from elsewhere."""
    theme = gr.themes.Default(
        primary_hue="teal",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        # Dark enough to be read on white, as WCAG 2 has it (4.5:1); light enough on the dark page.
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover_dark="#115e59",
        color_accent="#0f766e",
        block_info_text_color="#475569",
        block_info_text_color_dark="#cbd5e1",
        block_label_text_color="#334155",
        block_title_text_color="#334155",
        slider_color="#0f766e",
        slider_color_dark="#2dd4bf",
    )
    return {"theme": theme, "css": asset("page.css")}


@cache
def asset(name: str) -> str:
    """A file of this room's static/."""
    return (resources(__package__) / "static" / name).read_text(encoding="utf-8")


def _one(reviews: Reviews, serving: gr.HTML) -> gr.HTML:
    """The tab of one review, which keeps `serving` up to date; where its legend stands."""
    text = gr.Textbox(
        label="A review", lines=4, max_lines=14, placeholder="Paste or write a review …", elem_id="rp-input"
    )
    with gr.Row(elem_classes="rp-row"):
        go = gr.Button("Parse", variant="primary", elem_id="rp-parse")
        gr.HTML('<span id="rp-or">or try</span>', js_on_load=None, elem_classes="rp-or")
        examples = [(gr.Button(name, size="sm", elem_classes="rp-example"), its) for name, its in EXAMPLES.items()]
    message = gr.HTML("", js_on_load=None, elem_classes=["rp-maybe", "rp-plain"], elem_id="rp-message")
    least = gr.Slider(
        0,
        1,
        0,
        step=0.05,
        label="Least probability",
        info="Less probable aspects are left out. Nothing is parsed anew.",
        elem_id="rp-least",
    )
    legend = gr.HTML("", js_on_load=None, elem_classes=["rp-maybe", "rp-plain"])
    with gr.Row(elem_classes="rp-answers"):
        first = gr.HTML("", js_on_load=None, elem_id="rp-first", elem_classes=["rp-maybe", "rp-plain"])
        second = gr.HTML("", js_on_load=None, elem_id="rp-second", elem_classes=["rp-maybe", "rp-plain"])
    with gr.Row(elem_classes="rp-row"):
        correct = gr.Button("Correct this answer", visible=False, elem_id="rp-correct")
    told = gr.HTML("", js_on_load=None, elem_classes=["rp-maybe", "rp-plain"])
    editor = gr.HTML(
        None,
        html_template="",
        js_on_load=asset("editor.js"),
        apply_default_css=False,
        elem_id="rp-editor",
        elem_classes=["rp-maybe", "rp-plain"],
    )
    kept = gr.State(None)
    shown = [message, first, second, kept, correct, editor, told, serving, legend]

    def parse(text: str, least: float) -> list[Any]:
        found = reviews.show(text, least)
        return [
            found.message,
            found.first,
            found.second,
            found.answer,
            gr.update(visible=found.answer is not None),
            None,
            "",
            *(found.serving or 2 * [gr.skip()]),
        ]

    quiet: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": [message], "api_visibility": "private"}
    go.click(parse, [text, least], shown, **quiet, **QUICK)
    text.submit(parse, [text, least], shown, **quiet, **QUICK)
    for button, its in examples:
        button.click(lambda least, its=its: [its, *parse(its, least)], [least], [text, *shown], **quiet, **QUICK)
    least.change(None, [least], None, js=asset("filter.js"))
    correct.click(reviews.draft, [kept, least], [told, editor], **quiet, **QUICK)

    def save(event: gr.EventData) -> Any:
        return reviews.save(event._data)

    editor.save(save, None, editor, show_progress="hidden", api_visibility="private", **QUICK)
    return legend


def _arrived(payload: gr.FileData | None) -> str | None:
    """The path of a file that was uploaded; none where a request names another file of this machine."""
    if payload is None:
        return None
    path = Path(payload.path).resolve()
    return str(path) if path.is_relative_to(Path(get_upload_folder()).resolve()) else None


def _file(client: Client, max_upload_mb: int) -> None:
    upload = gr.File(
        label=f"CSV, TSV, JSONL, Parquet: at most {max_upload_mb:,} MB",
        file_types=files.ENDINGS,
        type="filepath",
        height=140,
        elem_id="rp-upload",
    )
    # Gradio's own also leaves an empty file behind, each time.
    vars(upload)["preprocess"] = _arrived
    column = gr.Dropdown([], label="Column of the texts", visible=False, elem_id="rp-column")
    with gr.Row(elem_classes="rp-row"):
        go = gr.Button("Parse the file", variant="primary", interactive=False, elem_id="rp-parse-file")
        stop = gr.Button("Stop", visible=False, elem_id="rp-stop")
    message = gr.HTML("", js_on_load=None, elem_id="rp-file-message", elem_classes=["rp-maybe", "rp-plain"])
    # There from the start, though unseen: two that appear at once keep Gradio's code in the browser busy for ever.
    with gr.Row(elem_classes=["rp-row", "rp-downloads"]):
        parsed = gr.DownloadButton("Download the Parquet", interactive=False, elem_id="rp-parquet")
        report = gr.DownloadButton("Download the report", interactive=False, elem_id="rp-report")
        left_out = gr.DownloadButton("Download the rows left out", interactive=False, elem_id="rp-left-out")
    outcome = gr.HTML("", js_on_load=None, elem_id="rp-outcome", elem_classes=["rp-maybe", "rp-plain"])

    def uploaded(path: str | None) -> list[Any]:
        nothing = [gr.update(choices=[], value=None, visible=False), gr.update(interactive=False)]
        if path is None:
            return [*nothing, ""]
        try:
            names, guess = files.text_columns(path)
        except DataError as error:
            return [*nothing, note(files.without_folder(str(error), path))]
        said = "" if guess else note("Which column holds the reviews' texts? Choose it below.", "hint")
        return [gr.update(choices=names, value=guess, visible=True), gr.update(interactive=True), said]

    def run(path: str | None, name: str | None) -> Iterator[list[Any]]:
        if not path or not name:
            said = "Upload a file first." if not path else "Choose the column that holds the reviews' texts."
            yield [note(said, "hint"), *5 * [gr.skip()]]
            return
        for step in files.parse(client, path, name):
            yield [
                step.message,
                step.outcome,
                fetch(step.parsed),
                fetch(step.report),
                fetch(step.left_out),
                gr.update(visible=not step.outcome),
            ]
        yield [*5 * [gr.skip()], gr.update(visible=False)]

    def fetch(file: Path | None) -> Any:
        return gr.update(value=str(file) if file else None, interactive=file is not None)

    quiet: dict[str, Any] = {"api_visibility": "private"}
    upload.change(uploaded, upload, [column, go, message], show_progress="hidden", **quiet, **QUICK)
    running = go.click(
        run,
        [upload, column],
        [message, outcome, parsed, report, left_out, stop],
        show_progress="minimal",
        show_progress_on=[message],
        trigger_mode="once",
        **quiet,
        **SLOW,
    )
    stop.click(
        lambda: [note("Stopped. Nothing was kept.", "hint"), gr.update(visible=False)],
        None,
        [message, stop],
        cancels=[running],
        **quiet,
        **QUICK,
    )
