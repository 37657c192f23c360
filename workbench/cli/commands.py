"""The table of commands, and the display of their errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from workbench import __version__
from workbench.cli import domains
from workbench.cli.adapt import adapt
from workbench.cli.analyze import analyze
from workbench.cli.bench import bench
from workbench.cli.cell import cell
from workbench.cli.clean import clean
from workbench.cli.compare import compare
from workbench.cli.doctor import doctor
from workbench.cli.export import export
from workbench.cli.predict import predict
from workbench.cli.quantize import quantize
from workbench.cli.register import register
from workbench.cli.report import report
from workbench.cli.reproduce import reproduce
from workbench.cli.serve import serve
from workbench.cli.shrink import shrink
from workbench.cli.standard_streams import checked_stdout, print_error
from workbench.cli.torchrun import is_started_by_torchrun, run_in_first
from workbench.cli.train import train
from workbench.cli.ui import ui
from workbench.errors import WorkbenchError, printable

app = typer.Typer(
    name="workbench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"workbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Compress a trained network for the few classes that your device has to recognise.

    Start with:  workbench adapt --source digits --target digits-3v8
    """


app.command("adapt")(adapt)
app.command("analyze")(analyze)
app.command("shrink")(shrink)
app.command("train")(train)
app.command("export")(export)
app.command("quantize")(quantize)
app.command("predict")(predict)
app.command("register")(register)
app.add_typer(domains.app, name="domains")
app.command("compare")(compare)
app.command("report")(report)
app.command("reproduce")(reproduce)
app.command("bench")(bench)
app.command("cell")(cell)
app.command("ui")(ui)
app.command("serve")(serve)
app.command("clean")(clean)
app.command("doctor")(doctor)


def run_command() -> int:
    """Run the command line and return its exit status.

    An error that the user can fix prints one line per problem on stderr.
    """
    if is_started_by_torchrun():
        return _run(lambda: run_in_first(lambda: _run(_parse)))
    return _run(_parse)


def _parse() -> int:
    status = app(standalone_mode=False)
    return status if isinstance(status, int) else 0


def _run(command: Callable[[], int]) -> int:
    """Call a command; print its errors and return its exit status."""
    try:
        with checked_stdout():
            status = command()
            sys.stdout.flush()
    except WorkbenchError as error:
        for problem in error.problems:
            print_error(f"workbench: {problem}")
        return error.exit_code
    except BrokenPipeError:  # the reader of stdout has ended
        return 1
    except Exception as error:
        # typer has its own copy of click, so a usage error is recognised by its method.
        if not hasattr(error, "format_message"):
            raise
        _explain_usage(error)
        return 2
    return status


def _explain_usage(error: Any) -> None:
    """Print one line about arguments that cannot be parsed, or the help if there are none."""
    context = error.ctx
    message = printable(" ".join(error.format_message().split()))
    if not message and context:
        print_error(context.get_help())
        return
    command = context.command_path if context else "workbench"
    print_error(f"workbench: {message} (see '{command} --help')")
