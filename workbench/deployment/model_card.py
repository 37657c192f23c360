"""The model card: what a network is for, how good it is and how it was made, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from workbench.compression.costs.costs import Timing
from workbench.models.processor import processor_name
from workbench.models.weight_files import Card
from workbench.reporting.statistics import wilson_interval
from workbench.reporting.tables import byte_count, markdown_table, markdown_text, percent

if TYPE_CHECKING:
    from workbench.deployment.export import Exported
    from workbench.deployment.file_formats import Format

_COLUMNS = (
    "network", "runtime", "batch of 1", "quartiles", "95 % within", "batch of 64", "95 % within"
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What is known about a network beside its card.

    Attributes:
        name: run or file that it comes from.
        made_by: how it was made: parameters of its training, by name.
        domain: name of the target domain; "" if unknown.
        fingerprint: of the training images; "" if unknown.
        version: of the workbench that trained it; "" if unknown.
    """

    name: str
    made_by: dict[str, str]
    domain: str = ""
    fingerprint: str = ""
    version: str = ""


def model_card(card: Card, evidence: Evidence, done: Exported, form: Format, threads: int) -> str:
    """The text of a model card.

    Args:
        done: the file's comparison with its network.
        threads: threads of the timed runtimes.
    """
    channels, height, width = card.shape
    domain = evidence.domain or "unknown"
    parts = [
        f"# {markdown_text(evidence.domain or card.model)} ({card.model})",
        _paragraph("Classes", ", ".join(card.classes), f", {len(card.classes)} in this order"),
        "## Input",
        f"A batch of images: float32, shape (n, {channels}, {height}, {width}), RGB or grey, each "
        f"pixel divided by {card.white}, then minus the mean {_numbers(card.mean)} and divided by "
        f"the standard deviation {_numbers(card.std)} of its channel. The output has one logit for "
        "each class.",
        "## Accuracy",
        _accuracy(done),
        "## Size and latency",
        f"File: {byte_count(done.file_bytes)}; the float32 tensors: "
        f"{byte_count(done.network_bytes)}.",
        *_latencies(done, threads),
        *_float_operators(done, form),
        "## How it was made",
        markdown_table(("what", "value"), _made(card, evidence, done, domain)),
        "## Licence",
        "Unknown. The licences of the source weights and of the training images apply; the "
        "workbench does not know them.",
    ]
    return "\n\n".join(parts) + "\n"


def _paragraph(title: str, text: str, more: str) -> str:
    return f"{title}{more}: {markdown_text(text)}."


def _accuracy(done: Exported) -> str:
    accuracies = done.accuracies
    if accuracies is None:
        return (
            "Not measured: the test images were not available. On noise, file and network agree on "
            f"{percent(done.agreement)} of the classes."
        )
    low, high = wilson_interval(int(done.file_correct.sum()), done.images)
    return (
        f"{percent(accuracies[1])} of {done.images} {markdown_text(done.compared_on)} (95 % "
        f"interval: {100 * low:.1f} to {100 * high:.1f}); the network that the file was made from: "
        f"{percent(accuracies[0])}. Both predict the same class for {percent(done.agreement)}."
    )


def _latencies(done: Exported, threads: int) -> list[str]:
    if not done.timings:
        return []
    rows = [(each.network, each.runtime, *_cells(each.one, each.many)) for each in done.timings]
    return [
        f"Measured in turns on {processor_name()}, {threads} thread{'s' if threads > 1 else ''} "
        "each, in ms:",
        markdown_table(_COLUMNS, rows),
    ]


def _cells(one: Timing, many: Timing) -> Sequence[str]:
    return (
        f"{one.median:.3g}", f"{one.low:.3g} to {one.high:.3g}", f"{one.p95:.3g}",
        f"{many.median:.4g}", f"{many.p95:.4g}",
    )  # fmt: skip


def _float_operators(done: Exported, form: Format) -> list[str]:
    if not form.stage:
        return []
    left = ", ".join(done.report.left_float)
    return [f"Operators that compute in float32: {markdown_text(left) or 'none'}."]


def _made(card: Card, evidence: Evidence, done: Exported, domain: str) -> list[tuple[str, str]]:
    rows = [
        ("origin", evidence.name),
        ("domain", domain),
        ("images", card.source),
        ("fingerprint of the training images", evidence.fingerprint or "unknown"),
        ("architecture", card.model),
        ("filters", ", ".join(map(str, card.widths)) or "all"),
        ("factorised layers", ", ".join(f"{each.layer} {each.size}" for each in card.factors)),
        *evidence.made_by.items(),
        *(
            (name.replace("_", " "), str(value))
            for name, value in done.report.details.items()
            if not isinstance(value, (dict, list))
        ),
        ("workbench", evidence.version or "unknown"),
        ("exported", date.today().isoformat()),
    ]
    return [(name, text) for name, text in rows if text]


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
