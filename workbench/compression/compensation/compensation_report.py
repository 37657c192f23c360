"""What a compensation did: the error of each corrected reader, and the skipped readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean

from workbench.data.checked_values import LARGEST_NUMBER, listed, mapped, number, short_text, whole

_MOST = 10**6


@dataclass(frozen=True)
class CorrectedReader:
    """One reader that took over removed filters.

    Attributes:
        layer: its name.
        removed: number of its inputs (channels) that are removed.
        before, after: error of its outputs without and with compensation: the root of the squared
            error over the squared outputs, 0 or more. Each position of a kernel counts by itself.
    """

    layer: str
    removed: int
    before: float
    after: float


@dataclass(frozen=True)
class CompensationReport:
    """What a compensation did.

    Attributes:
        readers: the corrected readers, in the network's order.
        skipped: the other readers of removed filters, with the reason.
        norms: number of batch norms whose statistics were estimated again.
    """

    readers: tuple[CorrectedReader, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    norms: int = 0

    @property
    def before(self) -> float:
        """Mean error of the corrected readers without compensation; 0 if there is none."""
        return fmean(reader.before for reader in self.readers) if self.readers else 0.0

    @property
    def after(self) -> float:
        """Mean error of the corrected readers with compensation; 0 if there is none."""
        return fmean(reader.after for reader in self.readers) if self.readers else 0.0

    def metrics(self) -> dict[str, float]:
        """The report as MLflow metrics."""
        return {
            "compensated_layers": len(self.readers),
            "compensation_error_before": round(self.before, 6),
            "compensation_error_after": round(self.after, 6),
        }

    def lines(self) -> list[str]:
        """The report as text: one line, and one for each reason to skip layers."""
        whole_number = len(self.readers) + len(self.skipped)
        text = f"compensation: {len(self.readers)} of {whole_number} reading layers corrected"
        if self.readers:
            text += f", error of their outputs {self.before:.3f} -> {self.after:.3f} on average"
        if self.norms:
            text += f"; {self.norms} batch norms estimated again"
        reasons: dict[str, list[str]] = {}
        for layer, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(layer)
        more = {reason: f" and {len(names) - 3} more" for reason, names in reasons.items()}
        return [text] + [
            f"not compensated: {', '.join(names[:3])}{more[reason] if len(names) > 3 else ''}: "
            f"{reason}"
            for reason, names in reasons.items()
        ]

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_plain(cls, content: object) -> CompensationReport:
        """Make a report from the parsed data of ``to_json``; all values are checked.

        Raises:
            ValueError: when they are not a report.
        """
        saved = mapped("the report", content)
        rows = [mapped("a reader", row) for row in listed("readers", saved.get("readers"))]
        skipped = mapped("skipped", saved.get("skipped"))
        return cls(
            tuple(
                CorrectedReader(
                    short_text("layer", row.get("layer")),
                    whole("removed", row.get("removed"), 0, _MOST),
                    number("before", row.get("before"), 0, LARGEST_NUMBER),
                    number("after", row.get("after"), 0, LARGEST_NUMBER),
                )
                for row in rows
            ),
            {layer: short_text("a reason", why) for layer, why in skipped.items()},
            whole("norms", saved.get("norms"), 0, _MOST),
        )
