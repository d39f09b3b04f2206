"""Hooks of MkDocs: pages outside docs/, the command-line reference, and links that also work on a Git host.

mkdocs.yml names this file. Pages are written in GitHub-flavoured Markdown with relative links between files of the
repository; the hooks translate both to what Python-Markdown and the site's layout need.
"""

from __future__ import annotations

import html
import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).resolve().parent.parent
COMMAND = "reviews-parsing"
CLI_PAGE = "reference/cli.md"

# Pages of the site whose source is elsewhere in the repository.
SOURCES = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "reference/corpus.md": "src/reviews_parsing/data/corpus/README.md",
    "how-to/kind.md": "deploy/kind/README.md",
    "how-to/gke.md": "deploy/gke/README.md",
}
PAGES = {source: page for page, source in SOURCES.items()}

FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
DOCTEST = re.compile(r"\n(>>> .+(?:\n.+)*)")
LIST_ITEM = re.compile(r"([-*+]|\d+\.) ")

log = get_plugin_logger("docs")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages whose source is outside docs/, and the generated command-line reference."""
    for page, source in SOURCES.items():
        files.append(File.generated(config, page, abs_src_path=str(PROJECT / source)))
    files.append(File.generated(config, CLI_PAGE, content=cli_reference()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Translate links and list spacing, but not inside fenced code."""
    pieces = FENCE.split(markdown)
    for index in range(0, len(pieces), 2):
        pieces[index] = LINK.sub(lambda link: site_link(link, page.file.src_uri, config), spaced(pieces[index]))
    return "".join(pieces)


def site_link(link: re.Match[str], page: str, config: MkDocsConfig) -> str:
    """Return a link between files of the repository as one between pages of the site.

    A link to a file that is not a page goes to `repo_url`, or becomes plain text if that is not configured. A missing
    target is a warning, which `--strict` turns into an error.
    """
    image, label, target = link.groups()
    if re.match(r"[a-z]+:|#", target):
        return link[0]
    source = SOURCES.get(page, f"docs/{page}")
    path, _, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if not (PROJECT / path).exists():
        log.warning("%s links to %s, which does not exist", source, target)
        return link[0]
    if (PROJECT / path).is_dir():
        path += "/index.md"
    uri = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    if uri:
        target = posixpath.relpath(uri, posixpath.dirname(page) or ".") + (f"#{anchor}" if anchor else "")
    elif config.repo_url:
        target = f"{config.repo_url.rstrip('/')}/blob/HEAD/{path.removesuffix('/index.md')}"
    else:
        return label
    return f"{image}[{label}]({target})"


def spaced(markdown: str) -> str:
    """Insert the blank line that Python-Markdown needs between a paragraph and a list or table after it."""
    lines: list[str] = []
    in_list = False
    for line in markdown.split("\n"):
        above = lines[-1] if lines else ""
        starts_list, starts_table = bool(LIST_ITEM.match(line)), line.startswith("|")
        if above.strip() and ((starts_list and not in_list) or (starts_table and not above.startswith("|"))):
            lines.append("")
        if starts_list:
            in_list = True
        elif line.strip() and not line.startswith(" ") and not above.strip():
            in_list = False
        lines.append(line)
    return "\n".join(lines)


class DoctestBlocks(griffe.Extension):
    """Extension of mkdocstrings: examples with `>>>` in docstrings become blocks of code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Fence the examples in the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(r"\n```pycon\n\1\n```\n", obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Fence the examples in the docstring of the package, for which `on_object` is not called."""
        self.on_object(obj=pkg)


def cli_reference() -> str:
    """Return the reference of all commands as Markdown, from the Typer app."""
    import typer
    from typer.main import get_command

    from reviews_parsing.cli.app import app

    root = get_command(app)
    parts = ["# Command line"]
    for name, command in commands(COMMAND, root):
        context = typer.Context(command, info_name=name)
        parts += ["" if command is root else f"## {name}", description(command.help or "")]
        parts.append(f"```text\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```")
        records = [
            record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))
        ]
        parts.append("\n".join(f"- `{option}`: {escaped(text)}" for option, text in records))
    return "\n\n".join(parts) + "\n"


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield a command and its subcommands, each with its full name."""
    yield name, command
    for child in getattr(command, "commands", {}).values():
        if not child.hidden:
            yield from commands(f"{name} {child.name}", child)


def description(text: str) -> str:
    """Return the help text of a command as Markdown; indented examples become one block of code."""
    from rich.text import Text

    plain = Text.from_markup(inspect.cleandoc(text)).plain
    parts: list[str] = []
    for paragraph in plain.split("\n\n"):
        if not paragraph.startswith("    "):
            parts.append(escaped(paragraph))
        elif parts and parts[-1].startswith("```"):
            parts[-1] = f"{parts[-1].removesuffix('```')}{inspect.cleandoc(paragraph)}\n```"
        else:
            parts.append(f"```bash\n{inspect.cleandoc(paragraph)}\n```")
    return "\n\n".join(parts)


def escaped(text: str) -> str:
    """Return plain text with the characters escaped that Markdown would interpret."""
    return re.sub(r"([\\`*_{}\[\]])", r"\\\1", html.escape(text, quote=False))
