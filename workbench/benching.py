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
    Anew,
    Found,
    Part,
    check_parts,
    check_shares,
    known_cells,
    of_shared_seeds,
    run_parts,
    shown_seeds,
)
from workbench.figures import Point, trade_off_chart
from workbench.folder_files import user_path
from workbench.method_names import METHODS, REFERENCE
from workbench.pages import ONE_SEED, Page, file_name, publish, summarise, table
from workbench.planning import resolve
from workbench.recipe_checks import check_once
from workbench.report import accuracy_text
from workbench.results import ProtocolResult
from workbench.setting_checks import check_numbers
from workbench.settings import RESULTS, Settings

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

    The page shows every method whose cells are there with these options, not only those asked for.

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
    # Its source is another than that of the other methods: a file of its own, or trained here,
    # with the penalty. PFA-KL's footprint, which all are put at, is that on the others' source.
    apart = slimming_weights is not None or "weights" not in options
    references = _reference_parts(targets, options, asked) if apart else []

    def parts(seeds: range, methods: Sequence[str], sizes: Mapping[str, int]) -> list[Part]:
        slimming = _Slimming(slimming_weights, sizes)
        return [
            part
            for target in targets
            for part in _parts({**options, "target": target}, methods, footprints, seeds, slimming)
        ]

    check_parts([*references, *parts(asked, methods, {})])
    anew = Anew() if fresh else None
    if "network-slimming" in methods:
        run_parts(references, results, anew=anew, display=display)
    sizes = _sizes(references, results)
    run_parts(parts(asked, methods, sizes), results, anew=anew, display=display)
    every = known_cells(parts(shown_seeds(asked), tuple(METHODS), sizes), results)
    found = of_shared_seeds(every, lambda wish: wish.part.label, asked=asked)
    notes = [*_left_out(every, found), *([] if apart else _slimming_note(found))]
    cells = [cell for _, cell in found]
    return publish(lambda: _page(found, results, notes), cells, results, command)


@dataclass(frozen=True)
class _Slimming:
    """What network-slimming is given beside the other methods' options.

    Attributes:
        weights: a source network of its own.
        sizes: parameters of PFA-KL's network by target, where its source is another.
    """

    weights: Path | None
    sizes: Mapping[str, int]

    def options(self, target: str, footprint: str) -> dict[str, Any]:
        """Its options at a footprint."""
        own = {"weights": self.weights, "source_epochs": None} if self.weights else {}
        if footprint == REFERENCE and target in self.sizes:
            return {**own, "footprint": None, "params": self.sizes[target]}
        return {**own, "footprint": footprint}


def _reference_parts(
    targets: Sequence[str], options: Mapping[str, Any], seeds: range
) -> list[Part]:
    """PFA-KL's network of each target, for its size: one seed does."""
    return [
        Part({**options, "target": target, "method": REFERENCE}, (_TRAINED,), seeds[:1])
        for target in targets
    ]


def _sizes(references: Sequence[Part], results: Path) -> dict[str, int]:
    known = known_cells(references, results)
    return {wish.part.options["target"]: cell.parameters for wish, cell in known}


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
    found = [Part({**options, "method": REFERENCE}, (_FULL,), seeds, (_FULL, ""))]
    for footprint in footprints:
        for method in methods:
            own = {**options, "method": method, **_budget(method, footprint)}
            if own["method"] == REFERENCE and footprint != REFERENCE:
                own["method"] = "pfa-en"
            if method == "network-slimming":
                own |= slimming.options(options["target"], footprint)
            label = (own["method"], footprint)
            if method == "random":
                found += [
                    Part({**own, "draw": seed}, (_TRAINED,), range(seed, seed + 1), label)
                    for seed in seeds
                ]
            else:
                found.append(Part(own, (_TRAINED,), seeds, label))
    return found


def _budget(method: str, footprint: str) -> dict[str, Any]:
    return {} if method == footprint == REFERENCE else {"footprint": footprint}


def _page(found: Found, folder: Path, notes: Sequence[str]) -> Page:
    domains = list(dict.fromkeys(cell.domain for _, cell in found))
    name = _file_name(found, domains)
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
            *([ONE_SEED] if any(len(result.hits) == 1 for result in full.values()) else []),
            *notes,
        ],
        body=_tables(networks, full),
        figures=(chart.name,),
    )


def _file_name(found: Found, domains: Sequence[str]) -> str:
    """Bench, domains, shares, and the network where it is not the usual one."""
    wish, cell = found[0]
    shares = sorted({wish.part.label[1] for wish, _ in found} - {"", REFERENCE})
    usual = resolve(Settings.of(**wish.part.options)).source.model
    return file_name("bench", *domains, *shares, *([] if cell.model == usual else [cell.model]))


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
        verdict(
            domain,
            {method: result for (method, at), result in results.items() if at == footprint},
            full[domain],
        )
        for domain, results in networks.items()
        for footprint in dict.fromkeys(at for _, at in results)
    ]


def _left_out(every: Found, found: Found) -> list[str]:
    """What has finished cells that are not shown."""
    shown = {(cell.domain, wish.part.label) for wish, cell in found}
    lacking = dict.fromkeys(
        f"{method}{'' if share in ('', REFERENCE) else f' at {share}'} on {cell.domain}"
        for wish, cell in every
        for method, share in [wish.part.label]
        if (cell.domain, wish.part.label) not in shown
    )
    return [f"Left out, for want of a seed: {', '.join(lacking)}."] if lacking else []


def _slimming_note(found: Found) -> list[str]:
    if not any(wish.part.label[0] == "network-slimming" for wish, _ in found):
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
            method, footprint = wish.part.label
            groups.setdefault((method, footprint), []).append(cell)
    return {name: summarise(cells) for name, cells in groups.items()}


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


def verdict(domain: str, results: Mapping[str, ProtocolResult], full: ProtocolResult) -> str:
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
