"""Prove that a group's readers can take over its removed filters: a twin can be removed exactly.

As in ``proof``, random noise is added to all values of a copy. Then every removed filter becomes a
twin of a kept one: all its values in all layers of the group are copied. The kept twin's weight in
every reader plus that of the removed one must give the same outputs without the removed one. In
float64 the logits must agree to 1e-9 of the largest. If they do not, every group is tested
separately. A group fails, for example, if another operation adds up its channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from workbench.compression.groups.proof import with_random_values
from workbench.compression.groups.rebuild import is_parameter, rebuild, share
from workbench.compression.groups.structure import Cut, FilterGroup, Indices, Structure

_TOLERANCE = 1e-9
Kept = Mapping[str, Sequence[int]]


def inexact_groups(
    model: nn.Module, structure: Structure, kept: Kept, shape: tuple[int, int, int]
) -> dict[str, str]:
    """The groups whose readers cannot take over removed filters exactly, and the reason.

    Args:
        model: the full network; it is not changed.
        structure: its filter groups.
        kept: the kept filters of the groups to test, by the group's name.
        shape: channels, height, width of an image.
    """
    narrowed = [g for g in structure.groups if len(kept.get(g.name, ())) not in (0, g.filters)]
    if not narrowed:
        return {}
    noisy = with_random_values(model)
    image = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    if _problem(noisy, structure, kept, narrowed, image) is None:
        return {}
    found = {g.name: _problem(noisy, structure, kept, [g], image) for g in narrowed}
    reasons = {name: reason for name, reason in found.items() if reason}
    sound = [group for group in narrowed if group.name not in reasons]
    problem = _problem(noisy, structure, kept, sound, image) if sound else None
    return reasons | {group.name: problem for group in sound if problem}


def _problem(
    noisy: nn.Module,
    structure: Structure,
    kept: Kept,
    groups: Sequence[FilterGroup],
    image: Tensor,
) -> str | None:
    """The reason why removing twins in these groups is not exact, or None."""
    full = share(noisy)
    twins = {group.name: _twins(group, kept[group.name]) for group in groups}
    for group in groups:
        _copy_twins(full, group, twins[group.name])
    merged = share(full)
    for group in groups:
        for cut in group.cuts:
            if cut.side == "inputs":
                _merge(merged.get_submodule(cut.layer), cut, twins[group.name])
    try:
        narrow = {group.name: kept[group.name] for group in groups}
        with torch.no_grad():
            ours = rebuild(merged, narrow, structure).eval()(image)
            wanted = full(image)
    except Exception as error:  # noqa: BLE001 - the user's network may raise anything
        return f"the proof failed ({type(error).__name__})"
    difference = float((ours - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))
    if difference <= _TOLERANCE:
        return None
    return f"a removed twin of a kept filter changes the outputs (by {difference:.1e})"


def _twins(group: FilterGroup, kept: Sequence[int]) -> dict[int, int]:
    """A kept filter of the same block for each removed one."""
    rng = np.random.default_rng(list(group.name.encode()))
    twins = {}
    for block in group.block_indices():
        stay = np.intersect1d(block, kept)
        for filter_ in np.setdiff1d(block, kept):
            twins[int(filter_)] = int(rng.choice(stay))
    return twins


def _pairs(cut: Cut, twins: Mapping[int, int]) -> tuple[Indices, Indices]:
    """Indices on the cut's side of the removed filters and of their twins, in the same order."""
    removed, stay = [], []
    for filter_, twin in twins.items():
        mine, others = (np.sort(cut.pairs[cut.pairs[:, 0] == f, 1]) for f in (filter_, twin))
        removed.append(mine)
        stay.append(others)
    return np.concatenate(removed), np.concatenate(stay)


def _copy_twins(model: nn.Module, group: FilterGroup, twins: Mapping[int, int]) -> None:
    """Give the removed filters the values of their twins, in place; tensors are replaced."""
    for cut in group.cuts:
        if cut.side == "inputs" or is_parameter(model, cut.layer):
            continue  # a parameter reaches a layer norm, which is not exact for twins anyway
        part = model.get_submodule(cut.layer)
        removed, stay = (torch.from_numpy(each) for each in _pairs(cut, twins))
        for name in ("weight", "bias", "running_mean", "running_var"):
            values = getattr(part, name, None)
            if not isinstance(values, Tensor) or len(values) == 1:  # one slope for all channels
                continue
            changed = values.detach().clone()
            changed[removed] = values.detach()[stay]
            is_weight = isinstance(values, nn.Parameter)
            setattr(part, name, nn.Parameter(changed) if is_weight else changed)


def _merge(layer: nn.Module, cut: Cut, twins: Mapping[int, int]) -> None:
    """Add a reader's weights of the removed filters to those of their twins."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    changed, groups = weight.detach().clone(), int(getattr(layer, "groups", 1))
    wide, deep = len(weight) // groups, weight.shape[1]
    for removed, stay in zip(*(each.tolist() for each in _pairs(cut, twins)), strict=True):
        rows = slice(removed // deep * wide, (removed // deep + 1) * wide)
        changed[rows, stay % deep] += changed[rows, removed % deep]
    layer.weight = nn.Parameter(changed)
