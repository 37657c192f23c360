"""Libraries of the package's extras, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from workbench.errors import SettingsError


def import_library(name: str, extra: str, purpose: str) -> Any:
    """Import a library that only some users need.

    Args:
        name: module to import.
        extra: extra of this package that installs it.
        purpose: what needs it, for the message.

    Raises:
        SettingsError: when it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        top = (error.name or name).partition(".")[0]
        raise SettingsError(
            f"{purpose} needs {top}, which is not installed; pip install 'pfa-workbench[{extra}]'"
        ) from None


def import_onnx(name: str) -> Any:
    """Import a library of the extra ``[onnx]``.

    Raises:
        SettingsError: when it is not installed.
    """
    return import_library(name, "onnx", "ONNX")
