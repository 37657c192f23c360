"""Evidence on each filter group, the only input of the compression methods.

PFA uses the responses. The other methods use the filters' weights, the scales of batch norms, or
further measurements (``measurements``). All of it is collected once, as arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench import pfa
from workbench.compression.groups.rebuild import is_parameter
from workbench.compression.groups.structure import FilterGroup, Structure
from workbench.models.networks import has_scales

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class FilterPrice:
    """What the network saves with one filter of a group less.

    Attributes:
        parameters: number of parameters, over all layers that shrink.
        flops: FLOPs of one image, over all layers that shrink.
    """

    parameters: float
    flops: float

    def of(self, cost: str) -> float:
        """The price in a unit of ``method_names.COSTS``."""
        return self.flops if cost == "flops" else self.parameters


@dataclass(frozen=True, eq=False)
class Evidence:
    """The evidence on one filter group of n filters.

    Attributes:
        group: the filter group.
        spectrum: shape (n,), descending shares of the energy.
        correlation: shape (n, n), Pearson's correlation of the responses.
        variance: shape (n,), variance of each filter's responses.
        active: number of filters that respond to any image.
        images: number of images on which the responses were measured.
        weights: shape (n, d): the weights of each filter, concatenated over all layers of the
            group.
        scales: shape (n,): absolute scales of the batch norm after the filters, averaged over
            several batch norms; None without one.
        measured: further arrays, by their name in ``method_names.READS``; only those that the
            recipe or the selection reads. They have shape (n,), or (n, n) for pairs of filters;
            the module of each measurement describes its values. "vib" and "gal" are the scores of
            trained gates, above 0 for open ones.
        price: price of one filter, from ``filter_prices``; None if not computed.
        full_filters: filters of the group in the full network, which is wider than ``group`` in
            the later steps of iterative PFA; None if it is ``group`` itself.
    """

    group: FilterGroup
    spectrum: Array
    correlation: Array
    variance: Array
    active: int
    images: int
    weights: NDArray[np.floating]
    scales: Array | None = None
    measured: Mapping[str, Array] = field(default_factory=dict)
    price: FilterPrice | None = None
    full_filters: int | None = None


def collect(
    network: nn.Module,
    responses: Mapping[str, pfa.StreamingCovariance],
    structure: Structure,
    measured: Mapping[str, Mapping[str, Array]] | None = None,
) -> tuple[Evidence, ...]:
    """Collect the evidence on every filter group, in the network's order.

    Args:
        network: the network on which the responses were measured.
        responses: moments by filter group, from ``responses.measure_responses``.
        structure: the network's filter groups.
        measured: for each measurement, its arrays by filter group.
    """
    collected = []
    for group in structure.groups:
        moments = responses[group.name]
        covariance = moments.covariance
        collected.append(
            Evidence(
                group=group,
                spectrum=pfa.spectrum(covariance),
                correlation=pfa.correlation(covariance),
                variance=np.diagonal(covariance).clip(0.0),
                active=int(np.count_nonzero(~pfa.inactive_filters(covariance))),
                images=moments.count,
                weights=filter_weights(network, group),
                scales=norm_scales(network, group),
                measured={name: arrays[group.name] for name, arrays in (measured or {}).items()},
            )
        )
    return tuple(collected)


def filter_weights(network: nn.Module, group: FilterGroup) -> NDArray[np.floating]:
    """Shape (n, d): the weights of each filter, concatenated over all layers of the group."""
    parts = []
    for cut in group.cuts:
        if cut.layer in group.layers and cut.side == "filters":
            own: Tensor = network.get_submodule(cut.layer).weight  # type: ignore[assignment]
            weight = own.detach().cpu().numpy()
            places = _places(cut.pairs, group.filters)
            parts.append(weight.reshape(len(weight), -1)[places].reshape(group.filters, -1))
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.empty((group.filters, 0)), *parts], axis=1)


def norm_scales(network: nn.Module, group: FilterGroup) -> Array | None:
    """Shape (n,): mean absolute scale of the batch norms after the filters; None without any."""
    sizes = []
    for cut in group.cuts:
        if is_parameter(network, cut.layer):
            continue
        layer = network.get_submodule(cut.layer)
        if has_scales(layer):
            scale = layer.weight.detach().cpu().double().abs().numpy()
            sizes.append(scale[_places(cut.pairs, group.filters)[:, 0]])
    return np.mean(sizes, axis=0) if sizes else None


def _places(pairs: Indices, filters: int) -> Indices:
    """Shape (filters, p): the indices of each filter in the layer, ascending.

    Where filters have different numbers of indices, only the first one of each.
    """
    counts = np.bincount(pairs[:, 0], minlength=filters)
    if len(pairs) and (counts == counts[0]).all():
        ordered: Indices = pairs[np.lexsort((pairs[:, 1], pairs[:, 0])), 1]
        return ordered.reshape(filters, -1)
    places = np.zeros((filters, 1), dtype=np.int64)
    places[pairs[::-1, 0], 0] = pairs[::-1, 1]
    return places
