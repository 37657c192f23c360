"""What is known of each filter group before anything is decided: the methods' only input.

PFA reads the responses; its rivals read the filters' weights, the scales of batch norms, or how
often a filter is silent. All of it is collected once, as arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench import pfa
from workbench.compression.structure import FilterGroup, Structure
from workbench.models.networks import has_scales

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of one filter group.

    Attributes:
        spectrum: shape (n,), descending shares of the energy.
        correlation: shape (n, n), Pearson's.
        active: how many filters respond at all.
        images: how many images the responses were measured on.
        weights: shape (n, d): the weights of each filter, those of all layers of the group side
            by side.
        scales: shape (n,): size of the batch norms' scales, their mean where several follow;
            None where none does.
        zeros: shape (n,), in [0, 1]: how often the filter is silent; None where not measured.
    """

    group: FilterGroup
    spectrum: Array
    correlation: Array
    active: int
    images: int
    weights: NDArray[np.floating]
    scales: Array | None = None
    zeros: Array | None = None


def collect(
    network: nn.Module,
    responses: Mapping[str, pfa.StreamingCovariance],
    structure: Structure,
    zeros: Mapping[str, Array] | None = None,
) -> tuple[Evidence, ...]:
    """The evidence on every filter group, in the network's order.

    Args:
        network: the network that was measured.
        responses: by filter group, from ``responses.measure_responses``.
        zeros: by filter group, from ``responses.measure_zeros``.
    """
    found = []
    for group in structure.groups:
        moments = responses[group.name]
        covariance = moments.covariance
        found.append(
            Evidence(
                group=group,
                spectrum=pfa.spectrum(covariance),
                correlation=pfa.correlation(covariance),
                active=int(np.count_nonzero(~pfa.inactive_filters(covariance))),
                images=moments.count,
                weights=filter_weights(network, group),
                scales=norm_scales(network, group),
                zeros=zeros[group.name] if zeros else None,
            )
        )
    return tuple(found)


def filter_weights(network: nn.Module, group: FilterGroup) -> NDArray[np.floating]:
    """Shape (n, d): the weights of each filter, those of all layers of the group side by side."""
    parts = []
    for cut in group.cuts:
        layer = network.get_submodule(cut.layer)
        if cut.layer in group.layers and cut.side == "filters":
            own: Tensor = layer.weight  # type: ignore[assignment]
            weight = own.detach().cpu().numpy()
            parts.append(weight.reshape(len(weight), -1)[_places(cut.pairs, group.filters)])
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.empty((group.filters, 0)), *parts], axis=1)


def norm_scales(network: nn.Module, group: FilterGroup) -> Array | None:
    """Shape (n,): mean size of the scales of the batch norms that go with the filters."""
    sizes = []
    for cut in group.cuts:
        layer = network.get_submodule(cut.layer)
        if has_scales(layer):
            scale = layer.weight.detach().cpu().double().abs().numpy()
            sizes.append(scale[_places(cut.pairs, group.filters)])
    return np.mean(sizes, axis=0) if sizes else None


def _places(pairs: Indices, filters: int) -> Indices:
    """For each filter of the group, its (first) index in the layer."""
    places = np.zeros(filters, dtype=np.int64)
    places[pairs[::-1, 0]] = pairs[::-1, 1]
    return places
