"""A cell: one training, analysis or trial as plain data, which a process of its own executes.

As JSON it has the fields of ``Cell``. Unknown fields and options, wrong types and repeated names
are errors, and nothing in it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any

from workbench.adaptation.options.option_files import TYPES
from workbench.adaptation.single_steps import SINGLE_STEPS
from workbench.data.checked_values import number, short_text, whole
from workbench.data.whole_files import parse_json
from workbench.errors import SettingsError, did_you_mean
from workbench.store.runs import RUN_ID
from workbench.training.protocols import PROTOCOLS

TRIAL = "trial"
KINDS = (*SINGLE_STEPS, TRIAL)
#: The longest text of a cell.
MOST_BYTES = 1 << 20
_LARGEST_SEED = 2**32 - 1
_DATA = ("train", "test", "weights")
_PROCESSOR = ("device", "precision", "threads")
_TRIAL = ("share", "method", "protocol", "epochs", "cost", "runtime")


@dataclass(frozen=True)
class Cell:
    """One piece of work.

    Attributes:
        kind: a name in ``KINDS``.
        options: options of ``adapt``, as JSON has them; paths are absolute.
        protocol, seed: of a training; a trial has a seed, too.
        trial: of a search: the candidate, its epochs, and what its cost is.
        parent: id of the run under which a new run is recorded.
        key: the expected key of the run.
        data: expected fingerprints of the training and test images and of the source weights.
        processor: expected device, precision and threads.
    """

    kind: str
    options: Mapping[str, Any]
    protocol: str = ""
    seed: int = 0
    trial: Mapping[str, Any] | None = None
    parent: str | None = None
    key: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name for people."""
        what = self.protocol or self.kind
        if self.trial:
            what = f"{self.trial['method'] or self.trial['protocol']} at {self.trial['share']:g}"
        seed = f", seed {self.seed}" if self.kind in ("training", TRIAL) else ""
        target = Path(str(self.options.get("target", ""))).name
        return f"{target}: {what}{seed}" if self.kind != "source" else f"source of {target}"

    @property
    def is_timed(self) -> bool:
        """Whether it measures latencies, which other work on the machine would affect."""
        return self.kind == "analysis"

    @property
    def identity(self) -> str:
        """Text that identifies the work among the cells of one call."""
        return self.key or f"{self.kind} {self.protocol} {self.seed} {self.parent}"

    def to_json(self) -> str:
        """The cell as ``read_cell`` reads it."""
        return json.dumps({name: value for name, value in asdict(self).items() if value})


def read_cell(text: str | bytes, place: str) -> Cell:
    """Read a cell.

    Args:
        place: where the text comes from, for messages.

    Raises:
        SettingsError: with one line for each mistake.
    """
    problems: list[str] = []
    try:
        raw = parse_json(text, MOST_BYTES, lambda pairs: _mapping(pairs, problems))
    except ValueError as error:
        raise SettingsError(f"{place}: is not a cell in JSON: {error}") from None
    if not isinstance(raw, dict):
        raise SettingsError(f"{place}: is not a cell: it must be a mapping such as {{...}}")
    problems += _field_problems(raw)
    if problems:
        raise SettingsError(*(f"{place}: {problem}" for problem in problems))
    return Cell(**raw)


def _mapping(pairs: list[tuple[str, Any]], problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            problems.append(f"'{name}' is given twice; remove one")
        found[name] = value
    return found


def _field_problems(raw: dict[str, Any]) -> list[str]:
    names = [each.name for each in fields(Cell)]
    problems = [
        f"unknown field '{name}'{did_you_mean(name, names)}" for name in raw if name not in names
    ]
    problems += [f"has no '{name}'" for name in ("kind", "options") if name not in raw]
    if "kind" in raw and raw["kind"] not in KINDS:
        problems.append(
            f"unknown kind {_shown(raw['kind'])}{did_you_mean(str(raw['kind']), KINDS)}"
        )
    if isinstance(raw.get("options", {}), dict):
        problems += _option_problems(raw.get("options", {}))
    else:
        problems.append("options is not a mapping")
    kind = raw.get("kind")
    if kind == "training" and not raw.get("protocol"):
        problems.append("a training needs a 'protocol'")
    if kind in KINDS and (kind == TRIAL) != ("trial" in raw):
        problems.append("'trial' belongs to a cell of kind 'trial', and only there")
    if "protocol" in raw and kind in KINDS and kind != "training":
        problems.append(f"'protocol' does not apply to kind '{kind}'; remove it")
    return problems + _value_problems(raw)


def _value_problems(raw: dict[str, Any]) -> list[str]:
    """Lines for values of the other fields that have the wrong type or range."""
    checks: dict[str, Callable[[Any], object]] = {
        "protocol": lambda value: _known("protocol", value, PROTOCOLS),
        "seed": lambda value: whole("seed", value, 0, _LARGEST_SEED),
        "data": lambda value: _texts("data", value, _DATA),
        "processor": _processor,
        "trial": _trial,
        "parent": lambda value: _id("parent", value),
        "key": lambda value: short_text("key", value),
    }
    problems = []
    for name, check in checks.items():
        try:
            if name in raw:
                check(raw[name])
        except ValueError as error:
            problems.append(str(error))
    return problems


def _known(what: str, value: object, names: Sequence[str] | Mapping[str, Any]) -> None:
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"unknown {what} {_shown(value)}{did_you_mean(str(value), list(names))}")


def _id(what: str, value: object) -> None:
    if not isinstance(value, str) or not RUN_ID.fullmatch(value):
        raise ValueError(f"{what} is {_shown(value)}, not the id of a run")


def _texts(what: str, value: object, names: Sequence[str]) -> None:
    for name, text in _only(what, value, names).items():
        short_text(f"{what}: {name}", text)


def _processor(value: object) -> None:
    found = _only("processor", value, _PROCESSOR)
    for name in ("device", "precision"):
        short_text(f"processor: {name}", found.get(name, ""))
    whole("processor: threads", found.get("threads", 1), 1, 4096)


def _trial(value: object) -> None:
    found = _only("trial", value, _TRIAL)
    missing = [name for name in _TRIAL if name not in found]
    if missing:
        raise ValueError(f"trial has no '{missing[0]}'")
    number("trial: share", found["share"], 0, 1)
    whole("trial: epochs", found["epochs"])
    _known("protocol of a trial", found["protocol"], PROTOCOLS)
    for name in ("method", "cost", "runtime"):
        short_text(f"trial: {name}", found[name])


def _only(what: str, value: object, names: Sequence[str]) -> dict[str, Any]:
    """A mapping that has no other names than these."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {_shown(value)}, not a mapping")
    for name in value:
        if name not in names:
            raise ValueError(f"{what}: unknown field '{name}'{did_you_mean(name, names)}")
    return value


def _option_problems(options: dict[str, Any]) -> list[str]:
    known = TYPES["adapt"]
    problems = []
    for name, value in options.items():
        if name not in known:
            problems.append(f"options: unknown option '{name}'{did_you_mean(name, list(known))}")
        elif not _fits(value, known[name]):
            problems.append(f"options: {name} is {_shown(value)}, which has the wrong type")
    problems += [
        f"options: has no '{name}'" for name in ("source", "target") if name not in options
    ]
    return problems


def _fits(value: object, kinds: tuple[type, ...]) -> bool:
    if value is None or isinstance(value, bool):
        return type(value) in kinds
    if isinstance(value, int):
        return int in kinds or float in kinds
    if isinstance(value, list):
        return list in kinds and all(isinstance(item, str) for item in value)
    if isinstance(value, str):
        return bool({str, Path, list} & set(kinds))
    return isinstance(value, float) and float in kinds


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"'{value[:40]}'"
    return (
        str(value)[:40]
        if isinstance(value, (int, float, NoneType))
        else f"a {type(value).__name__}"
    )
