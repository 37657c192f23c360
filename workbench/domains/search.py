"""Search for domain files."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

from workbench.domains.domain import Domain, load_domain
from workbench.errors import DomainError, did_you_mean

_BESIDE = Path(__file__).parents[2] / "domains"
ENVIRONMENT = "WORKBENCH_DOMAINS"


def search_path(folder: Path | None = None) -> list[Path | Any]:
    """Folders in which domain files are searched, in order.

    These are ``folder`` (``--domains``), ``$WORKBENCH_DOMAINS``, ``./domains`` and the copies
    inside the installed package.

    Raises:
        DomainError: when a folder that the user gives does not exist.
    """
    found: list[Path | Any] = []
    for asked, origin in ((folder, "--domains"), (os.environ.get(ENVIRONMENT), f"${ENVIRONMENT}")):
        if asked:
            if not Path(asked).is_dir():
                raise DomainError(f"{origin} {asked}: no such folder; create it or use another")
            found.append(Path(asked))
    if Path("domains").is_dir():
        found.append(Path("domains"))
    found += [place for place in _packaged() if place.is_dir()][:1]
    return list(dict.fromkeys(found))


def is_packaged(path: Path) -> bool:
    """Whether a domain file comes with the package, so that it is found on every machine."""
    return any(path.parent == place for place in _packaged())


def _packaged() -> tuple[Path, Path]:
    """The files in the installed package; in a checkout, they are in the folder beside it."""
    return Path(str(resources.files("workbench") / "domain_files")), _BESIDE


def domain_files(folder: Path | None = None) -> dict[str, Path]:
    """All domain files by name, sorted; for equal names the earlier folder of the search wins."""
    files: dict[str, Path] = {}
    for place in search_path(folder):
        for path in sorted(place.glob("*.yaml")):
            files.setdefault(path.stem, path)
    return dict(sorted(files.items()))


def find_domain(name: str, folder: Path | None = None) -> Domain:
    """Load the domain called ``name``.

    Raises:
        DomainError: when no domain has this name, or its file is not valid.
    """
    files = domain_files(folder)
    if name not in files:
        places = ", ".join(str(place) for place in search_path(folder))
        raise DomainError(
            f"no domain '{name}' in {places}{did_you_mean(name, list(files))} "
            "('workbench domains' lists them, 'workbench domains new' writes one)"
        )
    return load_domain(files[name])
