"""Options of a command in a YAML file: read for ``--config``, written to repeat a run.

A file has one ``option: value`` line for each option, with names as in Python (``batch_size``).
Options that are not in the file have their defaults. Relative paths start at the file's folder.
Unknown options are errors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import yaml

from workbench.adaptation.settings import GROUPS, Settings
from workbench.adaptation.source_task import SourceSettings, SourceTask
from workbench.data.catalog import SOURCES
from workbench.data.user_paths import user_path
from workbench.domains.strict_yaml import FileKind, Odd, line_of, read_mapping
from workbench.errors import SettingsError, StoreError, did_you_mean
from workbench.models.external_networks import DEFAULT_WEIGHTS
from workbench.store.addresses import store_exists
from workbench.store.mlflow_store import Store
from workbench.store.recorder import KIND, VERSION

OPTIONS_FILE = "options.yaml"
#: The types that an option's value may have, by the option's name.
Types = Mapping[str, tuple[type, ...]]


def _types_of(*groups: type) -> dict[str, tuple[type, ...]]:
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
_ADAPT = _types_of(*GROUPS.values()) | {"params": (int, str, NoneType)}
#: The options of each command. ``analyze`` reads the same files as ``adapt``.
TYPES: dict[str, Types] = {
    "adapt": _ADAPT,
    "analyze": _ADAPT,
    "train": _types_of(SourceSettings)
    | {name: _ADAPT[name] for name in ("data_dir", "tracking_uri", "output", "fresh")},
}
#: Options that are not written: repeating a run does not need them, and an address may contain a
#: password.
_NOT_REPEATED = ("fresh", "output", "tracking_uri")
_FOLDERS = ("source", "target")  # their values are names or paths of folders


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
        made_by=f"'workbench {command} --like RUN' reuses the options of a run",
        example="'target: S2'",
        error=SettingsError,
    )
    raw, place, odd = read_mapping(path, kind)
    options: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in raw.items():
        if name not in types:
            problems.append(f"{place(name)}: unknown option{did_you_mean(name, list(types))}")
            continue
        try:
            options[name] = _convert(name, value, types[name], path.parent)
        except ValueError as error:
            problems.append(f"{place(name)}: {error}")
    # Report one problem per line: a value with an unknown tag has the wrong type, too.
    reported = {line_of(problem) for problem in odd}
    problems = odd + [problem for problem in problems if line_of(problem) not in reported]
    if problems:
        raise SettingsError(*problems)
    return options


def _convert(name: str, value: Any, kinds: tuple[type, ...], folder: Path) -> Any:
    """Convert a value of the file to the first type that fits.

    Raises:
        ValueError: with the reason, when no type fits.
    """
    if isinstance(value, Odd) and value.kind == "null" and NoneType in kinds:
        return None
    for kind in kinds:
        if kind in _READERS and (read := _READERS[kind](value)) is not None:
            return _located(name, read, folder) if kind in (Path, str) else read
    text = value.text if isinstance(value, Odd) else "a list" if isinstance(value, list) else value
    wanted = " or ".join(_WORDS[kind] for kind in kinds if kind in _WORDS)
    raise ValueError(f"'{text}' is not {wanted}")


def _located(name: str, value: str | Path, folder: Path) -> str | Path:
    """A path in the file, relative to the file's folder; a name is returned unchanged."""
    if isinstance(value, Path):
        return value if str(value) == DEFAULT_WEIGHTS else folder / value
    if name in _FOLDERS and "/" in value:
        return str(folder / user_path(value))
    return value


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Odd) and value.kind == "float":
        return value.text
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    try:
        return float(value.text if isinstance(value, Odd) and value.kind == "float" else value)
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _truth(value: Any) -> bool | None:
    words = {"true": True, "false": False}
    return words.get(value.text.lower()) if isinstance(value, Odd) else None


def _names(value: Any) -> list[str] | None:
    if not isinstance(value, list) or not all(isinstance(item, (str, int)) for item in value):
        return None
    return [str(item) for item in value]


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


def adaptation_options(settings: Settings, **changed: Any) -> str:
    """The text of a file that repeats an adaptation, or part of it with ``changed`` options."""
    defaults = {each.name: each.default for group in GROUPS.values() for each in fields(group)}
    options = settings.flat() | changed
    return _file("adapt", _chosen(options, defaults))


def source_options(task: SourceTask) -> str:
    """The text of a file that repeats the training of a source network."""
    folder, plan = task.source.folder, task.plan
    defaults = {each.name: each.default for each in fields(SourceSettings)}
    options = {
        "source": str(folder.path) if folder else task.source.name,
        "model": task.model,
        "weights": task.weights,
        "image_size": task.source.shape[1] if folder else None,
        "strict": task.strict,
        "epochs": plan.epochs,
        "schedule": plan.schedule,
        "lr": plan.learning_rate,
        "batch_size": plan.batch_size,
        "weight_decay": plan.weight_decay,
        "seed": task.seed,
        "sparsity": plan.sparsity,
        "label_smoothing": plan.label_smoothing,
        "reflect_crops": plan.reflect,
    }
    return _file("train", _chosen(options, defaults))


def _chosen(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from their defaults, as YAML values."""
    return {
        name: _plain(name, value)
        for name, value in options.items()
        if name not in _NOT_REPEATED and value != defaults[name]
    }


def _plain(name: str, value: Any) -> Any:
    """A value as text, number or list; paths are absolute, so the file works in any folder."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Path):
        return str(value) if str(value) == DEFAULT_WEIGHTS else str(value.absolute())
    if name in _FOLDERS and value not in SOURCES and os.path.isdir(value):
        return str(user_path(value).absolute())
    return value


def _file(command: str, options: Mapping[str, Any]) -> str:
    body = yaml.safe_dump(dict(options), sort_keys=False, allow_unicode=True)
    return f"# workbench {command} --config {OPTIONS_FILE}\n{body}"


def read_run_options(
    run_id: str, tracking_uri: str | None, types: Types, command: str
) -> dict[str, Any]:
    """Read the options that repeat a recorded run.

    Raises:
        SettingsError: when there is no such run, or it has no options for the command.
        StoreError: when the store cannot be used.
    """
    if not store_exists(tracking_uri):
        raise SettingsError(
            f"--like {run_id}: there is no store here; name one with --tracking-uri"
        )
    store = Store(tracking_uri)
    try:
        run = store.run(run_id)
    except StoreError as error:
        raise SettingsError(f"--like {run_id}: {error}") from None
    kind = run.tags.get(KIND, "unknown")
    if (kind == "source") != (command == "train"):
        raise SettingsError(
            f"--like {run_id}: this is a run of kind '{kind}'; use "
            f"'workbench {'train' if kind == 'source' else 'adapt'} --like {run_id}'"
        )
    path = store.fetch(run, OPTIONS_FILE)
    if path is None:
        raise SettingsError(
            f"--like {run_id}: the run has no {OPTIONS_FILE} (it was recorded by version "
            f"{run.tags.get(VERSION, 'unknown')}); give the options on the command line"
        )
    return read_options(path, types, command)
