"""The live display of a terminal: a bar over all steps, and the current task beneath it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from workbench.errors import printable
from workbench.training.overall_progress import Overall
from workbench.training.time_left import duration, left_words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_BAR = 24  # characters; with the times beside it, a line has at most 79
_LEAST_BAR = 4


def can_move(console: Console) -> bool:
    """Whether lines can be drawn again: FORCE_COLOR does not turn a file into a terminal."""
    return bool(console.is_terminal and console.file.isatty() and not console.is_dumb_terminal)


class LiveDisplay:
    """Draws the state of the whole command until its context ends, and then removes it.

    Attributes:
        note: the state of the current task.
    """

    def __init__(self, console: Console, overall: Overall) -> None:
        from rich.live import Live

        self.note = ""
        self._console = console
        self._overall = overall
        self._live: Any = Live(
            get_renderable=self._picture,
            console=console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        overall = self._overall
        words = overall_words(overall, time.monotonic())
        line = Table.grid(padding=(0, 1))
        room = min(_BAR, self._console.width - len(words) - 1)
        bar = ProgressBar(total=1.0, completed=overall.done, width=room)
        cells = [bar] if room >= _LEAST_BAR else []  # the numbers matter more
        line.add_row(*cells, Text(words, no_wrap=True))
        current = f"{printable(overall.title)}  {self.note}".rstrip()
        return Group(line, Text(current, no_wrap=True, overflow="ellipsis"))


def overall_words(overall: Overall, now: float) -> str:
    """The finished share, the time so far, and the time left if it is known."""
    left = left_words(overall.seconds_left)
    return f"{int(100 * overall.done):3} % · {duration(now - overall.began)}" + (
        f" · {left}" if left else ""
    )
