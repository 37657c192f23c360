"""One option of the command line, as data."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, Any

import typer

REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Option:
    """One option of the command line.

    Attributes:
        kind: the Python type of its value.
        panel: title of its section on the help page.
        help: its text on the help page.
        default: its value when left out; ``REQUIRED`` if it must be given.
        names: its names on the command line, if they differ from the parameter's name.
    """

    kind: Any
    panel: str
    help: str
    default: Any = None
    names: tuple[str, ...] = ()

    def parameter(self, name: str) -> inspect.Parameter:
        """The option as a parameter of a command."""
        option = typer.Option(*self.names, help=self.help, rich_help_panel=self.panel)
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=self.default,
            annotation=Annotated[self.kind, option],
        )
