"""The argument RUN and the option --model of commands that read a trained network."""

from __future__ import annotations

from typing import Annotated

import typer

Run = Annotated[
    str,
    typer.Argument(
        help="Id of a training's run, of an adaptation's run (its recommended network), or a "
        "weight file.",
        show_default=False,
    ),
]
Own = Annotated[
    str | None,
    typer.Option(
        help="The network's name, where it is code of your own (package.module:function)."
    ),
]
