"""Tests of prose in docstrings, Markdown pages and help texts: plain technical English without forbidden phrases."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from reviews_parsing.cli.app import app

PROJECT = Path(__file__).resolve().parent.parent
CODE = ("src", "scripts", "benchmarks")
PAGES = ("*.md", "docs/*.md", "docs/**/*.md", "deploy/*/README.md")

OPENER = re.compile(r"(What|Which|Where|Whether|How|Who|Whom|Whose|When|Why|Of)\b")
# Each phrase has a reason; the message of the test shows it.
FORBIDDEN = {
    r"\b(is|are|was|were|be) (?-i:none)\b": "say what does not exist: 'if it does not exist', 'without a version'",
    r"(?<!there )\bis no (?!longer\b|more\b|less\b|different\b)[a-z]+": "write 'is not a ...'",
    r"\bof before\b": "write 'older' or 'earlier'",
    r"\bshall\b": "write 'must', or the present tense",
    r"\band nothing else\b|\bnothing but\b": "write 'only'",
    r"\bturn(s|ed|ing)? away\b": "write 'shed' (overload) or 'rejected' (invalid)",
    r"\bwhat comes in\b": "name it: the request, the file, the rows",
    r"\bwhat is (read|parsed|sent|stored|served|asked|found)\b": "name it: the input, the review, the request",
    r"\b(no|some|any|every)body\b|\bwhoever\b": "name the role: the user, the client, the operator, a person",
    r"\bRaises \w+ (where|when)\b": "write 'Raises X if ...'",
    r"\b(is|are) told\b|\bhears?\b": "write 'gets', 'receives' or 'reports'",
    r"\bsa(id|ys) of\b": "write 'says about', or name the label",
    r"\bas it is\b|\bis what (it|they|the)\b": "write 'unchanged', or name the state",
    r"\bwhatever\b": "write 'any', 'regardless of' or 'independent of'",
    r"\bgo(es)? on (with|from)\b|, goes on\b": "write 'continue' or 'resume'",
    r"\bstands? for\b|\bstands by itself\b": "write 'represents', 'means' or 'is independent'",
}
PATTERNS = {re.compile(pattern, re.IGNORECASE): reason for pattern, reason in FORBIDDEN.items()}


class Text(NamedTuple):
    """Text of a file, or of a help page, with the number of its first line."""

    name: str
    line: int
    text: str


def docstrings(path: Path) -> Iterator[Text]:
    """Yield the docstrings of a module, its classes, its functions, and its constants and attributes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield Text(str(path), node.body[0].lineno, text)
            yield from attribute_docstrings(path, node.body)


def attribute_docstrings(path: Path, body: list[ast.stmt]) -> Iterator[Text]:
    """Yield the strings that follow an assignment."""
    for assignment, statement in pairwise(body):
        match assignment, statement:
            case ast.Assign() | ast.AnnAssign(), ast.Expr(ast.Constant(str(text))):
                yield Text(str(path), statement.lineno, text)


def prose(markdown: str) -> str:
    """Return a page without code and quotations, which are not prose of the project; lines keep their numbers."""
    quoted = r"^( *)```.*?^ *```|`[^`\n]*`|\"[^\"\n]*(\n[^\"\n]+)?\"|(?<!\*)\*(?![\s*])[^*\n]+\*(?!\*)"
    return re.sub(quoted, lambda match: "\n" * match.group().count("\n"), markdown, flags=re.DOTALL | re.MULTILINE)


def help_texts(command: Any, name: str) -> Iterator[Text]:
    """Yield the help of a command, its options and its subcommands."""
    yield Text(f"{name} --help", 1, command.help or "")
    for parameter in command.params:
        yield Text(f"{name} {parameter.opts[0]}", 1, getattr(parameter, "help", None) or "")
    for key, subcommand in getattr(command, "commands", {}).items():
        yield from help_texts(subcommand, f"{name} {key}")


def complaints(texts: Iterable[Text]) -> list[str]:
    """Return a line for each forbidden phrase."""
    lines = []
    for name, line, text in texts:
        for pattern, reason in PATTERNS.items():
            for match in pattern.finditer(text):
                number = line + text.count("\n", 0, match.start())
                lines.append(f"{name}:{number}: '{match.group()}': {reason}")
    return lines


def tracked(*patterns: str) -> list[Path]:
    """Return the project's files that match, as git lists them, or those on disk outside a repository."""
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=PROJECT, capture_output=True, text=True, check=False)
    names = listed.stdout.split() or [str(path) for pattern in patterns for path in PROJECT.glob(pattern)]
    return [PROJECT / name for name in names]


@pytest.fixture(scope="module")
def code_docstrings() -> list[Text]:
    return [text for folder in CODE for path in (PROJECT / folder).rglob("*.py") for text in docstrings(path)]


def test_no_docstring_opens_with_a_wh_word(code_docstrings: list[Text]) -> None:
    assert len(code_docstrings) > 1000
    assert [f"{name}:{line}: {text}" for name, line, text in code_docstrings if OPENER.match(text)] == []


def test_docstrings_hold_no_forbidden_phrase(code_docstrings: list[Text]) -> None:
    assert complaints(code_docstrings) == []


def test_pages_hold_no_forbidden_phrase() -> None:
    pages = [Text(str(path), 1, prose(path.read_text(encoding="utf-8"))) for path in tracked(*PAGES)]
    assert len(pages) > 20
    assert complaints(pages) == []


def test_help_holds_no_forbidden_phrase() -> None:
    texts = list(help_texts(typer.main.get_command(app), "reviews-parsing"))
    assert len(texts) > 100
    assert complaints(texts) == []


def test_the_checker_finds_phrases_with_their_lines() -> None:
    sample = (
        "Read a file.\n\nA folder that was killed goes on from there. Returns the champion, None if there is none.\n"
    )
    assert [line.split(": ")[0] + line.split(": ")[1] for line in complaints([Text("page", 10, sample)])] == [
        "page:12'is none'",
        "page:12'goes on from'",
    ]
    assert OPENER.match("Which column holds the texts.")


def test_the_checker_reads_docstrings_of_constants_and_attributes(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        '"""Module."""\nLIMIT = 3\n"""Of a sheet."""\n\n\nclass A:\n    size: int = 0\n    """How large."""\n\n'
        '    def __init__(self):\n        self.name = ""\n        """Whether it has a name."""\n'
    )
    assert sorted((line, text) for _, line, text in docstrings(module)) == [
        (1, "Module."),
        (3, "Of a sheet."),
        (8, "How large."),
        (12, "Whether it has a name."),
    ]


def test_the_checker_ignores_code_and_quotations() -> None:
    sample = '**Rules**\n```\nnobody\n```\nWrite "whatever\nyou like" and `shall`; **but** somebody *goes on with* it\n'
    (line,) = complaints([Text("page", 1, prose(sample))])
    assert line.startswith("page:6: 'somebody': ")
    assert not OPENER.match("Whole texts.")
