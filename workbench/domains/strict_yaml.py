"""Reader of plain YAML files: text, whole numbers and lists, with the line of every value.

Tags never create objects, and aliases are not followed. All mistakes in a file are reported
together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from workbench.errors import WorkbenchError

_INTEGER = re.compile(r"0|[1-9][0-9]{0,17}")
_TAGS = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class FileKind:
    """A kind of file, as messages describe it.

    Attributes:
        noun: its name, such as "domain file".
        fields: the allowed keys.
        needs: the required keys, as text.
        made_by: how a user creates one.
        example: where a user finds an example.
        error: raised when the file cannot be read.
        nested: whether a value can be a mapping of plain values, and every key is a name, even
            if YAML reads it as a number or as true.
        largest: bytes; a larger file is not of this kind.
    """

    noun: str
    fields: Sequence[str]
    needs: str
    made_by: str
    example: str
    error: type[WorkbenchError]
    nested: bool = False
    largest: int = 64_000


class Odd:
    """A value that is neither text nor a whole number: a boolean, a float, a date, a mapping."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind, self.text = kind, text


class Places:
    """Line numbers of the keys and values in a file, for messages."""

    def __init__(self, path: Path, node: yaml.Node | None, any_key: bool = False) -> None:
        self.path = path
        self.lines: dict[tuple[str | int, ...], int] = {}
        if isinstance(node, yaml.MappingNode):
            for key, value in (pair for pair in node.value if _is_name(pair[0], any_key)):
                self.lines[(key.value,)] = key.start_mark.line + 1
                if isinstance(value, yaml.SequenceNode):
                    for index, item in enumerate(value.value):
                        self.lines[(key.value, index)] = item.start_mark.line + 1

    def __call__(self, *key: str | int) -> str:
        line = self.lines.get(key) or self.lines.get(key[:1])
        name = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in key)
        where = f"{self.path}:{line}" if line else f"{self.path}"
        return f"{where}: {name}" if name else where


def read_mapping(path: Path, kind: FileKind) -> tuple[dict[str, Any], Places, list[str]]:
    """Read the ``key: value`` lines of a file.

    Returns:
        The values (text, whole numbers, lists of these, mappings of these if the kind is nested,
        or ``Odd``), their positions, and one line for each tag, alias, duplicate or unreadable key.

    Raises:
        WorkbenchError: as ``kind.error``, when the file cannot be read or is not a YAML mapping.
    """
    root = _parse(read_text(path, kind), path, kind)
    place = Places(path, root, kind.nested)
    raw = {
        key.value: _mapping(value)
        if kind.nested and isinstance(value, yaml.MappingNode)
        else _plain(value)
        for key, value in root.value
        if _is_name(key, kind.nested)
    }
    return raw, place, list(_odd_nodes(place, root, kind))


def line_of(problem: str) -> str:
    """File and line of a problem."""
    return problem.split(": ", 1)[0]


def read_text(path: Path, kind: FileKind) -> str:
    """Read the text of a file.

    Raises:
        WorkbenchError: as ``kind.error``, when it is no readable file of UTF-8 text.
    """
    try:
        if not path.is_dir() and path.exists() and not path.is_file():
            raise kind.error(f"{path}: is not a regular file; use a YAML file")
        if path.stat().st_size > kind.largest:
            raise kind.error(
                f"{path}: larger than {kind.largest // 1000} kB; a {kind.noun} is a few lines of "
                "YAML"
            )
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise kind.error(f"{path}: no such file; {kind.made_by}") from None
    except OSError as error:
        raise kind.error(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError as error:
        raise kind.error(
            f"{path}: not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}); "
            "save the file as UTF-8"
        ) from None


def _parse(text: str, path: Path, kind: FileKind) -> yaml.MappingNode:
    """Parse a file to YAML nodes, without creating any object from them."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise kind.error(
            f"{path}:{line}: not YAML: {error.problem}; "
            f"write 'key: value' lines as in {kind.example}"
        ) from None
    # The parser raises ValueError or OverflowError for an invalid escape such as "\UFFFFFFFF".
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise kind.error(
            f"{path}: not YAML: {_one_line(error)}; remove odd characters and deep brackets"
        ) from None
    if node is None:
        raise kind.error(f"{path}: the file is empty; it needs {kind.needs}")
    if not isinstance(node, yaml.MappingNode):
        raise kind.error(
            f"{path}:{node.start_mark.line + 1}: found no 'key: value' lines; it needs {kind.needs}"
        )
    return node


def _is_name(node: yaml.Node, any_key: bool) -> bool:
    """Whether a key is a plain word, or with ``any_key`` any single value without a tag."""
    return isinstance(node, yaml.ScalarNode) and (
        node.tag == f"{_TAGS}str" or (any_key and node.tag.startswith(_TAGS))
    )


def _mapping(node: yaml.MappingNode) -> dict[str, Any]:
    return {key.value: _plain(value) for key, value in node.value if _is_name(key, True)}


def _plain(node: yaml.Node) -> Any:
    """Convert a node to text, a whole number, a list of these, or ``Odd``."""
    if isinstance(node, yaml.SequenceNode):
        items = node.value
        return [
            Odd("list", "[...]") if isinstance(item, yaml.SequenceNode) else _plain(item)
            for item in items
        ]
    if isinstance(node, yaml.MappingNode):
        return Odd("mapping", "{...}")
    if node.tag == f"{_TAGS}str":
        return node.value
    # YAML reads 010 and 0x8 as the number 8, but a user who writes them does not mean class 8.
    if node.tag == f"{_TAGS}int" and _INTEGER.fullmatch(node.value):
        return int(node.value)
    return Odd(node.tag.removeprefix(_TAGS), node.value)


def _odd_keys(place: Places, root: yaml.MappingNode, kind: FileKind) -> Iterator[str]:
    """Report duplicate keys and keys that are not names."""
    words = Counter(key.value for key, _ in root.value if _is_name(key, kind.nested))
    for word in sorted(word for word, number in words.items() if number > 1):
        yield f"{place(word)}: the key is listed twice; remove one"
    allowed = f"use only {', '.join(kind.fields)}" if kind.fields else "write a name"
    for key in (key for key, _ in root.value if not _is_name(key, kind.nested)):
        line = key.start_mark.line + 1
        yield f"{place.path}:{line}: a key is not a plain word; {allowed}"
    for key, value in root.value if kind.nested else ():
        if isinstance(value, yaml.MappingNode):
            inside = {each.value for each, _ in value.value if _is_name(each, True)}
            if len(inside) < len(value.value):
                where = f"{place.path}:{value.start_mark.line + 1}: {key.value}"
                yield f"{where}: a key is listed twice or is not a name; remove it"


def _odd_nodes(place: Places, root: yaml.MappingNode, kind: FileKind) -> Iterator[str]:
    """Report tags, aliases, duplicate keys and keys that are not names."""
    yield from _odd_keys(place, root, kind)
    seen: set[int] = set()
    stack: list[yaml.Node] = [root]
    while stack:
        node = stack.pop()
        where = f"{place.path}:{node.start_mark.line + 1}"
        if id(node) in seen:  # an alias, which may even refer to its own parent
            yield f"{where}: YAML aliases (*name) are not supported; write the value out"
            continue
        seen.add(id(node))
        if not node.tag.startswith(_TAGS) or "python" in node.tag:
            yield (
                f"{where}: tag '{node.tag}' is not allowed: a {kind.noun} has only plain values; "
                "remove the tag"
            )
        if isinstance(node, yaml.MappingNode):
            stack += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            stack += node.value


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
