"""The options of a run, stored with it as a file that repeats it (``--like``).

The file contains the options as the user gave them, not the defaults of this machine, so that a run
can be repeated with another target or network. Its last line shows that the file is complete.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml

from workbench.adaptation.options.option_files import Types, read_options
from workbench.adaptation.settings import GROUPS
from workbench.adaptation.tasks.source_task import SourceSettings, SourceTask
from workbench.adaptation.tasks.task import Task
from workbench.compression.costs.budget_limits import BUDGETS
from workbench.compression.recipes.recipe_settings import RecipeSettings
from workbench.data.catalog import SOURCES
from workbench.data.user_paths import user_path
from workbench.domains.search import is_packaged
from workbench.errors import SettingsError, StoreError
from workbench.models.external_networks import DEFAULT_WEIGHTS
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import ADAPTATION, KIND, VERSION
from workbench.store.stored_results import OPTIONS_FILE, RECIPE_INPUT_FILE
from workbench.store.tracking_uris import store_exists

_END = "# end of options\n"
#: Options that are not written: repeating a run does not need them, and an address may contain a
#: password.
_NOT_REPEATED = ("fresh", "output", "tracking_uri")


def adaptation_options(task: Task, **changed: Any) -> str:
    """The text of a file that repeats an adaptation, or part of it with ``changed`` options."""
    defaults = {each.name: each.default for group in GROUPS.values() for each in fields(group)}
    options = task.asked.flat() | changed
    if task.domain.path is not None and not is_packaged(task.domain.path):
        options["domains"] = options["domains"] or task.domain.path.parent
    return _text("adapt", options, defaults)


def recorded_inputs(task: Task) -> dict[str, str]:
    """Texts of the files that the options of an adaptation refer to, by their names in its run."""
    return {RECIPE_INPUT_FILE: task.recipe_file.to_json()} if task.recipe_file else {}


def source_options(task: SourceTask) -> str:
    """The text of a file that repeats the training of a source network."""
    defaults = {each.name: each.default for each in fields(SourceSettings)}
    return _text("train", asdict(task.asked), defaults)


def _text(command: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    # With a budget, the default of the method is another one.
    named = ("method",) if any(options.get(name) is not None for name in BUDGETS) else ()
    chosen = {
        name: _plain(name, value, options)
        for name, value in options.items()
        if name not in _NOT_REPEATED and (value != defaults[name] or name in named)
    }
    body = yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True)
    return f"# workbench {command} --config {OPTIONS_FILE}\n{body}{_END}"


def _plain(name: str, value: Any, options: Mapping[str, Any]) -> Any:
    """A value as text, number or list; paths are absolute, so the file works in any folder.

    A target is the name of a domain, even where a folder has this name, unless it is the source.
    """
    if isinstance(value, tuple):
        return list(value)
    if name == "recipe_file":
        return RECIPE_INPUT_FILE  # beside the options, so the run does not depend on the user's
    if isinstance(value, Path):
        return str(value) if str(value) == DEFAULT_WEIGHTS else str(value.absolute())
    is_folder = name == "source" or (name == "target" and value == options["source"])
    if is_folder and value not in SOURCES and os.path.isdir(value):
        return str(user_path(value).absolute())
    return value


def read_run_options(
    run_id: str, tracking_uri: str | None, types: Types, command: str
) -> dict[str, Any]:
    """Read the options that repeat a recorded run.

    Raises:
        SettingsError: when there is no such run, or it has no complete options for the command.
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
    if kind == "shrink":
        raise SettingsError(
            f"--like {run_id}: this is a search; name the run of its chosen network "
            f"({run.tags.get(ADAPTATION, 'it has none yet')})"
        )
    path = store.fetch(run, OPTIONS_FILE)
    if path is None:
        raise SettingsError(
            f"--like {run_id}: the run has no {OPTIONS_FILE} (it was recorded by version "
            f"{run.tags.get(VERSION, 'unknown')}); give the options on the command line"
        )
    if not _is_complete(path):
        raise SettingsError(
            f"--like {run_id}: {path} is damaged; run the command of that run again, which writes "
            "the file again"
        )
    options = read_recorded(path, types, command)
    if options.get("recipe_file") is not None:
        options["recipe_file"] = store.fetch(run, RECIPE_INPUT_FILE)
        if options["recipe_file"] is None:
            raise SettingsError(
                f"--like {run_id}: the run's {RECIPE_INPUT_FILE} is missing; run the command of "
                "that run again, which writes the file again"
            )
    return options


def read_recorded(path: Path, types: Types, command: str) -> dict[str, Any]:
    """Read the stored options of a run.

    Earlier versions did not write the default method, and it was the same with a budget.

    Raises:
        SettingsError: with one line for each mistake in the file.
    """
    options = read_options(path, types, command)
    has_budget = any(options.get(name) is not None for name in BUDGETS)
    if has_budget and not options.get("method"):
        options["method"] = RecipeSettings.method
    return options


def _is_complete(path: Path) -> bool:
    try:
        return path.read_bytes().endswith(_END.encode())
    except OSError:
        return False
