"""Methods side by side on the same domains, at the same footprint, under the same training.

A method's networks are pfa-fine's: the kept filters' weights, fine-tuned. Full-fine stands beside
them. As footprint "pfa-kl" is what PFA-KL comes to on the domain; others are shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.cells import Cell
from workbench.display import Display
from workbench.errors import SettingsError, did_you_mean
from workbench.experiments import (
    SEEDS_SHOWN,
    Found,
    Part,
    Wish,
    check_shares,
    known_cells,
    run_parts,
    shown_seeds,
)
from workbench.figures import Point, trade_off_chart
from workbench.folder_files import user_path
from workbench.method_names import METHODS, REFERENCE
from workbench.pages import Page, publish, summarise, table
from workbench.recipe_checks import check_once
from workbench.report import accuracy_text
from workbench.results import ProtocolResult
from workbench.setting_checks import check_numbers
from workbench.settings import RESULTS

#: Those that a plain ``bench`` puts side by side.
USUAL = ("pfa-kl", "fp", "fpgm", "apoz", "network-slimming", "random", "uniform")
_TRAINED = "pfa-fine"
_FULL = "full-fine"


def bench(
    targets: Sequence[str],
    *,
    methods: Sequence[str] = USUAL,
    footprints: Sequence[str] = (REFERENCE,),
    seeds: int = 1,
    first_seed: int = 0,
    slimming_weights: Path | None = None,
    results: Path = RESULTS,
    fresh: bool = False,
    command: Sequence[str] = (),
    display: Display | None = None,
    **options: Any,
) -> Path:
    """Train what the comparison lacks, and write its page.

    Args:
        targets: domains.
        methods: names in ``METHODS``; PFA-KL stands for PFA-En where a footprint is a number.
        footprints: "pfa-kl", or shares in (0, 1].
        seeds, first_seed: which seeds; the random recipe draws anew for each.
        slimming_weights: source network of network-slimming, trained with a penalty on its scales.
        results: folder of the page, its figure and the rows.
        fresh: train again what is finished.
        command: for the page: what the user called.
        **options: those of ``adapt``.

    Returns:
        The page's path.

    Raises:
        WorkbenchError: for anything that the user can mend; see ``errors``.
    """
    options = {name: value for name, value in options.items() if value is not None}
    results = user_path(results)
    slimming_weights = user_path(slimming_weights) if slimming_weights else None
    problems = _problems(targets, methods, footprints, slimming_weights)
    problems += check_numbers(seeds=seeds, first_seed=first_seed)
    if problems:
        raise SettingsError(*problems)
    asked = range(first_seed, first_seed + seeds)
    apart = slimming_weights is not None or "weights" not in options
    slimming = _Slimming(slimming_weights, apart, results)

    def parts(seeds: range) -> list[Part]:
        return [
            part
            for target in targets
            for part in _parts({**options, "target": target}, methods, footprints, seeds, slimming)
        ]

    if slimming.apart and "network-slimming" in methods:  # its footprint comes from PFA-KL's cells
        run_parts(_reference_parts(targets, options, asked), results, fresh=fresh, display=display)
    run_parts(parts(asked), results, fresh=fresh, display=display)
    found = _common(known_cells(parts(shown_seeds(asked)), results))
    cells = [cell for _, cell in found]
    return publish(lambda: _page(found, results, slimming), cells, results, command)


@dataclass(frozen=True)
class _Slimming:
    """Where network-slimming's source comes from.

    Attributes:
        weights: a file of its own.
        apart: whether its source is another than that of the other methods: a file of its own, or
            trained here, with the penalty.
        results: folder of the rows, which know PFA-KL's footprint.
    """

    weights: Path | None
    apart: bool
    results: Path

    def options(self, options: Mapping[str, Any], footprint: str) -> dict[str, Any]:
        """Its options at a footprint; that of PFA-KL is the one on the others' source."""
        own: dict[str, Any] = {"footprint": footprint}
        if self.weights:
            own |= {"weights": self.weights, "source_epochs": None}
        if not self.apart or footprint != REFERENCE:
            return own
        part = Part({**options, "method": REFERENCE}, (_TRAINED,), range(SEEDS_SHOWN))
        known = known_cells([part], self.results)
        return {**own, "footprint": known[0][1].footprint} if known else own


def _common(found: Found) -> Found:
    """The cells of those seeds that every network of a domain has: equal n, and paired."""
    seeds: dict[str, dict[tuple[str, str, str], set[int]]] = {}
    for wish, cell in found:
        network = (str(wish.part.options["method"]), _asked(wish), cell.protocol)
        seeds.setdefault(cell.domain, {}).setdefault(network, set()).add(cell.seed)
    shared = {domain: set.intersection(*each.values()) for domain, each in seeds.items()}
    return [(wish, cell) for wish, cell in found if cell.seed in shared[cell.domain]]


def _reference_parts(
    targets: Sequence[str], options: Mapping[str, Any], seeds: range
) -> list[Part]:
    first = range(seeds.start, seeds.start + 1)
    return [
        Part({**options, "target": target, "method": REFERENCE}, (_TRAINED,), first)
        for target in targets
    ]


def _problems(
    targets: Sequence[str],
    methods: Sequence[str],
    footprints: Sequence[str],
    slimming_weights: Path | None,
) -> list[str]:
    """What is wrong with the comparison's own options, a line each."""
    problems = [
        f"--methods: unknown value '{name}'{did_you_mean(name, list(METHODS))}"
        for name in methods
        if name not in METHODS
    ]
    for option, names in (("--target", targets), ("--methods", methods)):
        if not names:
            problems.append(f"{option} names none")
        problems += check_once(option, names)
    problems += check_shares("--footprints", footprints, (REFERENCE,))
    if slimming_weights is not None and not slimming_weights.is_file():
        problems.append(
            f"--slimming-weights {slimming_weights}: no such file; 'workbench train --sparsity' "
            "makes one"
        )
    if slimming_weights is not None and "network-slimming" not in methods:
        problems.append(
            f"--slimming-weights {slimming_weights} has no effect without network-slimming among "
            "--methods; leave it out"
        )
    return problems


def _parts(
    options: Mapping[str, Any],
    methods: Sequence[str],
    footprints: Sequence[str],
    seeds: range,
    slimming: _Slimming,
) -> list[Part]:
    found = [Part({**options, "method": REFERENCE}, (_FULL,), seeds)]
    for footprint in footprints:
        for method in methods:
            own = {**options, "method": method, **_budget(method, footprint)}
            if own["method"] == REFERENCE and footprint != REFERENCE:
                own["method"] = "pfa-en"
            if method == "network-slimming":
                own |= slimming.options(options, footprint)
            if method == "random":
                found += [
                    Part({**own, "draw": seed}, (_TRAINED,), range(seed, seed + 1))
                    for seed in seeds
                ]
            else:
                found.append(Part(own, (_TRAINED,), seeds))
    return found


def _budget(method: str, footprint: str) -> dict[str, Any]:
    return {} if method == footprint == REFERENCE else {"footprint": footprint}


def _page(found: Found, folder: Path, slimming: _Slimming) -> Page:
    domains = list(dict.fromkeys(cell.domain for _, cell in found))
    footprints = sorted({_asked(wish) for wish, cell in found if cell.protocol == _TRAINED})
    name = "-".join(["bench", *domains, *(each for each in footprints if each != REFERENCE)])
    chart = folder / f"{name}.png"
    networks = {domain: _networks(found, domain) for domain in domains}
    full = {
        domain: summarise(c for _, c in found if (c.domain, c.protocol) == (domain, _FULL))
        for domain in domains
    }
    trade_off_chart(
        {domain: _points(results) for domain, results in networks.items()},
        {domain: {_FULL: result.accuracy_mean} for domain, result in full.items()},
        chart,
    )
    epochs = sorted({cell.epochs for _, cell in found})
    return Page(
        name=name,
        title=f"Methods at equal footprints: {', '.join(domains)}",
        findings=[
            f"Fine-tuned for {' or '.join(map(str, epochs))} epochs.",
            *_verdicts(networks, full),
            *_slimming_note(found, slimming),
        ],
        body=_tables(networks, full),
        figures=(chart.name,),
    )


def _tables(
    networks: Mapping[str, Mapping[tuple[str, str], ProtocolResult]],
    full: Mapping[str, ProtocolResult],
) -> list[str]:
    columns = ("method", "accuracy (95 % interval)", "asked for", "footprint", "FLOPs", "n")
    body = []
    for domain, results in networks.items():
        ordered = sorted(results.items(), key=lambda item: (item[0][1], -item[1].accuracy_mean))
        rows = [_row(f"{_FULL} (no compression)", "", full[domain])]
        rows += [_row(method, footprint, result) for (method, footprint), result in ordered]
        body += [f"## {domain}", "", *table(columns, rows)]
    return body


def _verdicts(
    networks: Mapping[str, Mapping[tuple[str, str], ProtocolResult]],
    full: Mapping[str, ProtocolResult],
) -> list[str]:
    """One sentence a domain and footprint."""
    return [
        _verdict(
            domain,
            {method: result for (method, at), result in results.items() if at == footprint},
            full[domain],
        )
        for domain, results in networks.items()
        for footprint in dict.fromkeys(at for _, at in results)
    ]


def _slimming_note(found: Found, slimming: _Slimming) -> list[str]:
    slims = any(wish.part.options["method"] == "network-slimming" for wish, _ in found)
    if not slims or slimming.apart:
        return []
    return [
        "network-slimming read the scales of a source as given, where its paper trains one with a "
        "penalty on them (--slimming-weights)."
    ]


def _networks(found: Found, domain: str) -> dict[tuple[str, str], ProtocolResult]:
    """By method and footprint asked for: the result over all seeds."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for wish, cell in found:
        if (cell.domain, cell.protocol) == (domain, _TRAINED):
            method = str(wish.part.options["method"])
            groups.setdefault((method, _asked(wish)), []).append(cell)
    return {name: summarise(cells) for name, cells in groups.items()}


def _asked(wish: Wish) -> str:
    """The footprint that was asked for; slimming's own stands for PFA-KL's."""
    footprint = wish.part.options.get("footprint", REFERENCE)
    return footprint if isinstance(footprint, str) else REFERENCE


def _points(
    results: Mapping[tuple[str, str], ProtocolResult],
) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for (method, _), result in results.items():
        point = Point(result.footprint, result.accuracy_mean, *result.accuracy_interval)
        lines.setdefault(method, []).append(point)
    return lines


def _row(label: str, asked: str, result: ProtocolResult) -> tuple[str, ...]:
    return (
        label, accuracy_text(result), asked, f"{100 * result.footprint:.1f} %",
        f"{100 * result.flops_ratio:.0f} %", str(len(result.hits)),
    )  # fmt: skip


def _verdict(domain: str, results: Mapping[str, ProtocolResult], full: ProtocolResult) -> str:
    """Who is ahead, and whether that can be told from chance."""
    best = max(result.accuracy_mean for result in results.values())
    ahead = [method for method, result in results.items() if result.accuracy_mean == best]
    low = min(results[method].accuracy_interval[0] for method in ahead)
    behind = [method for method, r in results.items() if r.accuracy_interval[1] < low]
    size = 100 * max(results[method].footprint for method in ahead)
    sentence = (
        f"{domain} at {size:.1f} % of the parameters: {' and '.join(ahead)} "
        f"{'has' if len(ahead) == 1 else 'have'} the highest accuracy ({100 * best:.1f} %, "
        f"{100 * (best - full.accuracy_mean):+.1f} points against full-fine)"
    )
    if len(results) == len(ahead):
        return f"{sentence}."
    if behind:
        return f"{sentence}; the 95 % interval lies above that of {', '.join(behind)}."
    return f"{sentence}; all 95 % intervals overlap with it, so chance may have ordered them."
