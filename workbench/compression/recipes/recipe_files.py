"""Recipes as files: what each layer keeps, written by hand, by ``analyze --out`` or by a run.

A file has one line for each layer: a number of filters, or the filters that are *kept*.

    features.0: 20
    features.3: {keep: [0, 3, 5], filters: 64}

``filters`` is optional: the number of filters in the full network, which is then checked. Layers
that are not named keep all filters. JSON has the same form; the ``recipe.json`` of a run is read,
too. All mistakes in a file are reported together, with line numbers for YAML.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.compression.groups.structure import FilterGroup, Structure
from workbench.compression.method_names import FACTORISATIONS
from workbench.compression.recipes.layer_options import FixedLayer, not_a_group
from workbench.compression.recipes.recipes import MOST_FILTERS, Recipe
from workbench.data.whole_files import parse_json
from workbench.domains.strict_yaml import FileKind, Odd, line_of, read_mapping, read_text
from workbench.errors import SettingsError, did_you_mean

SUFFIXES = (".yaml", ".yml", ".json")
_FIELDS = ("keep", "filters")
_KIND = FileKind(
    noun="recipe file",
    fields=(),
    needs="lines such as 'features.0: 20'",
    made_by="'workbench analyze --out recipe.yaml' writes one",
    example="'features.0: 20'",
    error=SettingsError,
    nested=True,
    largest=4_000_000,
)


@dataclass(frozen=True)
class FileLayer:
    """What a file says about one layer.

    Attributes:
        keep: number of filters kept, or the indices of those that are kept, ascending.
        filters: number of filters of the full network; None if the file does not say.
        place: file, line and layer, for messages.
    """

    keep: int | tuple[int, ...]
    filters: int | None
    place: str


@dataclass(frozen=True, eq=False)
class RecipeFile:
    """The content of a recipe file.

    Attributes:
        path: the file.
        layers: what it says, by layer.
        problems: one line for each entry that is not valid.
    """

    path: Path
    layers: Mapping[str, FileLayer]
    problems: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether the filters of a layer are left to the selection."""
        return any(isinstance(layer.keep, int) for layer in self.layers.values())

    @cached_property
    def digest(self) -> str:
        """Hash of what the layers keep; it does not depend on path, order, comments or format."""
        keep = {name: layer.keep for name, layer in self.layers.items()}
        return hashlib.sha256(json.dumps(keep, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The content as JSON text, for the record of a run."""
        content = {
            name: {"keep": layer.keep}
            | ({} if layer.filters is None else {"filters": layer.filters})
            for name, layer in self.layers.items()
        }
        return json.dumps(content, indent=1)

    def fixed(self, structure: Structure) -> dict[str, FixedLayer]:
        """What every filter group of a network keeps.

        Raises:
            SettingsError: with one line for each entry that is not valid or does not fit.
        """
        groups = {group.name: group for group in structure.groups}
        problems = list(self.problems)
        for name, layer in self.layers.items():
            if name in groups:
                wrong = _misfit(groups[name], layer)
            else:
                unknown = f"no layer has this name{did_you_mean(name, list(groups))}"
                wrong = not_a_group(structure, name) or unknown
            if wrong:
                problems.append(f"{layer.place}: {wrong}")
        if problems:
            raise SettingsError(*problems)
        return {
            name: FixedLayer(self.layers[name].keep)
            if name in self.layers
            else FixedLayer(group.filters, "not named in the recipe file")
            for name, group in groups.items()
        }


def read_recipe_file(path: Path) -> RecipeFile:
    """Read a recipe file; entries that are not valid are among its ``problems``.

    Raises:
        SettingsError: when the file cannot be read, or is neither YAML nor JSON of this form.
    """
    if path.suffix == ".json":
        raw, odd = _read_json(path)
        places = {name: f"{path}: {name}" for name in raw}
    else:
        raw, place, odd = read_mapping(path, _KIND)
        places = {name: place(name) for name in raw}
    layers, problems = {}, []
    for name, value in raw.items():
        try:
            keep, filters = _entry(value)
        except ValueError as error:
            problems.append(f"{places[name]}: {error}")
        else:
            layers[name] = FileLayer(keep, filters, places[name])
    # Report one problem per line of YAML: a value with an unknown tag has the wrong type, too.
    reported = {line_of(problem) for problem in odd} - {str(path)}
    problems = odd + [problem for problem in problems if line_of(problem) not in reported]
    return RecipeFile(path, layers, tuple(problems))


def recipe_yaml(recipe: Recipe, comments: Sequence[str]) -> str:
    """YAML text of a recipe; ``read_recipe_file`` reads it."""
    lines = [f"# {comment}" for comment in comments]
    for layer in recipe.layers:
        keep: Any = list(layer.kept_indices) if layer.kept < layer.filters else layer.filters
        name = json.dumps(layer.layer)  # quoted: 'no' and '0.1' are names of layers, too
        lines.append(f"{name}: {{keep: {json.dumps(keep)}, filters: {layer.filters}}}")
    return "\n".join(lines) + "\n"


def _read_json(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The entries of a JSON file, and one line for each name that is listed twice."""
    twice: list[str] = []

    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.extend(sorted({name for name in names if names.count(name) > 1}))
        return dict(pairs)

    try:
        content = parse_json(read_text(path, _KIND), _KIND.largest, checked)
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON: {error}; {_KIND.made_by}") from None
    if isinstance(content, dict) and content.get("method") in FACTORISATIONS:
        raise SettingsError(
            f"{path}: its layers are factorised and keep all filters, which a recipe file cannot "
            f"say; use --method {content['method']}"
        )
    if isinstance(content, dict) and isinstance(content.get("layers"), list):
        content = _of_run(path, content["layers"])
    if not isinstance(content, dict) or not content:
        raise SettingsError(f"{path}: has no layers; it needs entries such as '\"features.0\": 20'")
    return content, [f"{path}: {name}: the key is listed twice; remove one" for name in twice]


def _of_run(path: Path, rows: Sequence[Any]) -> dict[str, Any]:
    """The entries of the ``recipe.json`` of a run."""
    try:
        if not all(isinstance(row["layer"], str) for row in rows):
            raise TypeError
        return {
            row["layer"]: {"keep": row["kept_indices"], "filters": row["filters"]} for row in rows
        }
    except (TypeError, KeyError):
        raise SettingsError(
            f"{path}: a layer lacks its name, its filters or its kept_indices; use the recipe.json "
            "of a run as it is"
        ) from None


def _entry(value: Any) -> tuple[int | tuple[int, ...], int | None]:
    """Check one entry; return what is kept and the number of filters.

    Raises:
        ValueError: with the reason, when it is not valid.
    """
    if isinstance(value, list):
        raise ValueError("a list does not say what its filters are; write {keep: [...]}")
    if not isinstance(value, dict):
        return _whole("the number of filters kept", value, 1), None
    for key in value:
        if key not in _FIELDS:
            raise ValueError(f"unknown key '{key}'{did_you_mean(str(key), _FIELDS)}")
    if "keep" not in value:
        raise ValueError("does not say what is kept; write {keep: 20} or {keep: [0, 3, 5]}")
    filters = value.get("filters")
    filters = None if filters is None else _whole("filters", filters, 1)
    keep = value["keep"]
    if not isinstance(keep, list):
        return _whole("the number of filters kept", keep, 1), filters
    indices = [_whole("a kept filter", index, 0) for index in keep]
    if not indices:
        raise ValueError("keeps no filter; a layer keeps at least one")
    if len(set(indices)) < len(indices):
        again = next(index for index in indices if indices.count(index) > 1)
        raise ValueError(f"lists filter {again} twice; list each kept filter once")
    return tuple(sorted(indices)), filters


def _whole(what: str, value: Any, least: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST_FILTERS:
        return value
    shown = str(value.text if isinstance(value, Odd) else value)[:40]
    raise ValueError(f"{what} is '{shown}', not a whole number from {least} on")


def _misfit(group: FilterGroup, layer: FileLayer) -> str:
    """Why an entry does not fit a filter group; empty if it does."""
    if layer.filters not in (None, group.filters):
        return (
            f"has {layer.filters} filters in the file and {group.filters} in this network; use a "
            "recipe for this network"
        )
    if isinstance(layer.keep, int):
        if layer.keep > group.filters:
            return f"cannot keep {layer.keep} of {group.filters} filters"
        if layer.keep % group.blocks:
            return (
                f"cannot keep {layer.keep} filters: grouped convolutions need a multiple of "
                f"{group.blocks}; try {group.buildable(layer.keep)}"
            )
        return ""
    if layer.keep[-1] >= group.filters:
        return f"cannot keep filter {layer.keep[-1]}: its filters are 0 to {group.filters - 1}"
    counts = list(_block_counts(group, layer.keep))
    if len(set(counts)) > 1:
        most = counts.index(max(counts))
        least = counts.index(min(counts))
        return (
            f"grouped convolutions need the same number of filters from each of {group.blocks} "
            f"blocks of {group.filters // group.blocks}; block {most} keeps {max(counts)}, block "
            f"{least} keeps {min(counts)}"
        )
    return ""


def _block_counts(group: FilterGroup, kept: Sequence[int]) -> Iterator[int]:
    """Number of filters kept of each block."""
    size = group.filters // group.blocks
    for block in range(group.blocks):
        yield sum(block * size <= index < (block + 1) * size for index in kept)
