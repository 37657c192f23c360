"""``workbench doctor``."""

from __future__ import annotations

import json
from typing import Any

import typer

from workbench.cli.console import print_line
from workbench.cli.options import takes


@takes("data_dir", "tracking_uri", "output", "json")
def doctor(**chosen: Any) -> None:
    """Check the installation, the machine, the data sets and the store; nothing is written.

    Each line is ok, note or problem. The command also measures how fast the default networks
    train here, in a few seconds, and what that means for the paper's schedule. The exit
    status is 1 if something that other commands need is broken, otherwise 0.

    \b
    Example:
      workbench doctor
    """
    from workbench.experiments.doctor.checks import examine
    from workbench.experiments.doctor.lines import as_dict, usable

    as_json = chosen.pop("json")
    lines = []
    for line in examine(**chosen):
        lines.append(line)
        if not as_json:
            print_line(f"{line.level:<8} {line.name:<10} {line.text}")
    if as_json:
        print(json.dumps(as_dict(lines), indent=1))
    if not usable(lines):
        raise typer.Exit(1)
