"""Paired tests over domains and seeds: which differences between methods are significant.

At each budget every network is compared with uniform widths and PFA's filters, on the same domains
with the same seeds, computed on the same kind of processor in the same precision. A pair is one
domain with one seed. The p-values of a budget are corrected for
their number (Holm). The power says which difference this number of pairs would show with a chance
of 80 % after the correction, given the spread of the differences. The seeds of a domain share its
test images, so the test holds for these domains and images, and says nothing about others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workbench.compression.method_names import REFERENCE
from workbench.experiments.pages import table
from workbench.experiments.requested_cells import Found
from workbench.experiments.result_rows import Cell
from workbench.reporting.statistics import PairedTest, holm, paired_t_test

#: The network that all others are compared with.
BASELINE = "uniform"
TRAINED = "pfa-fine"
_COLUMNS = (
    "budget", "method", "difference in points (95 % interval)", "pairs", "p", "p, corrected",
    "difference that would be seen",
)  # fmt: skip
#: Domain, seed, device and precision.
_Pair = tuple[str, int, str, str]


@dataclass(frozen=True)
class Comparison:
    """One network compared with the baseline at one budget.

    Attributes:
        test: of the differences, in percentage points.
        corrected: p-value after the correction for all comparisons of the budget.
    """

    budget: str
    method: str
    test: PairedTest
    corrected: float


def processor_of(cell: Cell) -> tuple[str, str]:
    """The device and the precision in which a cell was trained, such as ("cpu", "bf16")."""
    return cell.device, cell.precision


def compare_all(found: Found) -> list[Comparison]:
    """Compare every network with the baseline; budgets with fewer than two pairs are left out."""
    trained = [(wish.part.label, cell) for wish, cell in found if cell.protocol == TRAINED]
    return compare_cells((method, budget, cell) for (method, budget), cell in trained)


def compare_cells(trained: Iterable[tuple[str, str, Cell]]) -> list[Comparison]:
    """Compare every network with the baseline of its budget.

    Args:
        trained: method, budget and cell of each fine-tuned network.
    """
    accuracies: dict[str, dict[str, dict[_Pair, float]]] = {}
    for method, budget, cell in trained:
        own = accuracies.setdefault(budget, {}).setdefault(method, {})
        own[cell.domain, cell.seed, *processor_of(cell)] = 100 * cell.hits / cell.images
    compared: list[Comparison] = []
    for budget, methods in accuracies.items():
        baseline = methods.get(BASELINE, {})
        others = {
            method: own
            for method, own in methods.items()
            if method != BASELINE and own.keys() & baseline.keys()
        }
        tests = {
            method: test
            for method, own in others.items()
            if (test := _test(own, baseline, len(others)))
        }
        corrected = holm([test.p_value for test in tests.values()])
        compared += [
            Comparison(budget, method, test, p)
            for (method, test), p in zip(tests.items(), corrected, strict=True)
        ]
    return compared


def _test(
    own: Mapping[_Pair, float],
    baseline: Mapping[_Pair, float],
    comparisons: int,
) -> PairedTest | None:
    pairs = sorted(own.keys() & baseline.keys())
    differences = [own[pair] - baseline[pair] for pair in pairs]
    return paired_t_test(differences, comparisons)


def comparison_findings(found: Found) -> list[str]:
    """One sentence for each budget: which methods differ from uniform widths."""
    compared = compare_all(found)
    lines = []
    for budget in dict.fromkeys(each.budget for each in compared):
        own = [each for each in compared if each.budget == budget]
        real = [each for each in own if each.corrected < 0.05]
        named = ", ".join(
            f"{each.method} {each.test.mean:+.2f} points (p = {each.corrected:.2g})"
            for each in real
        )
        powers = [each.test.detectable for each in own]
        lines.append(
            f"At {budget_words(budget)}, compared with uniform widths on these domains: "
            f"{named or 'no method differs significantly'}; differences of "
            f"{min(powers):.1f} to {max(powers):.1f} points would have been seen."
        )
    return lines


def comparison_tables(found: Found) -> list[str]:
    """The table of all comparisons as lines; empty if there are none."""
    compared = compare_all(found)
    if not compared:
        return []
    rows = [
        (
            budget_words(each.budget),
            each.method,
            f"{each.test.mean:+.2f} ({each.test.low:+.2f} to {each.test.high:+.2f})",
            str(each.test.pairs),
            f"{each.test.p_value:.2g}",
            f"{each.corrected:.2g}",
            f"{each.test.detectable:.2f}",
        )
        for each in compared
    ]
    return [
        "## Compared with uniform widths and PFA's filters",
        "",
        "A pair is a domain with a seed. Paired t-test over the pairs, Holm's correction over the "
        "methods of a budget. The last column is the smallest difference that such a test shows "
        "with a chance of 80 %, after the correction. The seeds of a domain share its test images: "
        "the tests hold for these domains.",
        "",
        *table(_COLUMNS, rows),
    ]


def budget_words(label: str) -> str:
    """A budget as words of a sentence."""
    if label == REFERENCE:
        return "PFA-KL's footprint"
    return label if label.endswith("FLOPs") else f"{label} of the parameters"
