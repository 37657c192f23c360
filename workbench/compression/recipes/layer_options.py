"""The options about single layers: ``--recipe-file``, ``--only`` and ``--skip``.

They set the filters that some layers keep; the method does not change these. ``--only`` and
``--skip`` name filter groups by globs; the groups that they leave out keep all filters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from workbench.compression.method_names import FILE
from workbench.errors import SettingsError, did_you_mean

if TYPE_CHECKING:  # the command line imports this module, and need not wait for NumPy
    from workbench.compression.groups.structure import Structure

#: Options that decide how many filters a layer keeps, as a recipe file does.
_CONTRADICT = (
    "recipe", "energy", "footprint", "flops", "params", "latency_ms", "multiple_of", "steps",
    "min_share", "only", "skip",
)  # fmt: skip


@dataclass(frozen=True)
class FixedLayer:
    """The filters that a user option sets for a layer in place of the method.

    Attributes:
        keep: the number of filters, which the selection chooses, or their indices, ascending.
        why: reason why the layer is not compressed; empty if it is.
    """

    keep: int | tuple[int, ...]
    why: str = ""

    @property
    def count(self) -> int:
        """Number of filters kept."""
        return self.keep if isinstance(self.keep, int) else len(self.keep)


def contradictions(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """A line that names the options that a recipe file excludes, if the user gave any.

    Args:
        options: the values, by the options' names.
        defaults: their values if they are not given.
    """
    given = [name for name in _CONTRADICT if options[name] != defaults[name]]
    if options["method"] != FILE:
        given.insert(0, "method")
    if not given:
        return []
    names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
    return [f"--recipe-file and {names} exclude each other: the file says what each layer keeps"]


def left_out_layers(
    structure: Structure, only: Sequence[str], skip: Sequence[str]
) -> dict[str, FixedLayer]:
    """The filter groups that ``--only`` and ``--skip`` leave out; they keep all filters.

    Args:
        only: globs of the groups to compress; empty means all.
        skip: globs of the groups not to compress, even if ``only`` matches them.

    Raises:
        SettingsError: with one line for each glob that matches no group, or when no group is left.
    """
    names = [group.name for group in structure.groups]
    problems = [
        f"{option} {glob}: {_why_none(structure, glob)}"
        for option, globs in (("--only", only), ("--skip", skip))
        for glob in globs
        if not any(fnmatchcase(name, glob) for name in names)
    ]
    if problems:
        raise SettingsError(*problems)
    found = {}
    for group in structure.groups:
        why = ""
        if only and not _matches(group.name, only):
            why = f"not named by --only {','.join(only)}"
        elif _matches(group.name, skip):
            why = f"named by --skip {','.join(skip)}"
        if why:
            found[group.name] = FixedLayer(group.filters, why)
    if names and len(found) == len(names):
        raise SettingsError(
            "--only and --skip leave no layer to compress; name fewer layers in --skip"
        )
    return found


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _why_none(structure: Structure, glob: str) -> str:
    """Why a glob matches no filter group, with the remedy."""
    known = not_a_group(structure, glob)
    if known:
        return known
    for group in structure.groups:
        shared = next((name for name in group.layers if fnmatchcase(name, glob)), None)
        if shared:
            return f"{shared} shares its filters with '{group.name}'; name that one"
    names = [group.name for group in structure.groups]
    return f"no layer has such a name{did_you_mean(glob, names)}"


def not_a_group(structure: Structure, layer: str) -> str:
    """Why a layer of the network cannot be named, with the remedy; empty if it is unknown."""
    for group in structure.groups:
        if layer in group.layers and layer != group.name:
            return f"shares its filters with '{group.name}'; name that one"
    if layer in structure.classifier.layers:
        return "is the classifier, whose filters are the classes; leave it out"
    reason = structure.uncompressed.get(layer)
    return f"is not compressed anyway: {reason}; leave it out" if reason else ""
