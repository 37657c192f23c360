"""Options of a file or a run, merged with those on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from workbench.data.user_paths import user_path
from workbench.errors import SettingsError


def merge_options(
    context: typer.Context,
    chosen: dict[str, Any],
    required: Sequence[str],
    own_types: Callable[[], Mapping[str, tuple[type, ...]]] | None = None,
) -> dict[str, Any]:
    """The options of a command, merged from ``--config`` or ``--like`` and the command line.

    Args:
        context: the command's context; the command's name decides which options a file may have.
        chosen: all parsed values, including ``config`` and ``like``.
        required: options that the file or the command line must have.
        own_types: returns the options that a file may have, and their types; None for a command
            in ``option_files.TYPES``.

    Raises:
        SettingsError: when the file is not valid or a required option is missing.
    """
    config, like = chosen.pop("config"), chosen.pop("like", None)
    typed = {
        name: value
        for name, value in chosen.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    command = str(context.info_name)
    options = typed
    if config is not None and like is not None:
        raise SettingsError("--config and --like exclude each other; name one")
    if config is not None or like is not None:
        from workbench.adaptation.options.option_files import TYPES, override, read_options
        from workbench.adaptation.options.recorded_options import read_run_options

        types = own_types() if own_types else TYPES[command]
        if config is not None:
            options = read_options(user_path(config), types, command)
        else:
            options = read_run_options(str(like), chosen["tracking_uri"], types, command)
        options = override(options, typed)
    missing = [name for name in required if name not in options]
    if missing:
        raise SettingsError(
            *(f"Missing option '--{name}'. (see 'workbench {command} --help')" for name in missing)
        )
    return options
