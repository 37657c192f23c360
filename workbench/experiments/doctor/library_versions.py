"""Installed libraries against the ranges in the package's own metadata, and pairs that must match.

Versions are read from metadata, which works for libraries that cannot be loaded.
"""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING

from workbench import __version__
from workbench.errors import brief
from workbench.experiments.doctor.lines import Line

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "pfa-workbench"
_OLDEST_PYTHON = (3, 11)
#: Extras of developers, which no command needs.
_FOR_DEVELOPERS = ("dev", "docs")
#: Libraries that are loaded, because their files can be broken, and one that they need. The
#: others are only looked up.
_LOADED = {
    "numpy": "",
    "torch": "numpy",
    "torchvision": "torch",
    "torch_pruning": "torch",
    "mlflow": "numpy",
    "sklearn": "numpy",
    "safetensors": "",
    "vl_convert": "",
    "fastapi": "",
}
_SHOWN = ("torch", "torchvision", "mlflow", "numpy")
_TOGETHER = "pip install --force-reinstall torch torchvision, both from the same index"


def versions() -> list[Line]:
    """Python, the workbench, and every library that it requires."""
    lines = [_python(), Line("ok", "workbench", __version__)]
    needed = [each for each in requirements() if each.marker is None]
    if not needed:
        text = f"{PACKAGE} is not installed here, so ranges of versions are unknown; pip install ."
        return [*lines, Line("note", "libraries", text)]
    problems = [problem for each in needed if (problem := outside(each))]
    lines += [Line("problem", "libraries", problem) for problem in problems]
    if not problems:
        shown = ", ".join(f"{name} {metadata.version(name)}" for name in _SHOWN)
        lines.append(Line("ok", "libraries", f"{shown}; all {len(needed)} are in their ranges"))
    return lines


def broken_libraries() -> dict[str, str]:
    """Load the libraries that most depend on the machine; the reasons of those that fail, by name.

    A library whose own libraries fail is not tried, because its reason would be misleading; its
    reason is empty.
    """
    broken: dict[str, str] = {}
    for name, base in _LOADED.items():
        if base in broken:
            broken[name] = ""
            continue
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a broken one may raise anything
            broken[name] = f"{type(error).__name__}: {brief(Exception(str(error)))}"
    return broken


def loading(broken: Mapping[str, str]) -> list[Line]:
    """The result of ``broken_libraries`` as lines."""
    if not broken:
        return [Line("ok", "loading", f"{', '.join(_LOADED)} can be loaded")]
    return [
        Line("problem", "loading", f"{name} cannot be loaded ({why}); {_reinstall(name)}")
        for name, why in broken.items()
        if why
    ]


def torch_pair() -> list[Line]:
    """Whether torchvision was made for the torch that is installed."""
    torch, vision = metadata.version("torch"), metadata.version("torchvision")
    wanted = _torch_of_torchvision()
    problem = pair_problem(_build("torch", torch), _build("torchvision", vision), wanted)
    if problem:
        return [Line("problem", "torch", problem)]
    return [Line("ok", "torch", f"torch {torch} and torchvision {vision} fit")]


def pair_problem(torch: str, vision: str, wanted: str = "") -> str:
    """Why a torchvision does not fit a torch, and what to do; empty if it fits.

    Args:
        torch, vision: versions, with the build if it is known: "2.11.0+cpu", "0.26.0+cu130".
        wanted: the range of torch that torchvision requires, such as "==2.11.0".
    """
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    builds = [Version(each).local for each in (torch, vision)]
    if all(builds) and builds[0] != builds[1]:
        return (
            f"torch {torch} and torchvision {vision} are builds for different processors "
            f"({builds[0]} and {builds[1]}); {_TOGETHER}"
        )
    if wanted and not SpecifierSet(wanted, prereleases=True).contains(Version(torch).public):
        return f"torchvision {vision} needs torch{wanted}, but torch {torch} is here; {_TOGETHER}"
    return ""


def extras() -> list[Line]:
    """Which extras are installed."""
    by_extra: dict[str, list[Requirement]] = {}
    for each in requirements():
        if extra := _extra_of(each):
            by_extra.setdefault(extra, []).append(each)
    lines = []
    for extra, needed in by_extra.items():
        problems = [problem for each in needed if (problem := outside(each, extra))]
        lines += [Line("note", f"[{extra}]", problem) for problem in problems[:1]]
        if not problems:
            shown = ", ".join(f"{each.name} {metadata.version(each.name)}" for each in needed)
            lines.append(Line("ok", f"[{extra}]", shown))
    return lines


def requirements() -> list[Requirement]:
    """What the installed package requires, with its extras; empty without an installation."""
    from packaging.requirements import Requirement

    try:
        return [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    except metadata.PackageNotFoundError:
        return []


def outside(needed: Requirement, extra: str = "") -> str:
    """Why a requirement is not met, and what to do; empty if it is met."""
    remedy = f"pip install '{PACKAGE}[{extra}]'" if extra else f"pip install '{_bare(needed)}'"
    try:
        there = metadata.version(needed.name)
    except metadata.PackageNotFoundError:
        return f"{needed.name} is not installed; {remedy}"
    if needed.specifier.contains(there, prereleases=True):
        return ""
    return f"{needed.name} {there} is outside {needed.specifier}; {remedy}"


def _bare(needed: Requirement) -> str:
    return f"{needed.name}{needed.specifier}"


def _python() -> Line:
    text = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        return Line("problem", "python", f"{text}: is older than 3.11; install a newer one")
    return Line("ok", "python", text)


def _extra_of(needed: Requirement) -> str:
    """The extra that a requirement belongs to; empty for others and for those of developers."""
    if needed.marker is None or needed.name == PACKAGE:
        return ""
    return next((name for name in _extra_names() if needed.marker.evaluate({"extra": name})), "")


def _extra_names() -> Iterator[str]:
    names: Sequence[str] = metadata.metadata(PACKAGE).get_all("Provides-Extra") or ()
    return (name for name in names if name not in _FOR_DEVELOPERS)


def _torch_of_torchvision() -> str:
    from packaging.requirements import Requirement

    found = map(Requirement, metadata.requires("torchvision") or ())
    return next((str(each.specifier) for each in found if each.name == "torch"), "")


def _build(name: str, version: str) -> str:
    """The version with its build: wheels for CUDA may have it only inside the library."""
    if "+" in version:
        return version
    with suppress(Exception):
        own = str(importlib.import_module(f"{name}.version").__version__)
        if own.partition("+")[0] == version:
            return own
    return version


def _reinstall(module: str) -> str:
    if module in ("torch", "torchvision"):
        return _TOGETHER
    named = {"sklearn": "scikit-learn", "torch_pruning": "torch-pruning"}.get(module, module)
    return f"pip install --force-reinstall {named}"
