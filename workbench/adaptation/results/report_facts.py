"""Origin of an adaptation: the command that repeats it, software, machine, data and seeds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.adaptation.options.option_files import TYPES
from workbench.adaptation.options.recorded_options import read_recorded
from workbench.errors import SettingsError
from workbench.models.external_networks import DEFAULT_WEIGHTS
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import COMMIT, MACHINE, PYTHON, VERSION
from workbench.store.runs import StoredRun
from workbench.store.stored_results import OPTIONS_FILE, stored_hits

#: Facts that are commands or identifiers.
CODE = frozenset({"command", "the same options", "run", "commit", "training images", "test images"})
_UNKNOWN = "not recorded"
_WEIGHTS = "source_weights"
#: Options that name a folder of this machine, which a report must not spread.
_PLACES = ("data_dir", "domains")


#: The folders of an absolute path, after the start of a text, a space or a sign before a path.
_FOLDERS = re.compile(r"(?<![^\s'\"(])/(?:[^/:;,'\n]+/)+")


def without_folders(text: str) -> str:
    """A message with the names of files, and without their folders."""
    return _FOLDERS.sub("", text)


def command_of(store: Store, run: StoredRun) -> dict[str, Any]:
    """The options that an adaptation was called with; empty if they are not recorded."""
    path = store.fetch(run, OPTIONS_FILE)
    try:
        return {} if path is None else read_recorded(path, TYPES["adapt"], "adapt")
    except SettingsError:
        return {}


def command_line(command: str, options: Mapping[str, Any]) -> str:
    """Options as a command line; files are named without their folders."""
    words = ["workbench", command]
    for name, value in options.items():
        flag = "--map" if name == "gamma_map" else f"--{name.replace('_', '-')}"
        if name in _PLACES or value is None or value is False:
            continue
        words += [flag] if value is True else [flag, _word(name, value)]
    return shlex.join(words)


def _word(name: str, value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    if isinstance(value, Path) and str(value) != DEFAULT_WEIGHTS:
        return value.name
    is_folder = name in ("source", "target") and Path(str(value)).is_absolute()
    return Path(value).name if is_folder else str(value)


def adaptation_facts(
    store: Store,
    run: StoredRun,
    trainings: Sequence[StoredRun],
    settings: Mapping[str, Any],
) -> list[tuple[str, str]]:
    """Names and values of everything that describes where an adaptation was made.

    Args:
        run: the adaptation's run.
        trainings: the runs of its networks.
        settings: its resolved settings, as in its result.
    """
    options, tags = command_of(store, run), run.tags
    command = command_line("adapt", options) if options else _UNKNOWN
    hits = next((found for each in trainings if (found := stored_hits(store, each))), None)
    data = [each.params["data"] for each in trainings if "data" in each.params]
    weights = [each.params[_WEIGHTS] for each in trainings if _WEIGHTS in each.params]
    seeds = sorted({each.params["seed"] for each in trainings if "seed" in each.params})
    software = [f"workbench {tags.get(VERSION, _UNKNOWN)}"]
    software += [f"Python {tags[PYTHON]}"] if PYTHON in tags else []
    software += [f"torch {settings['torch']}"] if "torch" in settings else []
    how = [str(settings[name]) for name in ("device", "precision") if name in settings]
    return [
        ("command", command),
        ("the same options", f"workbench adapt --like {run.run_id}"),
        ("run", run.run_id),
        ("date (UTC)", run.started or _UNKNOWN),
        ("software", ", ".join(software)),
        ("commit", tags.get(COMMIT, _UNKNOWN)),
        ("machine", ", ".join([tags.get(MACHINE, _UNKNOWN), *how])),
        ("target", f"{settings.get('target', _UNKNOWN)}: {', '.join(_classes(settings))}"),
        ("training images", data[0] if data else _UNKNOWN),
        ("test images", hits[0][:12] if hits else _UNKNOWN),
        ("source weights", weights[0] if weights else _UNKNOWN),
        ("seeds", ", ".join(seeds) or _UNKNOWN),
        *_plans(settings),
    ]


def _classes(settings: Mapping[str, Any]) -> list[str]:
    names = settings.get("classes")
    return [str(name) for name in names] if isinstance(names, list) else []


def _plans(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The plans of the trainings, from scratch and from the source's weights."""
    found = []
    for name, title in (("plan", "training from scratch"), ("fine_plan", "fine-tuning")):
        plan = settings.get(name)
        if isinstance(plan, dict):
            text = ", ".join(f"{key.replace('_', ' ')} {_value(plan[key])}" for key in plan)
            found.append((title, text))
    return found


def _value(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
