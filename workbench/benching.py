"""Methods side by side on the same domains, at the same footprint, under the same training.

A method's networks are pfa-fine's: the kept filters' weights, fine-tuned. Full-fine stands beside
them. As footprint "pfa-kl" is what PFA-KL comes to on the domain; others are shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.cells import Cell
from workbench.display import Display
from workbench.errors import SettingsError, did_you_mean
from workbench.experiments import Part, Wish, known_cells, run_parts
from workbench.figures import Point, trade_off_chart
from workbench.method_names import METHODS, REFERENCE
from workbench.pages import Page, accuracy_text, summarise, table, write_page
from workbench.results import ProtocolResult

#: Those that a plain ``bench`` puts side by side.
USUAL = ("pfa-kl", "fp", "fpgm", "apoz", "network-slimming", "random", "uniform")
_TRAINED = "pfa-fine"
_FULL = "full-fine"
_SEEDS_SHOWN = 20
Found = Sequence[tuple[Wish, Cell]]


def bench(
    targets: Sequence[str],
    *,
    methods: Sequence[str] = USUAL,
    footprints: Sequence[str] = (REFERENCE,),
    seeds: int = 1,
    first_seed: int = 0,
    slimming_weights: Path | None = None,
    results: Path = Path("docs/results"),
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
    _check(targets, methods)
    options = {name: value for name, value in options.items() if value is not None}

    def parts(seeds: range) -> list[Part]:
        return [
            part
            for target in targets
            for part in _parts(
                {**options, "target": target}, methods, footprints, seeds, slimming_weights
            )
        ]

    run_parts(parts(range(first_seed, first_seed + seeds)), results, fresh=fresh, display=display)
    shown = range(max(_SEEDS_SHOWN, first_seed + seeds))
    found = known_cells(parts(shown), results)
    page = replace(_page(found, results), command=command)
    return write_page(page, [cell for _, cell in found], results)


def _check(targets: Sequence[str], methods: Sequence[str]) -> None:
    problems = [
        f"--methods: unknown value '{name}'{did_you_mean(name, list(METHODS))}"
        for name in methods
        if name not in METHODS
    ]
    for option, names in (("--target", targets), ("--methods", methods)):
        if not names:
            problems.append(f"{option} names none")
        if len(set(names)) < len(names):
            problems.append(f"{option} names one twice; name each once")
    if problems:
        raise SettingsError(*problems)


def _parts(
    options: Mapping[str, Any],
    methods: Sequence[str],
    footprints: Sequence[str],
    seeds: range,
    slimming_weights: Path | None,
) -> list[Part]:
    found = [Part({**options, "method": REFERENCE}, (_FULL,), seeds)]
    for footprint in footprints:
        for method in methods:
            own = {**options, "method": method, **_budget(method, footprint)}
            if own["method"] == REFERENCE and footprint != REFERENCE:
                own["method"] = "pfa-en"
            if method == "network-slimming" and slimming_weights:
                own["weights"] = slimming_weights
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


def _page(found: Found, folder: Path) -> Page:
    domains = list(dict.fromkeys(cell.domain for _, cell in found))
    name = f"bench-{'-'.join(domains)}"
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
    body = []
    for domain, results in networks.items():
        ordered = sorted(results.items(), key=lambda item: -item[1].accuracy_mean)
        rows = [_row(f"{_FULL} (no compression)", full[domain])]
        rows += [_row(method, result) for (method, _), result in ordered]
        columns = ("method", "accuracy (95 % interval)", "footprint", "FLOPs", "n")
        body += [f"## {domain}", "", *table(columns, rows)]
    epochs = sorted({cell.epochs for _, cell in found})
    verdicts = [_verdict(domain, networks[domain], full[domain]) for domain in domains]
    return Page(
        name=name,
        title=f"Methods at equal footprints: {', '.join(domains)}",
        findings=[f"Fine-tuned for {' or '.join(map(str, epochs))} epochs.", *verdicts],
        body=body,
        command=(),
        figures=(chart.name,),
    )


def _networks(found: Found, domain: str) -> dict[tuple[str, str], ProtocolResult]:
    """By method and footprint asked for: the result over all seeds."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for wish, cell in found:
        if (cell.domain, cell.protocol) == (domain, _TRAINED):
            options = wish.part.options
            budget = str(options.get("footprint", REFERENCE))
            groups.setdefault((str(options["method"]), budget), []).append(cell)
    return {name: summarise(cells) for name, cells in groups.items()}


def _points(
    results: Mapping[tuple[str, str], ProtocolResult],
) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for (method, _), result in results.items():
        point = Point(result.footprint, result.accuracy_mean, *result.accuracy_interval)
        lines.setdefault(method, []).append(point)
    return lines


def _row(label: str, result: ProtocolResult) -> tuple[str, ...]:
    return (
        label, accuracy_text(result), f"{100 * result.footprint:.1f} %",
        f"{100 * result.flops_ratio:.0f} %", str(len(result.hits)),
    )  # fmt: skip


def _verdict(
    domain: str, results: Mapping[tuple[str, str], ProtocolResult], full: ProtocolResult
) -> str:
    """Who is ahead, and whether that can be told from chance."""
    best = max(result.accuracy_mean for result in results.values())
    ahead = [method for (method, _), r in results.items() if r.accuracy_mean == best]
    first = next(result for result in results.values() if result.accuracy_mean == best)
    low, _ = first.accuracy_interval
    behind = [method for (method, _), r in results.items() if r.accuracy_interval[1] < low]
    names = " and ".join(ahead)
    clear = (
        f"the 95 % interval lies above that of {', '.join(behind)}"
        if behind
        else "no other lies outside the 95 % interval, so chance may have ordered them"
    )
    gap = 100 * (best - full.accuracy_mean)
    return (
        f"{domain}: {names} {'is' if len(ahead) == 1 else 'are'} ahead ({100 * best:.1f} %, "
        f"{gap:+.1f} points against full-fine); {clear}."
    )
