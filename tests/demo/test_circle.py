"""The whole circle: answers corrected on the page, kept, exported, learned from, and a version that answers better."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

from click.testing import Result
from playwright.sync_api import Browser, Page, expect
from typer.testing import CliRunner

from reviews_parsing import data, registry
from reviews_parsing.cli.app import app
from reviews_parsing.corrections import CorrectionStore
from reviews_parsing.schema import Aspect, Review
from reviews_parsing.settings import MODEL_NAME
from serving.client import Server
from serving.conftest import Start

from .conftest import PHONE, correct, page_over, parse, visits

# The default model takes what a spa offers for FOOD or AMBIENCE; who runs one wants it to be SERVICE.
SPA = ("massage", "facial", "pedicure", "haircut", "body scrub", "sauna")
FOOD = ("soup", "pasta", "pie", "curry", "salad", "steak")
SAID = (
    ("The {} was lovely.", "positive"),
    ("We hated the {}.", "negative"),
    ("Their {} is a mess!", "negative"),
    ("What a lovely {}.", "positive"),
    ("I found the {} awful, sadly.", "negative"),
    ("A great {}, every time.", "positive"),
)


def sentences(category: str, things: tuple[str, ...], begin: int, count: int) -> list[Review]:
    """Labelled sentences, each of another thing or in other words."""
    pairs = [(things[(i + j) % len(things)], SAID[j]) for i, j in product(range(len(things)), range(len(SAID)))]
    found = []
    for thing, (form, polarity) in islice(pairs, begin, begin + count):
        text, start = form.format(thing), form.index("{}")
        aspect = Aspect(category, thing, start, start + len(thing), polarity)
        found.append(Review(f"{category}-{len(found) + begin}", text, (aspect,)))
    return found


def told_at_length(parts: list[Review]) -> Review:
    """One review of these sentences."""
    text, aspects = "", []
    for part in parts:
        text += " " if text else ""
        at = len(text)
        aspects += [replace(a, start=(a.start or 0) + at, end=(a.end or 0) + at) for a in part.aspects]
        text += part.text
    return Review("at length", text, tuple(aspects))


def put_right(page: Page, wanted: Review) -> None:
    """What a person does in the editor until it says what they think of the review, and saves."""
    correct(page, wanted.text)
    editor = page.locator(".rp-editor")
    right = {f"“{aspect.word}”" for aspect in wanted.aspects}
    for shown in editor.locator(".rp-said").all_inner_texts():
        if shown not in right:
            editor.get_by_role("button", name=re.compile(f"^Delete {shown}$")).click()
    for aspect in wanted.aspects:
        row = editor.locator("li").filter(has=page.get_by_text(f"“{aspect.word}”", exact=True))
        if not row.count():
            area = editor.get_by_label("The review. Select words")
            area.evaluate("(area, span) => area.setSelectionRange(...span)", list(aspect.span or ()))
            editor.get_by_role("button", name="Add an aspect at the selected words").click()
        row.get_by_role("combobox", name="Category").select_option(aspect.entity_group)
        row.get_by_role("combobox", name="Polarity").select_option(aspect.polarity)
    editor.get_by_role("button", name="Save the correction").click()
    expect(editor.get_by_text("Saved as revision 1")).to_be_visible()


def run(*arguments: object) -> Result:
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_corrections_on_the_page_become_a_better_version_that_the_gate_lets_through(
    server: Server, start: Start, browser: Browser, with_champion: Path, tmp_path: Path
) -> None:
    """The labelled reviews that there are say nothing of a spa; people's corrections do."""
    splits = {
        "train": sentences("FOOD", FOOD, 0, 8),
        "validation": [*sentences("FOOD", FOOD, 8, 3), *sentences("SERVICE", SPA, 24, 6)],
        "test": [*sentences("FOOD", FOOD, 12, 3), *sentences("SERVICE", SPA, 30, 6)],
    }
    (tmp_path / "labels").mkdir()
    for name, some in splits.items():
        data.write(some, tmp_path / "labels" / f"{name}.jsonl")
    (tmp_path / "page").mkdir()
    with ExitStack() as stack:
        canary = stack.enter_context(start(REVIEWS_PARSING_HOME=str(with_champion)))
        compare = ("--compare", f"http://127.0.0.1:{canary.http}")
        site = stack.enter_context(page_over(server, with_champion, tmp_path / "page", *compare))
        page = stack.enter_context(visits(browser, site))()

        taught = [told_at_length(sentences("SERVICE", SPA, begin, 6)) for begin in (0, 6, 12)]
        for wanted in [*taught, splits["test"][-1]]:
            put_right(page, wanted)
        kept = [saved.correction for saved in CorrectionStore().list_latest()]
        said = [tuple(replace(aspect, opinion=None) for aspect in its.aspects) for its in kept[:3]]
        assert said == [wanted.aspects for wanted in taught]
        assert {its.version for its in kept} == {"1"}
        assert [[a.to_json() for a in k.predicted_aspects] for k in kept] == server.infer(
            [k.text for k in kept]
        ).predictions

        assert run("corrections", "export", tmp_path / "corrections.jsonl").exit_code == 0
        options = ("--add", tmp_path / "corrections.jsonl", "--epochs", 8, "--batch-size", 4, "--seed", 3)
        said = run("train", tmp_path / "labels", *options, "--foundation-epochs", 0, "--json").stderr
        assert "3 reviews added, 0 replaced" in said
        assert "1 left out, they repeat validation or test reviews: correction-" in said
        verdict = json.loads(run("promote", "--version", "2", "--json").stdout)
        assert verdict["promoted"]
        assert verdict["difference"]["low"] > 0
        assert registry.champion() == "2"

        assert canary.post(f"/v2/repository/models/{MODEL_NAME}/load", b"").status == 200
        parse(page, "The sauna was lovely, and so was the soup.")
        for column, version, category in (("#rp-first", "1", "FOOD"), ("#rp-second", "2", "SERVICE")):
            expect(page.locator(column).get_by_role("heading")).to_have_text(f"Version {version}")
            sauna = page.locator(f"{column} .rp-aspects > li").filter(has_text="sauna")
            expect(sauna).to_contain_text(category)
            expect(sauna).to_contain_text("only here")
        expect(page.locator(".rp-serving").last).to_contain_text("Version 2")
        page.set_viewport_size(PHONE)
        first, second = (page.locator(column).bounding_box() for column in ("#rp-first", "#rp-second"))
        assert first
        assert second
        assert first["y"] + first["height"] <= second["y"]
