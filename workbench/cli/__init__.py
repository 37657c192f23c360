"""The command line: parse, call one function, print.

``commands`` has the table of commands. It is imported after the signal handlers for Ctrl-C are
installed, and heavy imports stay inside the commands.
"""

from __future__ import annotations

try:
    from workbench.cli import interrupts
except KeyboardInterrupt:  # the handlers are not installed yet
    raise SystemExit(130) from None

TYPE_CHECKING = False  # importing typing would take longer than importing this module
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process with its exit status."""
    interrupts.run(_command)


def _command() -> int:
    from workbench.cli.standard_streams import open_missing_streams

    open_missing_streams()
    from workbench.cli.commands import run_command

    return run_command()
