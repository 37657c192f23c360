"""What the paper leaves open, on the domains of figure 4: other ways to train the small network.

Distillation: can a specialised network be better than the full one that it follows? Equal compute:
does the gap between fine-tuning and training from scratch close when the small network may train
for as many FLOPs as the full one (Liu et al., "Rethinking the Value of Network Pruning", ICLR
2019)? Cells of the four protocols are those of figure 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.cells import Cell
from workbench.experiments import Part, Wish
from workbench.figures import comparison_chart
from workbench.pages import Page, Results, by_domain, gap, signed, table
from workbench.report import accuracy_text


@dataclass(frozen=True)
class Question:
    """One protocol held against another.

    Attributes:
        title: of its page.
        rival: the protocol that has to be better.
        reference: than this one.
        beside: shown with them.
    """

    title: str
    rival: str
    reference: str
    beside: tuple[str, ...]

    def parts(self, options: Mapping[str, Any], names: Sequence[str], seeds: range) -> list[Part]:
        """A part a domain."""
        protocols = (self.reference, *self.beside, self.rival)
        return [Part({**options, "target": name}, protocols, seeds) for name in names]

    def page(self, name: str, found: Sequence[tuple[Wish, Cell]], folder: Path) -> Page:
        """Accuracies a domain, and on how many of them the rival is better."""
        cells = self.paired([cell for _, cell in found])
        results = by_domain(cells)
        chart = folder / f"{name}.png"
        comparison_chart(
            {domain: list(rows.values()) for domain, rows in results.items()}, {}, chart
        )
        return Page(
            name=name,
            title=self.title,
            findings=self.findings(results, sorted({cell.epochs for cell in cells})),
            body=self._table(results),
            figures=(chart.name,),
        )

    def paired(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those of the seeds that both protocols have on a domain: like is held against like."""
        seeds = {
            name: {(cell.domain, cell.seed) for cell in cells if cell.protocol == name}
            for name in (self.rival, self.reference)
        }
        both = seeds[self.rival] & seeds[self.reference]
        return [cell for cell in cells if (cell.domain, cell.seed) in both]

    def findings(self, results: Results, epochs: Sequence[int]) -> list[str]:
        """On how many domains the rival is better, and by how much on average, in sentences."""
        gaps = {
            domain: gap(rows[self.rival], rows[self.reference]) for domain, rows in results.items()
        }
        above = [domain for domain, gap in gaps.items() if gap > 0]
        equal = [domain for domain, gap in gaps.items() if gap == 0]
        below = [domain for domain, gap in gaps.items() if gap < 0]
        lines = [
            f"{self.rival} is better than {self.reference} on {_some(above, gaps)}, as good on "
            f"{_some(equal, gaps)}, worse on {_some(below, gaps)}."
        ]
        mean = sum(gaps.values()) / len(gaps)
        lines.append(f"On average over the domains: {signed(mean)} points.")
        return [*lines, f"Epochs: {', '.join(map(str, epochs))}."]

    def _table(self, results: Results) -> list[str]:
        rows = []
        for domain, protocols in results.items():
            reference = protocols[self.reference]
            for protocol, result in protocols.items():
                rows.append((
                    domain, protocol, accuracy_text(result), str(len(result.hits)),
                    "" if result is reference else signed(gap(result, reference)),
                    f"{100 * result.footprint:.1f} %", f"{100 * result.flops_ratio:.0f} %",
                    f"{result.train_seconds:.0f} s",
                ))  # fmt: skip
        columns = (
            "domain", "protocol", "accuracy (95 % interval)", "n", f"against {self.reference}",
            "footprint", "FLOPs", "train",
        )  # fmt: skip
        return ["## Accuracy", "", *table(columns, rows)]


DISTILLATION = Question(
    "Distillation: can the small network be better than the full one?",
    rival="pfa-distill",
    reference="full-fine",
    beside=("pfa-fine",),
)
EQUAL_COMPUTE = Question(
    "Equal compute: does training from scratch for as many FLOPs close the gap?",
    rival="pfa-scratch-b",
    reference="pfa-fine",
    beside=("full-scratch", "pfa-scratch"),
)


def _some(names: Sequence[str], every: Mapping[str, float]) -> str:
    return f"{len(names)} of {len(every)} domains" + (f" ({', '.join(names)})" if names else "")
