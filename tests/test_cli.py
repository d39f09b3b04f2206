"""Tests of the commands: output for people, errors in one line, and JSON on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reviews_parsing
from reviews_parsing import data, registry
from reviews_parsing.cli import main, output
from reviews_parsing.schema import Aspect, ParsedReview

TEXT = "The ramen was great but the waiter was rude."
ANNOUNCEMENT = "version 1 of reviews-parsing-ner-aspects, the champion, answers\n"


def test_stderr_says_which_model_answers(with_champion: Path, tmp_path: Path) -> None:
    assert call("parse", TEXT)[2] == ANNOUNCEMENT
    assert call("parse", TEXT, "--model", "models:/reviews-parsing-ner-aspects/1")[2] == ""
    code, out, err = call("parse", TEXT, REVIEWS_PARSING_HOME=str(tmp_path / "new"))
    assert (code, [aspect["word"] for aspect in json.loads(out)]) == (0, ["ramen", "waiter"])
    assert "no version of reviews-parsing-ner-aspects is champion yet: the pretrained model" in err


def run(*arguments: str, stdin: str | None = None, cwd: Path | None = None, **environment: str) -> tuple[int, str, str]:
    """Status and outputs of a command; the line that says that the champion answers is left out."""
    code, out, err = call(*arguments, stdin=stdin, cwd=cwd, **environment)
    return code, out, err.replace(ANNOUNCEMENT, "", 1)


def call(
    *arguments: str, stdin: str | None = None, cwd: Path | None = None, **environment: str
) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "reviews_parsing.cli", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def refused(*arguments: str, stdin: str | None = None, cwd: Path | None = None, **environment: str) -> str:
    """Return the one-line error of a command."""
    code, out, err = run(*arguments, stdin=stdin, cwd=cwd, **environment)
    assert (code, out) == (1, ""), err
    (line,) = err.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_the_version_is_that_of_the_installed_package() -> None:
    assert reviews_parsing.__version__ == version("reviews-parsing")
    assert run("--version") == (0, f"reviews-parsing {version('reviews-parsing')}\n", "")


def test_the_shell_completes_commands() -> None:
    completing: dict[str, Any] = {
        "_REVIEWS_PARSING_COMPLETE": "complete_bash",
        "COMP_WORDS": "reviews-parsing ro",
        "COMP_CWORD": "1",
    }
    assert run(**completing) == (0, "rollback\nrollout\n", "")
    # Typer otherwise looks for a shell among the parent processes.
    code, script, _ = run("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert code == 0
    assert "_REVIEWS_PARSING_COMPLETE=complete_bash" in script


def test_a_text_becomes_json_lines_in_a_pipe(with_champion: Path) -> None:
    code, out, err = run("parse", TEXT)
    assert (code, err) == (0, "")
    words = {a["word"]: (a["entity_group"], a["polarity"]) for a in json.loads(out)}
    assert words == {"ramen": ("FOOD", "positive"), "waiter": ("STAFF", "negative")}


def test_a_text_is_coloured_in_a_terminal(with_champion: Path) -> None:
    import pty

    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {
        "TERM": "xterm-256color",
        "COLUMNS": "100",
    }
    command = [sys.executable, "-m", "reviews_parsing.cli", "parse", TEXT]
    process = subprocess.Popen(command, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    os.close(master)
    assert process.wait() == 0
    text = shown.decode()
    assert "\x1b[1;4;32mramen" in text
    assert "\x1b[1;4;31mwaiter" in text
    assert "category" in text


def test_words_of_two_categories_are_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    sushi = Aspect("FOOD", "sushi", 5, 10, "negative", score=0.6)
    price = replace(sushi, entity_group="PRICE", score=0.4)
    output.show(ParsedReview("Dear sushi, nice room.", (sushi, price, Aspect("AMBIENCE", "room", 17, 21, score=0.9))))
    assert capsys.readouterr().out.startswith("Dear sushi FOOD − PRICE −, nice room AMBIENCE.\n")


def test_files_in_and_out(with_champion: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n007,Great coffee.\n008,We came on Monday.\n")
    code, out, _ = run("parse", "in.csv", "-o", "out.jsonl", "--json", cwd=tmp_path)
    assert code == 0
    assert json.loads(out)["output"] == "out.jsonl"
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["007", "008"]
    assert rows[0]["aspects"][0]["word"] == "coffee"
    assert list(rows[0]) == ["id", "text", "aspects", "language", "foreign"]
    assert run("parse", "in.csv", "-o", "bare.jsonl", "--no-languages", cwd=tmp_path)[0] == 0
    assert list(json.loads((tmp_path / "bare.jsonl").read_text().splitlines()[0])) == ["id", "text", "aspects"]


def test_the_layout_is_printed_and_set_by_options(with_champion: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes("Export\n\nNr;Review\n1;Don\u2019t miss the soup\n2;\n".encode("cp1252"))
    code, out, err = run("parse", "in.csv", "-o", "out.jsonl", cwd=tmp_path)
    assert code == 0, err
    assert err == "in.csv: CSV, windows-1252, delimiter ';', header in line 3, texts in 'Review'\n"
    assert "2 reviews (1 without a text)" in out
    options = ("--delimiter", ";", "--encoding", "latin-1", "--no-header", "--skip-lines", "3")
    code, out, err = run("parse", "in.csv", *options, "--text-column", "column_2", cwd=tmp_path)
    assert code == 0, err
    layout, warning = err.splitlines()
    assert layout == "in.csv: CSV, iso8859-1, delimiter ';', no header, texts in 'column_2'"
    assert "1 text holds characters of a wrong encoding (first: '\\x92' for '\u2019' in in.csv:4)" in warning
    assert json.loads(out.splitlines()[0])["column_1"] == "1"
    (tmp_path / "in.json").write_text(json.dumps({"name": "Uno", "reviews": [{"body": "Nice soup"}] * 3}))
    assert "--records reviews" in refused("parse", "in.json", cwd=tmp_path)
    code, out, _ = run("parse", "in.json", "--records", "reviews", cwd=tmp_path)
    assert (code, len(out.splitlines())) == (0, 3)
    assert "--max-columns" in refused("parse", "in.csv", "--max-columns", "1", cwd=tmp_path)


def test_a_folder_is_resumed_and_rejects_are_told(with_champion: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "Great coffee."}\n{"text": "bro\n{"text": "Rude staff."}\n')
    command = ("parse", "in", "-o", "parsed/", "--part-rows", "1", "--resume", "--max-rejects", "50")
    code, out, err = run(*command, cwd=tmp_path)
    assert code == 0, err
    assert "2 reviews" in out
    layout, rejects = err.splitlines()
    assert layout == "in/a.jsonl: JSON lines, UTF-8, texts in 'text'"
    assert rejects == "1 rows could not be parsed -> parsed/_rejects-*.jsonl"
    (tmp_path / "parsed" / "part-00002.parquet").unlink()
    code, out, err = run(*command, "--json", cwd=tmp_path)
    found = json.loads(out)
    assert (code, found["rows"], found["rejected"], found["before"]) == (0, 2, 1, 1)
    line = refused("parse", "in", "-o", "parsed", cwd=tmp_path)
    assert "parsed is not empty: go on with it by --resume" in line
    code, out, err = run("parse", "in", cwd=tmp_path)
    assert (code, len(out.splitlines())) == (1, 2)
    assert "1 of 3 rows were rejected, more than --max-rejects 5 %: in/a.jsonl:2: not JSON" in err
    code, out, err = run("parse", "in", "--max-rejects", "40", cwd=tmp_path)
    assert (code, len(out.splitlines())) == (0, 2)
    assert "1 rows could not be parsed (in/a.jsonl:2: not JSON" in err
    assert "--rejects FILE keeps them" in err


def test_a_long_run_says_in_a_log_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from reviews_parsing.cli import output

    monkeypatch.setattr(output, "LINE_SECONDS", 0)
    monkeypatch.setattr(output, "err", Console(file=sys.stderr, highlight=False))
    with output.progress_bar("parsing", lines=True) as update:
        update(0.25, "1,000 reviews, 620 a second")
    assert capfd.readouterr().err == "parsing 25.0%, 1,000 reviews, 620 a second, 0:00:00 left\n"


def test_an_epoch_of_a_training_says_how_long_the_others_take(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    seconds = iter((100.0, 160.0, 200.0))
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr(output, "err", Console(file=sys.stderr, highlight=False))
    progress = output.epoch_progress(lambda *_: None)
    progress(0.4, {})  # a resumed training
    for share, epoch in ((0.6, 3), (1.0, 5)):
        progress(share, {"epoch": epoch, "epochs": 5, "loss": 0.5, "eval_aggregated_f1": 0.75})
    assert capfd.readouterr().err.splitlines() == [
        "epoch 3/5  loss 0.500  validation F1 0.750  0:02:00 left",
        "epoch 5/5  loss 0.500  validation F1 0.750",
    ]


def test_versions_fit_into_100_columns(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from reviews_parsing.cli import models
    from reviews_parsing.registry import Version

    monkeypatch.setattr(output, "out", Console(file=sys.stdout, highlight=False, width=100))
    tags = {f"test_{name}_f1": "0.8123" for name in ("aggregated", "span", "with_polarity")}
    tags["gate"] = "not worse than version 1 on " + "a set of reviews, " * 10
    models._print_versions(
        [Version(str(n), f"{n}" * 32, ("champion",) * (n == 2), 10**12, tags) for n in (2, 1)], ["3"]
    )
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split()[-1] for line in lines[:3]] == ["run", "2" * 32, "1" * 32]
    assert any(line.startswith("version 2: not worse than version 1") for line in lines)
    assert lines[-1] == "version 3: rolled back, not offered again"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("Great coffee.", True),
        ("Yum?", True),
        ("Nice", True),
        ("We ate here; see 1/2 of it", True),
        ("reviews.csv.zst", False),
        ("my reviews.csv", False),
        ("June export.xlsx", False),
        ("The *best* soup", True),
        ("reviews/*", False),
        ("parsed/", False),
        ("s3://bucket/my reviews", False),
        ("/data/June", False),
        ("./June", False),
        ("../my reviews/June", False),
        ("~/June", False),
        ("C:\\Users\\ann\\June", False),
        ("src/June", False),
        ("10/10", True),
        ("/ 10 stars", True),
        ("-", False),
    ],
)
def test_a_text_is_told_from_a_file(what: str, text: bool) -> None:
    from reviews_parsing.cli.parse import _is_text

    assert _is_text([what]) is text


@pytest.mark.parametrize(("code", "text"), [("de", "Das Essen war kalt, der Kellner unfreundlich."), ("en", TEXT)])
def test_a_foreign_text_is_reported(with_champion: Path, code: str, text: str) -> None:
    status, out, err = run("parse", text)
    assert (status, "a language that the model does not read (de)" in err) == (0, code == "de")
    assert all(aspect["score"] <= 0.5 for aspect in json.loads(out)) == (code == "de")


def test_stdin_to_json_lines(with_champion: Path) -> None:
    code, out, _ = run("parse", "-", stdin="Great coffee.\nRude staff.\n")
    assert code == 0
    assert [json.loads(line)["aspects"][0]["word"] for line in out.splitlines()] == ["coffee", "staff"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("parse", TEXT, "--json"),
        ("models", "--json"),
        ("data", "stats", "--json"),
        ("data", "check", "--json"),
        ("evaluate", "--json"),
    ],
)
def test_json_is_one_document_and_nothing_else(with_champion: Path, arguments: tuple[str, ...]) -> None:
    code, out, _ = run(*arguments)
    assert code == 0
    json.loads(out)


def test_a_model_is_evaluated_on_any_data_and_against_another(with_champion: Path, tmp_path: Path) -> None:
    data.write(data.read_splits("corpus")["test"][:40], tmp_path / "gold.jsonl")
    (tmp_path / "map.json").write_text('{"STAFF": "SERVICE"}')
    champion = "models:/reviews-parsing-ner-aspects@champion"
    gold = str(tmp_path / "gold.jsonl")
    code, out, _ = run("evaluate", champion, gold, "--map", str(tmp_path / "map.json"), "--against", champion, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["reviews"] == 40
    assert set(found["f1"]) == {"span", "span_category", "span_category_polarity"}
    assert "STAFF_f1" not in found["metrics"]
    assert found["f1"]["span"] > found["f1"]["span_category"] > found["f1"]["span_category_polarity"] > 0.2
    assert 0 < found["ece"] < 1
    assert 0.1 < found["tasd_f1"] < found["f1"]["span"]
    scores = found["by_score"]["aggregated"]
    assert scores["0.9"]["precision"] > scores["0.0"]["precision"] == found["metrics"]["aggregated_precision"]
    assert scores["0.9"]["recall"] < scores["0.0"]["recall"] == found["metrics"]["aggregated_recall"]
    assert 0 < len(found["mistakes"]) <= 10
    assert set(found["by_polarity"]) <= {"positive", "negative", "neutral"}
    counted = [sum(its["support"] for its in found[by].values()) for by in ("by_polarity", "by_words")]
    assert counted == [found["metrics"]["aggregated_support"]] * 2
    assert found["against"]["difference"] == {"mean": 0, "low": 0, "high": 0}
    (version,) = json.loads(run("models", "--json")[1])
    for its in (version["run_id"], f"runs:/{version['run_id']}"):
        of_run = json.loads(run("evaluate", its, gold, "--map", str(tmp_path / "map.json"), "--json")[1])
        assert of_run["f1"] == found["f1"]


def test_an_evaluation_is_logged_when_asked(with_champion: Path, tmp_path: Path) -> None:
    data.write(data.read_splits("corpus")["test"][:20], tmp_path / "gold.jsonl")
    run_id = json.loads(
        run(
            "evaluate", "--log", "--json", "models:/reviews-parsing-ner-aspects@champion", str(tmp_path / "gold.jsonl")
        )[1]
    )["run_id"]
    with registry.tracking() as client:
        logged = client.get_run(run_id)
        assert logged.data.params["data_source"] == str(tmp_path / "gold.jsonl")
        assert {"aggregated_f1", "tasd_f1", "span_ece"} <= set(logged.data.metrics)
        assert {f.path for f in client.list_artifacts(run_id, "plots")} == {
            f"plots/{name}.png" for name in ("category_f1", "confusion", "reliability")
        }


def test_tables_are_plain_text_in_a_pipe(with_champion: Path) -> None:
    for arguments in (("models",), ("data", "stats")):
        code, out, _ = run(*arguments)
        assert code == 0
        assert "\x1b" not in out


@pytest.mark.parametrize(
    "command",
    [
        "",
        "parse",
        "train",
        "evaluate",
        "promote",
        "rollback",
        "models",
        "register",
        "retrain",
        "sign",
        "verify",
        "serve",
        "data reference add",
        "data check",
        "data suggest",
        "corrections export",
    ],
)
def test_every_command_has_help(command: str) -> None:
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert "Usage" in out


def test_mistakes_are_one_line(with_champion: Path, tmp_path: Path) -> None:
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    (tmp_path / "dos.csv").write_bytes("text\ncaf\xe9\n".encode("cp437"))
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "labels.jsonl").write_text('{"id": "1", "text": "good", "aspects": [{"entity_group": "FOOD", "sta')
    (tmp_path / "good.csv").write_text("text\nGreat coffee.\n")
    assert "no-such-file.csv" in refused("parse", "no-such-file.csv", cwd=tmp_path)
    assert "a, b" in refused("parse", "columns.csv", "-o", "out.csv", cwd=tmp_path)
    assert "--encoding" in refused("parse", "dos.csv", "-o", "out.csv", cwd=tmp_path)
    assert "empty" in refused("parse", "empty.csv", "-o", "out.csv", cwd=tmp_path)
    assert "--engine ray" in refused("parse", "good.csv", "-o", "parts/", "--address", "auto", cwd=tmp_path)
    assert "only a folder" in refused("parse", "good.csv", "-o", "out.csv", "--resume", cwd=tmp_path)
    assert "labels.jsonl:1" in refused("data", "stats", "labels.jsonl", cwd=tmp_path)
    assert "99" in refused("parse", TEXT, "--model", "models:/reviews-parsing-ner-aspects/99")
    assert "99" in refused("promote", "--version", "99")
    assert "out.doc" in refused("parse", "good.csv", "-o", "out.doc", cwd=tmp_path)
    assert not list(tmp_path.glob("out*"))


def test_without_a_champion_the_line_says_how_to_get_one(tmp_path: Path) -> None:
    champion = "models:/reviews-parsing-ner-aspects@champion"
    assert "reviews-parsing train" in refused("parse", TEXT, "--model", champion)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give a trigger"),
        (("--every", "3 weeks"), "write 90m, 24h or 30d"),
        (("--approve", "2", "--reject", "2"), "give one of --approve and --reject"),
    ],
)
def test_retrain_needs_a_trigger_or_a_decision(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    code, out, err = run("retrain", *arguments, COLUMNS="200")
    assert (code, out) == (2, "")
    assert words in err


def test_retrain_without_a_champion_is_one_line(tmp_path: Path) -> None:
    assert "has no champion yet: reviews-parsing register" in refused("retrain", "--now")


def test_a_tracking_server_that_is_down_is_one_line(tmp_path: Path) -> None:
    down: dict[str, Any] = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    assert "MLFLOW_TRACKING_URI" in refused("models", **down)


def test_a_backbone_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert "./nothing" in refused("train", "corpus", "--backbone", "./nothing")


def test_unknown_categories_are_found(tmp_path: Path) -> None:
    row = {"id": "1", "text": "Good.", "aspects": [{"entity_group": "FOD", "word": "Good", "start": 0, "end": 4}]}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")
    code, out, _ = run("data", "check", "labels.jsonl", "--categories", "FOOD", cwd=tmp_path)
    assert code == 1
    assert "labels.jsonl:1" in out
    assert "FOD" in out


def test_the_shipped_corpus_is_clean() -> None:
    code, out, _ = run("data", "check", "corpus", "--json")
    assert code == 0
    assert json.loads(out) == []


def test_commands_that_read_labels_name_fields_and_print_warnings_as_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    region = {"id": "a", "from_name": "category", "to_name": "text", "type": "labels"}
    labels = [
        {**region, "value": {"start": 4, "end": 9, "labels": ["FOOD"]}},
        {"id": "n", "from_name": "stars", "to_name": "text", "type": "rating", "value": {"rating": 4}},
    ]
    task = {"id": 1, "data": {"note": TEXT, "title": f"{TEXT} "}, "annotations": [{"id": 1, "result": labels}]}
    file = tmp_path / "export.json"
    file.write_text(json.dumps([task]))
    warning = f"warning: {file}: not read: 1 rating of control 'stars'"

    def stderr(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["reviews-parsing", *arguments])
        with warnings.catch_warnings():
            warnings.simplefilter("always", data.LabelWarning)
            with pytest.raises(SystemExit):
                main()
        return capsys.readouterr().err.splitlines()

    named = ("--text-field", "note")
    assert stderr("evaluate", "pretrained", str(file), *named) == [warning]
    assert stderr("data", "stats", str(file), *named) == [warning]
    other = tmp_path / "other.conll"
    other.write_text("warm O\ntart B-DESSERT\n")
    unknown = "warning: 1 labels have names that the model does not know (DESSERT): rename them with --map"
    assert stderr("evaluate", "pretrained", str(other)) == [unknown]
    first, error = stderr("train", str(file), *named)
    assert (first, "split is empty" in error) == (warning, True)
    assert "in the field 'notes'" in stderr("evaluate", "pretrained", str(file), "--text-field", "notes")[-1]
