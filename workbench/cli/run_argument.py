"""The argument RUN and the option ``--model`` of commands that read a trained network."""

from __future__ import annotations

from typing import Annotated

import typer

Run = Annotated[
    str,
    typer.Argument(
        help="Trained network: a weight file, the id of a training's run, or the id of an "
        "adaptation's run (for its recommended network).",
        show_default=False,
    ),
]
Own = Annotated[
    str | None,
    typer.Option(help="Architecture, if the network is your own code (package.module:function)."),
]
