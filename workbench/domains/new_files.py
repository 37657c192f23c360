"""Text of new domain files, and writing them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from workbench.data.user_paths import user_path
from workbench.domains.checks import check_values
from workbench.domains.domain import find_files
from workbench.domains.folder_fields import FolderFields
from workbench.domains.strict_yaml import Places
from workbench.errors import DomainError


def domain_text(name: str, source: str, classes: Sequence[str], description: str = "") -> str:
    """YAML text of a new domain; its first comments show how to run it.

    Raises:
        DomainError: with all problems, one line each.
    """
    raw = {"source": source, "classes": list(classes)}
    return _text(name, raw, description, f"Classes of {source}", source)


def folder_text(
    name: str, folder: Path, classes: Sequence[str], description: str = "", place: Path = Path()
) -> str:
    """YAML text of a new domain of images in a folder.

    Args:
        folder: as the user wrote it, relative to the current folder.
        classes: subfolders; empty for all.
        place: the folder of the domain file.

    Raises:
        DomainError: with all problems, one line each.
    """
    own = FolderFields(user_path(folder))
    chosen = tuple(classes) or None
    found = find_files(Places(Path(f"{name}.yaml"), None), own, chosen)
    # Relative to the file's real folder, because ``place`` may be a symbolic link.
    path = own.path
    if not path.is_absolute():
        path = Path(os.path.relpath(os.path.realpath(path), os.path.realpath(place)))
    raw: dict[str, Any] = {"folder": path.as_posix()}
    if chosen:
        raw["classes"] = list(found.classes)
    return _text(name, raw, description, f"Subfolders of {path.as_posix()}", "SOURCE")


def _text(name: str, values: dict[str, Any], description: str, what: str, source: str) -> str:
    description = "".join(c if c.isprintable() else " " for c in description)
    description = " ".join(description.split())
    raw = {"name": name, **values, "description": description}
    problems = check_values(Places(Path(f"{name}.yaml"), None), raw)
    if problems:
        raise DomainError(*problems)
    # One field a line, with the list of classes in brackets.
    flow = None if "classes" in raw else False
    body = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, default_flow_style=flow)
    return (
        f"# {description or 'What this domain is for: one line.'}\n"
        f"# {what}; their order is the order of the network's outputs.\n"
        f"# Run it:  workbench adapt --source {source} --target {name}\n{body}"
    )


def write_domain(folder: Path, name: str, text: str) -> Path:
    """Write a new domain file; never overwrite one, and leave nothing behind on failure.

    Raises:
        DomainError: when the file exists or the folder cannot be written.
    """
    path = folder / f"{name}.yaml"
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        if isinstance(error, FileExistsError) and folder.is_dir():
            problem = f"{path}: already exists; remove it or choose another name"
        else:
            problem = f"{path}: cannot be written ({error.strerror}); use another --domains folder"
        if made and folder.is_dir():
            folder.rmdir()
        raise DomainError(problem) from None
    return path
