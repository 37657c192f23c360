"""Markdown pages of results, with the origin of every number."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.data.whole_files import write_text
from workbench.errors import counted, printable
from workbench.experiments.result_rows import Cell, writing
from workbench.reporting.results import ProtocolResult
from workbench.reporting.tables import markdown_table, markdown_text

NOTES = "notes"
#: Results by domain and protocol.
Results = dict[str, dict[str, ProtocolResult]]


@dataclass(frozen=True)
class Page:
    """One page. Names may come from any row, so all plain text is escaped.

    Attributes:
        name: file name without its suffix; the figure has the same name.
        title: heading, plain text.
        findings: sentences of the first paragraph, plain text.
        body: tables and their headings, Markdown.
        figures: names of PNG files in the folder of the page.
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

    If the folder has a file ``notes/NAME.md``, its text is inserted after the findings.

    Args:
        make: returns the page, and writes its figures to the folder.
        cells: the cells of the page.
        folder: folder of the page.
        command: the user's command.

    Returns:
        The page's path.

    Raises:
        DiskError: when the page or its figures cannot be written.
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
        "- This is the most recent command. The page also shows finished cells of earlier commands "
        "with the same settings and seeds."
    ]
    lines += [f"- {line}" for line in provenance(cells)]
    path = folder / f"{page.name}.md"
    write_text(path, "\n".join(lines) + "\n")
    return path


def provenance(cells: Sequence[Cell]) -> list[str]:
    """Lines with machines, versions, schedules, seeds and time of the trainings."""
    trained = [cell for cell in cells if cell.epochs]
    hours = sum(cell.train_seconds for cell in cells) / 3600
    runs = sorted({
        f"{counted(cell.epochs, 'epoch')}, {cell.schedule} schedule, "
        f"learning rate {cell.learning_rate:g}, batch {cell.batch_size}, "
        f"weight decay {cell.weight_decay:g}"
        for cell in trained
    })  # fmt: skip
    networks = sorted({f"{cell.model} trained on {cell.source}" for cell in cells})
    weights = _listed({cell.weights for cell in cells if cell.weights})
    return [
        f"{len(cells)} cells; {len(trained)} of them were trained, in {hours:.2f} hours in total; "
        "each cell is a row of [data/cells.csv](data/cells.csv), with the key of its MLflow run",
        f"seeds {_listed({cell.seed for cell in cells})}; "
        + markdown_text("; ".join(runs) or "nothing trained"),
        markdown_text(f"{', '.join(networks)}; source weights {weights}"),
        *(
            f"{n} cells: {markdown_text(where)}"
            for where, n in sorted(Counter(map(_machine, cells)).items())
        ),
        "accuracy: mean ± standard deviation over the seeds; interval: 95 %, Student's t over the "
        "seeds; Wilson over the test images if there is one seed, or if all seeds agree",
    ]


def _machine(cell: Cell) -> str:
    """Machine and software of a cell's training; values missing in its row are marked."""
    missing = "that was NOT RECORDED"
    commit = f"commit {cell.commit}" if cell.commit else f"a commit {missing}"
    code = f"{cell.version} at {commit}" if cell.version else f"of a version {missing}"
    software = f"Python {cell.python}, torch {cell.torch}" if cell.python else f"torch {cell.torch}"
    when = f", {cell.date}" if cell.date else ""
    threads = counted(cell.threads, "thread")
    named = cell.machine.endswith(f"{cell.threads} threads")  # a CPU's name includes its threads
    return (
        f"{cell.machine or 'machine NOT RECORDED'}, {cell.device}, {cell.precision}, "
        f"{'' if named else f'{threads}, '}{software}, workbench {code}{when}"
    )


def summarise(cells: Iterable[Cell]) -> ProtocolResult:
    """Combine the cells of one network over its seeds to one result."""
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
    """One result per domain and protocol, over its seeds."""
    results: Results = {}
    for (domain, protocol), group in grouped(cells, "domain", "protocol").items():
        results.setdefault(domain, {})[protocol] = summarise(group)
    return results


def gap(one: ProtocolResult, other: ProtocolResult) -> float:
    """Mean accuracy of ``one`` minus that of ``other``, in points, rounded so that 0 is exact."""
    return round(100 * (one.accuracy_mean - other.accuracy_mean), 6)


def file_name(*words: str) -> str:
    """Make a file name from words, and replace the special characters of paths and networks."""
    return "-".join(re.sub(r"[^\w.-]+", "-", word) for word in words)


def one_seed(results: Iterable[ProtocolResult]) -> list[str]:
    """A remark if one of the results has a single seed."""
    if all(len(result.hits) > 1 for result in results):
        return []
    return [
        "With one seed, an interval is over the test images and does not include the variation "
        "between seeds."
    ]


def signed(points: float) -> str:
    """A difference in percentage points with its sign."""
    return f"{points:+.1f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table as lines, followed by an empty line."""
    return [markdown_table(columns, rows), ""]


def grouped(cells: Iterable[Cell], *names: str) -> Mapping[tuple[str, ...], list[Cell]]:
    """Group cells by some of their fields, in their order."""
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(str(getattr(cell, name)) for name in names), []).append(cell)
    return groups


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in sorted(values, key=str)) or "none"
