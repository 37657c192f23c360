"""Options of a command in a YAML file (``--config``).

A file has one ``option: value`` line for each option, with names as in Python (``batch_size``).
Options that are not in the file have their defaults. Relative paths start at the file's folder.
Unknown options are errors. ``recorded_options`` writes such a file for every run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from workbench.adaptation.settings import GROUPS
from workbench.adaptation.tasks.source_task import SourceSettings
from workbench.compression.costs.budget_limits import BUDGETS
from workbench.compression.method_names import REFERENCE
from workbench.compression.recipes.recipe_settings import RecipeSettings
from workbench.data.catalog import SOURCES
from workbench.data.user_paths import user_path
from workbench.deployment.settings import STAGE_OPTIONS, DeploymentSettings
from workbench.deployment.stage_names import STAGES
from workbench.domains.strict_yaml import FileKind, Odd, line_of, read_mapping
from workbench.errors import DataError, SettingsError, did_you_mean
from workbench.models.external_networks import DEFAULT_WEIGHTS
from workbench.training.settings import GATE_OPTIONS

#: The types that an option's value may have, by the option's name.
Types = Mapping[str, tuple[type, ...]]


def types_of(*groups: type) -> dict[str, tuple[type, ...]]:
    """The types of all fields of frozen groups of options, by the fields' names."""
    found = {}
    for group in groups:
        hints = get_type_hints(group)
        for each in fields(group):
            hint = hints[each.name]
            args = get_args(hint)
            plain = hint in (str, int, float, bool, Path)
            # tuple[str, ...] may be a list, or text with commas.
            found[each.name] = (hint,) if plain else (list, str) if ... in args else args
    return found


#: A number of parameters may be text, such as 2.5M.
_ADAPT = types_of(*GROUPS.values()) | {"params": (int, str, NoneType)}
#: The options of each command. ``analyze`` reads the same files as ``adapt``.
TYPES: dict[str, Types] = {
    "adapt": _ADAPT,
    "analyze": _ADAPT,
    "train": types_of(SourceSettings)
    | {name: _ADAPT[name] for name in ("data_dir", "tracking_uri", "output", "fresh")},
}
#: Options of the command line that have another name in Python.
_OTHER_NAMES = {"map": "gamma_map"}
_TYPED_ONLY = (
    "config", "like", "json", "quiet", "dry_run", "out", "figure", "engine", "workers",
    "cpus_per_cell", "gpus_per_cell", "engine_address",
)  # fmt: skip
_LONGEST_NUMBER = 100  # characters
_METHOD = (
    "recipe", "selection", "draw", "energy", "divergence", "gamma_map", "cost", "min_share",
)  # fmt: skip
_SIZES = ("energy", *BUDGETS)
#: Options that a recipe file excludes.
_WIDTHS = ("method", *_METHOD, *BUDGETS, "runtime", "multiple_of", "steps", "only", "skip")
#: What an option on the command line removes from a file: options that contradict it.
_REMOVES: dict[str, tuple[str, ...]] = {
    "weights": ("source_epochs",),
    "source_epochs": ("weights",),
    **{name: ("recipe_file",) for name in _WIDTHS if name not in ("selection", "draw")},
    "method": (*_METHOD, "recipe_file"),
    **{name: (*(other for other in _SIZES if other != name), "recipe_file") for name in _SIZES},
    "recipe_file": _WIDTHS,
}


def read_options(path: Path, types: Types, command: str) -> dict[str, Any]:
    """Read the options in a file.

    Args:
        types: a value of ``TYPES``.
        command: name of the command, for messages.

    Raises:
        SettingsError: with one line for each mistake in the file.
    """
    kind = FileKind(
        noun="option file",
        fields=tuple(types),
        needs="lines such as 'target: S2'",
        made_by=(
            f"'workbench {command} --like RUN' reuses the options of a run"
            if command in TYPES
            else f"'workbench {command} --help' lists the options"
        ),
        example="'target: S2'",
        error=SettingsError,
    )
    raw, place, odd = read_mapping(path, kind)
    options: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in raw.items():
        if name not in types:
            problems.append(f"{place(name)}: {_unknown(name, types, command)}")
            continue
        try:
            options[name] = _convert(value, types[name], path.parent)
        except ValueError as error:
            problems.append(f"{place(name)}: {error}")
        except DataError as error:
            problems += [f"{place(name)}: {problem}" for problem in error.problems]
    # Report one problem per line: a value with an unknown tag has the wrong type, too.
    reported = {line_of(problem) for problem in odd}
    problems = odd + [problem for problem in problems if line_of(problem) not in reported]
    if problems:
        raise SettingsError(*problems)
    return _with_folders(options, path.parent)


def override(options: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the options of a file with those of the command line, which override them.

    An option of the file that contradicts a typed one is dropped: the user cannot remove it
    otherwise.
    """
    removed = {other for name in typed for other in _REMOVES.get(name, ())} - typed.keys()
    if typed.get("method") == options.get("footprint") == REFERENCE:
        removed |= {"footprint"} - typed.keys()
    left = {name: value for name, value in options.items() if name not in removed} | {**typed}
    unused = _without_gates(left, typed) | _without_stages(left, typed)
    return {name: value for name, value in left.items() if name not in unused - typed.keys()}


def _without_gates(options: Mapping[str, Any], typed: Mapping[str, Any]) -> set[str]:
    """The options of gates, if a typed one chooses methods that train none."""
    names = ("method", "recipe", "selection", "recipe_file")
    chosen = {name: options[name] for name in names if options.get(name)}
    if chosen.keys().isdisjoint(typed) or RecipeSettings.of(**chosen).gates:
        return set()
    return set(GATE_OPTIONS)


def _without_stages(options: Mapping[str, Any], typed: Mapping[str, Any]) -> set[str]:
    """The options of stages that are not among the typed ones."""
    if "stages" not in typed:
        return set()
    stages = DeploymentSettings.of(stages=options["stages"]).stages
    used = {option for name in stages if name in STAGES for option in STAGES[name].options}
    return {*STAGE_OPTIONS} - used


def _unknown(name: str, types: Types, command: str) -> str:
    if name in _TYPED_ONLY:
        return "is an option of the command line only; remove the line"
    if _OTHER_NAMES.get(name) in types:
        return f"unknown option; did you mean '{_OTHER_NAMES[name]}'?"
    others = [other for other, known in TYPES.items() if name in known]
    if others:
        return f"is an option of '{others[0]}', not of '{command}'; remove the line"
    return f"unknown option{did_you_mean(name, list(types))}"


def _with_folders(options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The options with a source that is a folder relative to the file's folder."""
    source = options.get("source")
    if source is None or source in SOURCES:
        return options
    path = folder / user_path(source)
    if "/" not in source and not os.path.isdir(path):
        return options
    same = {"target": str(path)} if options.get("target") == source else {}
    return options | {"source": str(path)} | same


def _convert(value: Any, kinds: tuple[type, ...], folder: Path) -> Any:
    """Convert a value of the file to the first type that fits.

    Raises:
        ValueError: with the reason, when no type fits.
    """
    if isinstance(value, Odd) and value.kind == "null" and NoneType in kinds:
        return None
    for kind in kinds:
        if kind in _READERS and (read := _READERS[kind](value)) is not None:
            located = isinstance(read, Path) and str(read) != DEFAULT_WEIGHTS
            return folder / read if located else read
    wanted = " or ".join(_WORDS[kind] for kind in kinds if kind in _WORDS)
    raise ValueError(f"{_shown(value)} is not {wanted}")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    text = str(value.text if isinstance(value, Odd) else value)
    return f"'{text}'" if text else "an empty value"


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Odd) and value.kind == "float":
        return value.text
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    numeric = isinstance(value, Odd) and value.kind in ("float", "int")
    try:
        return float(value.text if numeric else value)
    except (TypeError, ValueError, OverflowError):
        return None


def _whole(value: Any) -> int | None:
    if isinstance(value, Odd) and value.kind == "int" and len(value.text) <= _LONGEST_NUMBER:
        try:  # a negative or a very large number, whose range is checked later
            return int(value.text)
        except ValueError:
            return None
    return value if isinstance(value, int) else None


def _truth(value: Any) -> bool | None:
    words = {"true": True, "false": False}
    return words.get(value.text.lower()) if isinstance(value, Odd) else None


def _names(value: Any) -> list[str] | None:
    texts = [_text(item) for item in value] if isinstance(value, list) else [None]
    return None if None in texts else [str(text) for text in texts]


def _path(value: Any) -> Path | None:
    return user_path(value) if isinstance(value, str) and value else None


_READERS: dict[type, Callable[[Any], Any]] = {
    bool: _truth,
    int: _whole,
    float: _number,
    list: _names,
    Path: _path,
    str: _text,
}
_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list of names",
    Path: "a path",
    str: "text",
}
