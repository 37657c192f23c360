"""Markdown pages of results: what was asked, what came out, and where every number comes from."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.data.whole_files import write_text
from workbench.errors import printable
from workbench.experiments.result_rows import Cell, writing
from workbench.reporting.results import ProtocolResult
from workbench.reporting.tables import markdown_table, markdown_text

NOTES = "notes"
#: By domain and protocol.
Results = dict[str, dict[str, ProtocolResult]]


@dataclass(frozen=True)
class Page:
    """One page; names in it may come from any row, so what is plain text is escaped.

    Attributes:
        name: file name without its ending; the figure has the same.
        title: heading, plain text.
        findings: what fits and what does not, plain text; the first paragraph.
        body: tables and their headings, Markdown.
        figures: names of PNG files beside the page.
    """

    name: str
    title: str
    findings: Sequence[str]
    body: Sequence[str]
    figures: Sequence[str] = ()


def publish(
    make: Callable[[], Page], cells: Sequence[Cell], folder: Path, command: Sequence[str]
) -> Path:
    """Make a page with its figures and write it with the provenance of its cells.

    What a person has to say about it stands in ``notes/NAME.md`` of the folder and follows the
    findings.

    Args:
        make: draws the figures into the folder.
        command: as the user called it.

    Raises:
        DiskError: when page or figures cannot be written.
    """
    with writing(folder):
        return _write(make(), cells, folder, command)


def _write(page: Page, cells: Sequence[Cell], folder: Path, command: Sequence[str]) -> Path:
    notes = folder / NOTES / f"{page.name}.md"
    lines = [f"# {markdown_text(page.title)}", "", markdown_text(" ".join(page.findings)), ""]
    if notes.is_file():
        lines += [notes.read_text(encoding="utf-8").strip(), ""]
    lines += [f"![{markdown_text(page.title)}]({name})\n" for name in page.figures]
    lines += [*page.body, "", "## Where the numbers come from", ""]
    lines += ["```sh", printable(shlex.join(command), longest=None), "```", ""]
    lines += [
        "- This is the last call. Finished cells of earlier calls with the same settings are "
        "shown, too, where they have the same seeds."
    ]
    lines += [f"- {line}" for line in provenance(cells)]
    path = folder / f"{page.name}.md"
    write_text(path, "\n".join(lines) + "\n")
    return path


def provenance(cells: Sequence[Cell]) -> list[str]:
    """Machines, versions, schedule, seeds and time of the trainings."""
    trained = [cell for cell in cells if cell.epochs]
    hours = sum(cell.train_seconds for cell in cells) / 3600
    runs = sorted({
        f"{cell.epochs} epoch(s), {cell.schedule} schedule, learning rate {cell.learning_rate:g}, "
        f"batch {cell.batch_size}, weight decay {cell.weight_decay:g}"
        for cell in trained
    })  # fmt: skip
    networks = sorted({f"{cell.model} trained on {cell.source}" for cell in cells})
    weights = _listed({cell.weights for cell in cells if cell.weights})
    return [
        f"{len(cells)} cells, {len(trained)} of them trainings of {hours:.2f} hours in all; each "
        "is a row of [data/cells.csv](data/cells.csv), with the key of its MLflow run",
        f"seeds {_listed({cell.seed for cell in cells})}; "
        + markdown_text("; ".join(runs) or "nothing trained"),
        markdown_text(f"{', '.join(networks)}; source weights {weights}"),
        *(
            f"{n} cells: {markdown_text(where)}"
            for where, n in sorted(Counter(map(_machine, cells)).items())
        ),
        "accuracy: mean ± standard deviation over the seeds; interval: 95 %, Student's t over the "
        "seeds; Wilson over the test images where there is one seed, or where all agree",
    ]


def _machine(cell: Cell) -> str:
    """Where and with what a cell was trained; what its row does not have is named as missing."""
    missing = "that was NOT RECORDED"
    commit = f"commit {cell.commit}" if cell.commit else f"a commit {missing}"
    code = f"{cell.version} at {commit}" if cell.version else f"of a version {missing}"
    named = cell.machine.endswith(f"{cell.threads} threads")  # a processor's name has them
    return (
        f"{cell.machine or 'machine NOT RECORDED'}, {cell.device}, {cell.precision}, "
        f"{'' if named else f'{cell.threads} thread(s), '}torch {cell.torch}, workbench {code}"
    )


def summarise(cells: Iterable[Cell]) -> ProtocolResult:
    """The cells of one network over its seeds, as one result."""
    found = sorted(cells, key=lambda cell: cell.seed)
    first = found[0]
    return ProtocolResult(
        protocol=first.protocol,
        hits=tuple(cell.hits for cell in found),
        images=first.images,
        parameters=first.parameters,
        footprint=sum(cell.footprint for cell in found) / len(found),
        flops=first.flops,
        flops_ratio=sum(cell.flops_ratio for cell in found) / len(found),
        latency_ms=first.latency_ms,
        latency_64_ms=None,
        train_seconds=sum(cell.train_seconds for cell in found) / len(found),
        run_ids=tuple(cell.run_id for cell in found),
        weights=None,
    )


def by_domain(cells: Iterable[Cell]) -> Results:
    """One result a domain and protocol, over its seeds."""
    results: Results = {}
    for (domain, protocol), group in grouped(cells, "domain", "protocol").items():
        results.setdefault(domain, {})[protocol] = summarise(group)
    return results


def gap(one: ProtocolResult, other: ProtocolResult) -> float:
    """Accuracy of one minus that of the other: percentage points, rounded so that 0 is 0."""
    return round(100 * (one.accuracy_mean - other.accuracy_mean), 6)


def file_name(*words: str) -> str:
    """A page's name from words that may hold a path's or a network's signs."""
    return "-".join(re.sub(r"[^\w.-]+", "-", word) for word in words)


def one_seed(results: Iterable[ProtocolResult]) -> list[str]:
    """What has to be said where one of them has a single seed."""
    if all(len(result.hits) > 1 for result in results):
        return []
    return ["With one seed an interval is over the test images and says nothing of other seeds."]


def signed(points: float) -> str:
    """A difference with its sign: percentage points."""
    return f"{points:+.1f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table as lines, with an empty one behind it."""
    return [markdown_table(columns, rows), ""]


def grouped(cells: Iterable[Cell], *names: str) -> Mapping[tuple[str, ...], list[Cell]]:
    """Cells that agree in some fields, in the order in which they come."""
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(str(getattr(cell, name)) for name in names), []).append(cell)
    return groups


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in sorted(values, key=str)) or "none"
