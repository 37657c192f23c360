"""Specialise a big network for a small domain, with the evidence.

    import workbench
    result = workbench.adapt(source="digits", target="digits-3v8", epochs=10)

Everything but ``pfa`` is loaded when it is first used: importing the package loads neither torch
nor mlflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench import pfa as pfa
    from workbench.exporting import export as export
    from workbench.pipeline import adapt as adapt
    from workbench.pipeline import analyze as analyze
    from workbench.pipeline import compress as compress
    from workbench.prediction import predict as predict
    from workbench.weights import load_network as load_network

__version__ = "0.1.0"
__all__ = ["adapt", "analyze", "compress", "export", "load_network", "pfa", "predict"]

_HOMES = {
    "adapt": "workbench.pipeline",
    "analyze": "workbench.pipeline",
    "compress": "workbench.pipeline",
    "export": "workbench.exporting",
    "load_network": "workbench.weights",
    "predict": "workbench.prediction",
}


def __getattr__(name: str) -> Any:
    if name == "pfa":
        return import_module("workbench.pfa")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'workbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
