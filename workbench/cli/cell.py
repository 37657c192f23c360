"""``workbench cell``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.console import open_display


def cell(
    file: Annotated[
        Path, typer.Argument(help="File with the cell in JSON; '-' reads it from stdin.")
    ],
) -> None:
    """Run one cell of an experiment from JSON in this process; engines call this command.

    The result is one JSON object on stdout, messages are on stderr. A cell that is
    recorded already is answered at once. docs/cluster.md describes the fields.

    \b
    Examples:
      workbench cell cell.json
      echo '{"kind": "training", "protocol": "pfa-fine", "seed": 3, \\
        "options": {"source": "digits", "target": "digits-3v8"}}' | workbench cell -
    """
    from workbench.data.user_paths import user_path
    from workbench.errors import SettingsError, WorkbenchError
    from workbench.experiments.engines.cell_processes import end_with_parent

    end_with_parent()
    from workbench.experiments.cell_kinds import run_cell
    from workbench.experiments.engines.cells import MOST_BYTES, read_cell

    try:
        if str(file) == "-":
            text, place = sys.stdin.buffer.read(MOST_BYTES + 1), "stdin"
        else:
            place = str(file)
            try:
                with user_path(file).open("rb") as opened:
                    text = opened.read(MOST_BYTES + 1)
            except OSError as error:
                raise SettingsError(f"{file}: cannot be read ({error.strerror})") from None
        result = run_cell(read_cell(text, place), open_display(False))
    except WorkbenchError as error:
        print(json.dumps({"error": type(error).__name__, "problems": error.problems}), flush=True)
        raise
    print(json.dumps(result), flush=True)
