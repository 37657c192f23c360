"""Checks of the fields of a domain file: one line per problem, with place, value and remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from workbench.data.catalog import IMAGENET, SOURCES
from workbench.domains.folder_fields import FOLDER_FIELDS
from workbench.domains.strict_yaml import Odd, Places
from workbench.errors import did_you_mean

FIELDS = ("name", "source", "classes", "description")
_ALL_FIELDS = (*FIELDS, *FOLDER_FIELDS)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def explain(place: Places, item: dict[str, Any]) -> str:
    """Convert one pydantic error to one line."""
    key = tuple(part for part in item["loc"] if part not in ("str", "int"))
    value = item["input"]
    if item["type"] == "extra_forbidden":
        return f"{place(*key)}: unknown key{did_you_mean(str(key[0]), _ALL_FIELDS)}"
    if item["type"] == "missing":
        return f"{place(*key)}: the key is missing; add a line '{key[0]}: ...'"
    if isinstance(value, list):
        text, kind = "a list", ""
    elif isinstance(value, Odd):
        text, kind = f"'{value.text}'", f" ({value.kind})"
    else:
        text, kind = f"'{value}'", " (a number)" if isinstance(value, int) else ""
    if key == ("classes",):
        return f"{place(*key)}: {text}{kind} is not a list; write 'classes: [name, name]'"
    wanted = "a class name or a whole number" if len(key) > 1 else "text"
    return f"{place(*key)}: {text}{kind} is not {wanted}; put it in quotes if it is a name"


def check_values(place: Places, raw: dict[str, Any], folders: Sequence[str] = ()) -> list[str]:
    """Check the values that have the right type; ``folders`` are the classes of the folder."""
    problems = []
    name, source, classes = (raw.get(key) for key in FIELDS[:3])
    if isinstance(name, str):
        odd = _check_name(name)
        if odd:
            problems.append(f"{place('name')}: {odd}")
        elif name != place.path.stem:
            problems.append(
                f"{place('name')}: name '{name}' differs from the file name '{place.path.stem}'; "
                "rename one of them"
            )
    if isinstance(source, str):
        problems += _check_source(place, source, "folder" in raw)
    if isinstance(classes, list):
        known: Sequence[str] | None = None
        if "folder" in raw:
            known, source = folders or None, str(raw["folder"])
        elif isinstance(source, str) and source in SOURCES:
            known = SOURCES[source].classes
        problems += _check_classes(place, classes, known, str(source))
    return problems


def _check_name(name: str) -> str | None:
    """Return the problem of a domain name, or None."""
    if _NAME.fullmatch(name):
        return None
    return f"name '{name}' may contain only letters, digits, '-' and '_'; rename the domain"


def _check_source(place: Places, source: str, beside_folder: bool) -> list[str]:
    """Check the name of the data set."""
    where = place("source")
    if not beside_folder:
        if source in SOURCES:
            return []
        hint = did_you_mean(source, list(SOURCES))
        other = "" if hint.endswith("?") else "; or use your own images with 'folder: path'"
        return [f"{where}: unknown source '{source}'{hint}{other}"]
    if not source.strip() or not source.isprintable():
        return [f"{where}: '{source}' is not a valid name for the images; use another name"]
    if source in (*SOURCES, IMAGENET):
        return [
            f"{where}: '{source}' is a known data set, but these images come from a folder; use "
            "another name, or remove one of the two lines"
        ]
    return []


def _check_classes(
    place: Places, classes: list[Any], known: Sequence[str] | None, source: str
) -> list[str]:
    problems = []
    if len(classes) < 2:
        problems.append(
            f"{place('classes')}: {len(classes)} class(es), a domain needs two or more; add some"
        )
    names = [
        str(item) if isinstance(item, (str, int)) and not isinstance(item, bool) else None
        for item in classes
    ]
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name is None:
            continue
        where = place("classes", index)
        if name in seen:
            problems.append(f"{where}: class '{name}' is listed twice; remove one")
        elif known is not None and name not in known:
            hint = did_you_mean(name, known)
            problems.append(f"{where}: class '{name}' is not in {source}{hint}")
        seen.add(name)
    return problems
