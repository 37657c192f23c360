"""Specialise a trained network for a small domain, and compare the results.

    import workbench
    result = workbench.adapt(source="digits", target="digits-3v8", epochs=10)

Everything but ``pfa`` is loaded when it is first used: importing the package loads neither torch
nor mlflow.
"""

from __future__ import annotations

from importlib import import_module

# Type checkers know the name; typing itself is not loaded before Ctrl-C is taken care of.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from workbench import pfa as pfa
    from workbench.adaptation.pipeline import adapt as adapt
    from workbench.adaptation.pipeline import analyze as analyze
    from workbench.adaptation.results.run_export import export as export
    from workbench.adaptation.results.run_export import quantize as quantize
    from workbench.compression.compress import compress as compress
    from workbench.compression.narrow_networks import load_network as load_network
    from workbench.deployment.predict import predict as predict
    from workbench.deployment.register import register as register
    from workbench.experiments.network_search.shrink import shrink as shrink
    from workbench.experiments.reports import report as report

__version__ = "0.2.0"
__all__ = [
    "adapt", "analyze", "compress", "export", "load_network", "pfa", "predict", "quantize",
    "register", "report", "shrink",
]  # fmt: skip

_HOMES = {
    "adapt": "workbench.adaptation.pipeline",
    "analyze": "workbench.adaptation.pipeline",
    "compress": "workbench.compression.compress",
    "export": "workbench.adaptation.results.run_export",
    "load_network": "workbench.compression.narrow_networks",
    "predict": "workbench.deployment.predict",
    "quantize": "workbench.adaptation.results.run_export",
    "register": "workbench.deployment.register",
    "report": "workbench.experiments.reports",
    "shrink": "workbench.experiments.network_search.shrink",
}
#: Modules that code of the user's may name.
_MODULES = {"pfa": "workbench.pfa", "prediction": "workbench.deployment.predict"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'workbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
