"""Code that ``reproduce`` and ``bench`` share: options, lists, and the command on a page."""

from __future__ import annotations

import sys
from pathlib import Path

from workbench.cli.one_option import Option
from workbench.errors import SettingsError
from workbench.experiments.engines.engine_settings import ENGINE_OPTIONS
from workbench.experiments.settings import RESULTS

RESULTS_OPTION = Option(Path, "Where", "Folder for the pages, figures and result rows.", RESULTS)
#: Names of the options that both commands have.
COMMON = (
    "model", "weights", "image_size", "seeds", "first_seed", "epochs", "source_epochs", "schedule",
    "lr", "fine_lr", "batch_size", "device", "precision", "data_dir", "tracking_uri", "output",
    "fresh", "quiet", *ENGINE_OPTIONS,
)  # fmt: skip
_PLACES = (
    "--data-dir", "--tracking-uri", "--output", "--results", "--domain-files", "--engine-address",
)  # fmt: skip


def names_of(option: str, text: str) -> tuple[str, ...]:
    """The names in a comma-separated list; none where the option is left out.

    Raises:
        SettingsError: when the text contains no name.
    """
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if text and not names:
        raise SettingsError(f"{option} '{text}' contains no name; name some, or leave it out")
    return names


def typed_command(*more: str) -> list[str]:
    """The command that the user typed, without folders and addresses of this machine.

    Args:
        more: further options whose values are locations.
    """
    places = (*_PLACES, *more)
    words, skip = ["workbench"], False
    for word in sys.argv[1:]:
        if skip:
            skip = False
        elif word.split("=")[0] in places:
            skip = "=" not in word
        else:
            option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
            words.append(f"{option}{equals}{Path(value).name if '/' in value else value}")
    return words
