"""Libraries of the package's extras, imported when they are used."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from workbench.errors import SettingsError, brief


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
    except (ImportError, OSError) as error:  # made for another version of torch or of the system
        raise SettingsError(
            f"{purpose} needs {name}, which cannot be loaded here ({brief(error)}); install it "
            f"again: pip install 'pfa-workbench[{extra}]'"
        ) from None


def missing_library(names: Sequence[str], extra: str, purpose: str) -> list[str]:
    """A problem line for the first library that is not installed; none is imported."""
    for name in names:
        try:
            found = importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            found = False
        if not found:
            return [
                f"{purpose} needs {name}, which is not installed; "
                f"pip install 'pfa-workbench[{extra}]'"
            ]
    return []


def import_onnx(name: str) -> Any:
    """Import a library of the extra ``[onnx]``.

    Raises:
        SettingsError: when it is not installed.
    """
    return import_library(name, "onnx", "ONNX")
