"""The page: what stands where, and which event calls what. Imported when it is served: Gradio is heavy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files as resources
from typing import Any

import gradio as gr

from reviews_parsing.demo import files
from reviews_parsing.demo.client import Client
from reviews_parsing.demo.one import EXAMPLES, Reviews, note

TITLE = "Reviews Parsing"
INTRODUCTION = (
    "<h1>Reviews Parsing</h1><p>What a review talks about, how its writer feels about each thing, and how sure the "
    "model is.</p>"
)
LEGEND = "".join(
    f'<span class="rp-key rp-{name}"><b aria-hidden="true">{sign}</b> {name}</span>'
    for name, sign in (
        ("positive", "+"),
        ("negative", "\N{MINUS SIGN}"),
        ("neutral", "="),
        ("conflict", "\N{PLUS-MINUS SIGN}"),
    )
)
QUICK: dict[str, Any] = {"concurrency_id": "quick", "concurrency_limit": 8}
SLOW: dict[str, Any] = {"concurrency_id": "slow", "concurrency_limit": 2}
WAITING = 64
"""Events that may wait; beyond, the page says that it is busy."""
KEPT_SECONDS = 3600
"""How long an uploaded file, and what came of it, is kept."""


def build(reviews: Reviews, client: Client, max_upload_mb: int) -> gr.Blocks:
    """The page; `look` says what it looks like."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as page:
        gr.HTML(INTRODUCTION, js_on_load=None, elem_classes="rp-head")
        serving = gr.HTML("", js_on_load=None, elem_classes="rp-versions")
        with gr.Tabs():
            with gr.Tab("One review"):
                _one(reviews)
            with gr.Tab("A file"):
                _file(client, max_upload_mb)
        page.load(reviews.serving, None, serving, show_progress="hidden", api_visibility="private", **QUICK)
    return page.queue(max_size=WAITING, api_open=False)


def look() -> dict[str, Any]:
    """Theme and style: fonts that every machine has, nothing from elsewhere."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return {"theme": gr.themes.Default(primary_hue="teal", neutral_hue="slate", **fonts), "css": asset("page.css")}


@cache
def asset(name: str) -> str:
    """A file of this room's static/."""
    return (resources(__package__) / "static" / name).read_text(encoding="utf-8")


def _one(reviews: Reviews) -> None:
    text = gr.Textbox(
        label="A review", lines=4, max_lines=14, placeholder="Paste or write a review …", elem_id="rp-input"
    )
    with gr.Row(elem_classes="rp-row"):
        go = gr.Button("Parse", variant="primary", elem_id="rp-parse")
        gr.HTML('<span id="rp-or">or try</span>', js_on_load=None, elem_classes="rp-or")
        examples = [(gr.Button(name, size="sm", elem_classes="rp-example"), its) for name, its in EXAMPLES.items()]
    message = gr.HTML("", js_on_load=None)
    least = gr.Slider(
        0,
        1,
        0,
        step=0.05,
        label="Least probability",
        info="Less probable aspects are left out. Nothing is parsed anew.",
        elem_id="rp-least",
    )
    gr.HTML(f'<p class="rp-legend" aria-label="Signs of polarity">{LEGEND}</p>', js_on_load=None)
    with gr.Row(elem_classes="rp-answers"):
        first = gr.HTML("", js_on_load=None, elem_id="rp-first")
        second = gr.HTML("", js_on_load=None, elem_id="rp-second", visible=reviews.compares)
    correct = gr.Button("Correct this answer", visible=False, elem_id="rp-correct")
    told = gr.HTML("", js_on_load=None)
    editor = gr.HTML(None, html_template="", js_on_load=asset("editor.js"), elem_id="rp-editor")
    kept = gr.State(None)
    shown = [message, first, second, kept, correct, editor, told]

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


def _file(client: Client, max_upload_mb: int) -> None:
    upload = gr.File(
        label=f"A file of reviews: CSV, TSV, JSONL or Parquet, at most {max_upload_mb:,} MB",
        file_types=files.ENDINGS,
        type="filepath",
        height=140,
        elem_id="rp-upload",
    )
    column = gr.Dropdown([], label="Column of the texts", visible=False, elem_id="rp-column")
    with gr.Row(elem_classes="rp-row"):
        go = gr.Button("Parse the file", variant="primary", interactive=False, elem_id="rp-parse-file")
        stop = gr.Button("Stop", visible=False, elem_id="rp-stop")
    message = gr.HTML("", js_on_load=None, elem_id="rp-file-message")
    with gr.Row(elem_classes="rp-row", visible=False) as downloads:
        parsed = gr.DownloadButton("Download the Parquet", elem_id="rp-parquet")
        report = gr.DownloadButton("Download the report", elem_id="rp-report")
    outcome = gr.HTML("", js_on_load=None, elem_id="rp-outcome")

    def uploaded(path: str | None) -> list[Any]:
        nothing = [gr.update(choices=[], value=None, visible=False), gr.update(interactive=False)]
        if path is None:
            return [*nothing, ""]
        try:
            names, guess = files.text_columns(path)
        except files.DataError as error:
            return [*nothing, note(files.without_folder(str(error), path))]
        said = "" if guess else note("Which column holds the reviews' texts? Choose it below.", "hint")
        return [gr.update(choices=names, value=guess, visible=True), gr.update(interactive=True), said]

    def run(path: str | None, name: str | None) -> Iterator[list[Any]]:
        if not path or not name:
            said = "Upload a file first." if not path else "Choose the column that holds the reviews' texts."
            yield [note(said, "hint"), gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip()]
            return
        hidden, shown = gr.update(visible=False), gr.update(visible=True)
        for step in files.parse(client, path, name):
            if step.parsed is None:
                yield [step.message, step.outcome, hidden, gr.skip(), gr.skip(), shown]
            else:
                yield [step.message, step.outcome, shown, str(step.parsed), str(step.report), hidden]
        yield [gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip(), hidden]

    quiet: dict[str, Any] = {"api_visibility": "private"}
    upload.change(uploaded, upload, [column, go, message], show_progress="hidden", **quiet, **QUICK)
    running = go.click(
        run,
        [upload, column],
        [message, outcome, downloads, parsed, report, stop],
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
