"""Options that do not apply to methods that factorise layers, as one line each.

Plain data without heavy imports, like the settings that it checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What to do about each option that has no meaning where all filters are kept.
_WHY = {
    "recipe": "--method {} decides about the layers; leave it out",
    "selection": "--method {} keeps all filters, so none are selected; leave it out",
    "multiple_of": "it rounds numbers of filters, and --method {} keeps all; leave it out",
    "steps": "iterative PFA removes filters, and --method {} keeps all; leave it out",
    "min_share": "it is a share of the filters, and --method {} keeps all; leave it out",
    "compensate": "it corrects for removed filters, and --method {} keeps all; leave it out",
}


def factor_problems(
    method: str, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[str]:
    """One line for each option that a method which factorises layers cannot use.

    Args:
        method: name of the method.
        options, defaults: the values, by the options' names, and those if they are not given.
    """
    return [
        f"{_words(name, options[name])}: {why.format(method)}"
        for name, why in _WHY.items()
        if options[name] != defaults[name]
    ]


def _words(name: str, value: object) -> str:
    option = f"--{name.replace('_', '-')}"
    return option if value is True else f"{option} {value}"
