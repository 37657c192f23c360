"""The options for what is recorded and where, and their checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.errors import check_choice

KEEP_WEIGHTS = ("best", "all", "none")


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """The options of the record.

    Attributes:
        fresh: repeat trainings that are already recorded.
        keep_weights: which trained networks are kept: "best" (of each protocol), "all" or "none".
        tracking_uri: the MLflow store; the default one when None.
        output: folder of unfinished work; the default one when None.
    """

    fresh: bool = False
    keep_weights: str = "best"
    tracking_uri: str | None = None
    output: Path | None = None

    def problems(self) -> list[str]:
        """One line for each invalid value."""
        return check_choice("--keep-weights", self.keep_weights, KEEP_WEIGHTS)
