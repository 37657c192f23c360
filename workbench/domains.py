"""Target domains: strict YAML files into frozen records.

A domain names the classes that a device must tell apart. Its file has the fields ``name``,
``source``, ``classes`` and ``description`` and nothing else; every mistake in a file is
reported at once, each with line, value and remedy. Only plain YAML is read: no tag ever builds
an object.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from workbench.catalog import SOURCES
from workbench.errors import DomainError, did_you_mean

ENVIRONMENT = "WORKBENCH_DOMAINS"
FIELDS = ("name", "source", "classes", "description")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_LARGEST_FILE = 1_000_000  # bytes; a domain is a page, not a data set


@dataclass(frozen=True)
class Domain:
    """A target domain D_Z.

    Attributes:
        name: the file's name without ``.yaml``.
        source: the data set that the images come from.
        classes: at least two different class names of that source; the position of a name is
            its label in the specialised network.
        description: free text.
        path: where it was read from.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    description: str = ""
    path: Path | None = None

    def __post_init__(self) -> None:
        if len(set(self.classes)) < len(self.classes) or len(self.classes) < 2:
            raise ValueError(f"domain '{self.name}' needs two or more different classes")

    def images(self) -> tuple[int, int]:
        """Number of training and of test images that the source has of these classes."""
        source = SOURCES[self.source]
        labels = [source.classes.index(name) for name in self.classes]
        return (
            sum(source.train_images[label] for label in labels),
            sum(source.test_images[label] for label in labels),
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: StrictStr
    source: StrictStr
    classes: Annotated[list[StrictStr | Annotated[int, Field(strict=True)]], Field(strict=True)]
    description: StrictStr = ""


def load_domain(path: Path) -> Domain:
    """Read one domain file.

    Raises:
        DomainError: with all that is wrong in the file, one line each.
    """
    node = _parse(path)
    place = _Places(path, node)
    problems: list[str] = list(_odd_nodes(place, node))
    if problems:
        raise DomainError(*problems)
    try:
        raw = yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a "date" like 2026-99-99
        raise DomainError(
            f"{path}: a value cannot be read ({_one_line(error)}); quote it"
        ) from None
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(place, dict(item)) for item in error.errors()]
        # What is well-typed is checked all the same: all errors of a file at once.
        problems += _check_values(place, raw if isinstance(raw, dict) else {})
        raise DomainError(*dict.fromkeys(problems)) from None
    problems = _check_values(place, raw)
    if problems:
        raise DomainError(*problems)
    return Domain(
        name=file.name,
        source=file.source,
        classes=tuple(str(name) for name in file.classes),
        description=" ".join(file.description.split()),
        path=path,
    )


def search_path(folder: Path | None = None) -> list[Path | Any]:
    """Folders in which domains are looked for, first one first.

    ``folder`` (``--domains``), ``$WORKBENCH_DOMAINS``, ``./domains`` and the copies inside the
    installed package.

    Raises:
        DomainError: when a folder that was asked for is not there.
    """
    found: list[Path | Any] = []
    for asked, origin in ((folder, "--domains"), (os.environ.get(ENVIRONMENT), f"${ENVIRONMENT}")):
        if asked:
            if not Path(asked).is_dir():
                raise DomainError(f"{origin} {asked}: no such folder; create it or name another")
            found.append(Path(asked))
    if Path("domains").is_dir():
        found.append(Path("domains"))
    packaged = Path(str(resources.files("workbench") / "domain_files"))
    # In a checkout the package has no copy of its own: its domains stand beside it.
    beside = Path(__file__).parent.parent / "domains"
    found += [place for place in (packaged, beside) if place.is_dir()][:1]
    return list(dict.fromkeys(found))


def domain_files(folder: Path | None = None) -> dict[str, Path]:
    """Every domain file in reach by name, sorted; an earlier folder hides a later one."""
    files: dict[str, Path] = {}
    for place in search_path(folder):
        for path in sorted(place.glob("*.yaml")):
            files.setdefault(path.stem, path)
    return dict(sorted(files.items()))


def find_domain(name: str, folder: Path | None = None) -> Domain:
    """Load the domain called ``name``.

    Raises:
        DomainError: when there is none, or its file is not valid.
    """
    files = domain_files(folder)
    if name not in files:
        places = ", ".join(str(place) for place in search_path(folder))
        raise DomainError(
            f"no domain '{name}' in {places}{did_you_mean(name, list(files))} "
            "('workbench domains' lists them, 'workbench domains new' writes one)"
        )
    return load_domain(files[name])


def check_name(name: str) -> str | None:
    """What is wrong with a domain name, or None."""
    if _NAME.fullmatch(name):
        return None
    return f"name '{name}' may hold only letters, digits, '-' and '_'; rename the domain"


def domain_text(name: str, source: str, classes: Sequence[str], description: str = "") -> str:
    """The YAML text of a new domain, opening with the comment that says how to run it.

    Raises:
        DomainError: with all that is wrong, one line each.
    """
    raw = {"name": name, "source": source, "classes": list(classes), "description": description}
    problems = _check_values(_Places(Path(f"{name}.yaml"), None), raw)
    if problems:
        raise DomainError(*problems)
    body = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, default_flow_style=None)
    return (
        f"# {description or 'What this domain is for: one line.'}\n"
        f"# Classes of {source}; their order is the order of the network's outputs.\n"
        f"# Run it:  workbench adapt --source {source} --target {name}\n{body}"
    )


class _Places:
    """Where things stand in a file, for messages."""

    def __init__(self, path: Path, node: yaml.Node | None) -> None:
        self.path = path
        self.lines: dict[tuple[str | int, ...], int] = {}
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self.lines[(key.value,)] = key.start_mark.line + 1
                if isinstance(value, yaml.SequenceNode):
                    for index, item in enumerate(value.value):
                        self.lines[(key.value, index)] = item.start_mark.line + 1

    def __call__(self, *key: str | int) -> str:
        line = self.lines.get(key) or self.lines.get(key[:1])
        name = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in key)
        where = f"{self.path}:{line}" if line else f"{self.path}"
        return f"{where}: {name}" if name else where


def _parse(path: Path) -> yaml.Node:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise DomainError(f"{path}: larger than 1 MB; a domain file is a few lines of YAML")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DomainError(f"{path}: no such file; 'workbench domains new' writes one") from None
    except OSError as error:
        raise DomainError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError as error:
        raise DomainError(
            f"{path}: not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}); "
            "save the file as UTF-8"
        ) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DomainError(
            f"{path}:{line}: not YAML: {error.problem}; "
            "write 'key: value' lines as in 'workbench domains show S2'"
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise DomainError(f"{path}: not YAML: {_one_line(error)}; remove what is odd") from None
    if node is None:
        raise DomainError(f"{path}: the file is empty; it needs {', '.join(FIELDS[:3])}")
    if not isinstance(node, yaml.MappingNode):
        raise DomainError(
            f"{path}:{node.start_mark.line + 1}: found no 'key: value' lines; "
            f"it needs {', '.join(FIELDS[:3])}"
        )
    return node


def _odd_nodes(place: _Places, root: yaml.Node) -> Iterator[str]:
    """Tags, duplicate keys and keys that are no plain words."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen:  # an alias: YAML may even refer to itself
            yield (
                f"{place.path}:{node.start_mark.line + 1}: YAML aliases (*name) are not read; "
                "write the value out"
            )
            return
        seen.add(id(node))
        if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
            yield (
                f"{place.path}:{node.start_mark.line + 1}: tag '{node.tag}' is refused: domain "
                "files hold plain values; remove the tag"
            )
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(keys) < len(node.value):
                yield (
                    f"{place.path}:{node.start_mark.line + 1}: a key is no plain word; "
                    f"use only {', '.join(FIELDS)}"
                )
            for key in sorted({key for key in keys if keys.count(key) > 1}):
                yield f"{place(key)}: the key stands twice; remove one"
            stack += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            stack += node.value


def _explain(place: _Places, item: dict[str, Any]) -> str:
    """One line for one finding of pydantic."""
    key = tuple(part for part in item["loc"] if part not in ("str", "int"))
    value = f"'{item['input']}'" if not isinstance(item["input"], (dict, list)) else "a collection"
    if item["type"] in ("extra_forbidden", "invalid_key"):
        return f"{place(*key)}: unknown key{did_you_mean(str(key[0]), FIELDS)}"
    if item["type"] == "missing":
        return f"{place(*key)}: the key is missing; add a line '{key[0]}: ...'"
    if key == ("classes",):
        return f"{place(*key)}: {value} is not a list; write 'classes: [name, name]'"
    wanted = "a class name or a whole number" if len(key) > 1 else "text"
    kind = type(item["input"]).__name__
    return f"{place(*key)}: {value} ({kind}) is not {wanted}; put it in quotes if it is a name"


def _check_values(place: _Places, raw: dict[str, Any]) -> list[str]:
    """What is wrong with the well-typed values."""
    problems = []
    name, source, classes = (raw.get(key) for key in FIELDS[:3])
    if isinstance(name, str):
        odd = check_name(name)
        if odd:
            problems.append(f"{place('name')}: {odd}")
        elif name != place.path.stem:
            problems.append(
                f"{place('name')}: name '{name}' differs from the file's, '{place.path.stem}'; "
                "rename one of them"
            )
    if isinstance(source, str) and source not in SOURCES:
        problems.append(
            f"{place('source')}: unknown source '{source}'{did_you_mean(source, list(SOURCES))}"
        )
    if isinstance(classes, list):
        known = SOURCES[source].classes if isinstance(source, str) and source in SOURCES else None
        problems += _check_classes(place, classes, known, str(source))
    return problems


def _check_classes(
    place: _Places, classes: list[Any], known: Sequence[str] | None, source: str
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
    for index, name in enumerate(names):
        if name is None:
            continue
        where = place("classes", index)
        if name in names[:index]:
            problems.append(f"{where}: class '{name}' stands twice; remove one")
        elif known is not None and name not in known:
            hint = did_you_mean(name, known)
            problems.append(f"{where}: class '{name}' is not in {source}{hint}")
    return problems


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
