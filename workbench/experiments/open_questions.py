"""Questions that the paper leaves open: other ways to train the small network.

Distillation: can a small network with full-fine as its teacher be better than full-fine? Equal
compute: does the gap between fine-tuning and training from scratch close if the small network
trains for as many FLOPs as the full one (Liu et al., "Rethinking the Value of Network Pruning",
ICLR 2019)? The domains, and the cells of the four protocols, are those of figure 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.adaptation.settings import Settings
from workbench.experiments.pages import Page, Results, by_domain, gap, one_seed, signed, table
from workbench.experiments.requested_cells import Part, Wish
from workbench.experiments.result_rows import Cell
from workbench.reporting.charts import comparison_chart
from workbench.reporting.results import ProtocolResult
from workbench.reporting.statistics import paired_interval
from workbench.reporting.tables import accuracy_text
from workbench.training.protocols import TEACHER, TEACHER_SEED


@dataclass(frozen=True)
class Question:
    """A comparison of two protocols.

    Attributes:
        title: title of the page.
        rival: the protocol in question.
        reference: the protocol with which it is compared.
        beside: other protocols that the page shows.
        remark: returns a remark on the settings.
    """

    title: str
    rival: str
    reference: str
    beside: tuple[str, ...]
    remark: Callable[[Settings], str]

    @property
    def protocols(self) -> tuple[str, ...]:
        """All protocols of a domain's part."""
        return (self.reference, *self.beside, self.rival)

    def parts(self, options: Mapping[str, Any], names: Sequence[str], seeds: range) -> list[Part]:
        """One part per domain."""
        return [Part({**options, "target": name}, self.protocols, seeds) for name in names]

    def page(self, name: str, found: Sequence[tuple[Wish, Cell]], folder: Path) -> Page:
        """Make a page with the accuracies on each domain and the findings."""
        results = by_domain(cell for _, cell in found)
        epochs = {(cell.domain, cell.protocol): cell.epochs for _, cell in found}
        chart = folder / f"{name}.png"
        comparison_chart(
            {domain: list(rows.values()) for domain, rows in results.items()}, {}, chart
        )
        return Page(
            name=name,
            title=self.title,
            findings=[
                *self.findings(results),
                *one_seed(row for rows in results.values() for row in rows.values()),
                self.remark(Settings.of(**found[0][0].part.options)),
            ],
            body=self._table(results, epochs),
            figures=(chart.name,),
        )

    def findings(self, results: Results) -> list[str]:
        """Sentences about the domains on which ``rival`` is better, and the average difference."""
        gaps = self._gaps(results, self.rival)
        above = [domain for domain, points in gaps.items() if points > 0]
        equal = [domain for domain, points in gaps.items() if points == 0]
        below = [domain for domain, points in gaps.items() if points < 0]
        means = [
            f"{name} {signed(sum(each.values()) / len(each))}"
            for name in (self.rival, *self.beside)
            for each in [self._gaps(results, name)]
        ]
        return [
            f"The mean accuracy of {self.rival} is higher than that of {self.reference} on "
            f"{_domains(above)}, equal on {_domains(equal)} and lower on {_domains(below)}.",
            *self._by_chance(results),
            f"Mean difference from {self.reference} over the domains, in points: "
            f"{', '.join(means)}.",
        ]

    def _by_chance(self, results: Results) -> list[str]:
        """Sentences about the domains on which the difference is significant."""
        found: dict[str, list[str]] = {"apart": [], "chance": [], "unknown": []}
        for domain, rows in results.items():
            interval = paired_interval(rows[self.rival].accuracies, rows[self.reference].accuracies)
            if interval is None:
                found["unknown"].append(domain)
            else:
                found["apart" if interval[0] > 0 or interval[1] < 0 else "chance"].append(domain)
        lines = [
            f"The difference, paired by seed, is significant (its 95 % interval excludes 0) on "
            f"{_domains(found['apart'])} and not significant on {_domains(found['chance'])}."
        ]
        if found["unknown"]:
            lines.append(
                f"There is no interval on {_domains(found['unknown'])} (one seed, or the same "
                "difference for all seeds)."
            )
        return lines

    def _gaps(self, results: Results, protocol: str) -> dict[str, float]:
        return {
            domain: gap(rows[protocol], rows[self.reference]) for domain, rows in results.items()
        }

    def _table(self, results: Results, epochs: Mapping[tuple[str, str], int]) -> list[str]:
        rows = []
        for domain, protocols in results.items():
            reference = protocols[self.reference]
            for protocol, result in protocols.items():
                rows.append((
                    domain, protocol, str(epochs[domain, protocol]), accuracy_text(result),
                    str(len(result.hits)),
                    "" if result is reference else _difference(result, reference),
                    f"{100 * result.footprint:.1f} %", f"{100 * result.flops_ratio:.0f} %",
                    f"{result.train_seconds:.0f} s",
                ))  # fmt: skip
        columns = (
            "domain", "protocol", "epochs", "accuracy (95 % interval)", "n",
            f"minus {self.reference} (95 % interval)", "footprint", "FLOPs", "train",
        )  # fmt: skip
        return ["## Accuracy", "", *table(columns, rows)]


DISTILLATION = Question(
    "Distillation: can the small network be better than the full one?",
    rival="pfa-distill",
    reference="full-fine",
    beside=("pfa-fine",),
    remark=lambda settings: (
        f"The teacher of all seeds is the network of {TEACHER} with seed {TEACHER_SEED}; "
        f"temperature {settings.training.temperature:g}, weight "
        f"{settings.training.distill_weight:g}."
    ),
)
EQUAL_COMPUTE = Question(
    "Equal compute: does training from scratch for as many FLOPs close the gap?",
    rival="pfa-scratch-b",
    reference="pfa-fine",
    beside=("full-scratch", "pfa-scratch"),
    remark=lambda settings: "pfa-scratch-b trains for as many FLOPs as full-scratch.",
)


def _difference(one: ProtocolResult, other: ProtocolResult) -> str:
    """The difference in percentage points, with its interval paired by seed if there is one."""
    interval = paired_interval(one.accuracies, other.accuracies)
    between = interval and f" ({signed(100 * interval[0])} to {signed(100 * interval[1])})"
    return f"{signed(gap(one, other))}{between or ''}"


def _domains(names: Sequence[str]) -> str:
    """The number of domains with their names, or "no domain"."""
    unit = "domain" if len(names) == 1 else "domains"
    return f"{len(names)} {unit} ({', '.join(names)})" if names else "no domain"
