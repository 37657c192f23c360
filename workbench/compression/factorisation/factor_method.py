"""The parts of a method that factorises layers; the methods are in ``compression.methods``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.compression.factorisation.algebra import Array, SizeChoices, TwoLayers
from workbench.models.factors import Kind
from workbench.pfa import StreamingCovariance

#: Of a layer's outputs on the target; None for methods that read weights alone.
Moments = StreamingCovariance | None


@dataclass(frozen=True)
class FactorMethod:
    """A method that replaces layers by two thinner ones.

    Attributes:
        kind: what the two layers are.
        reads_outputs: whether it needs the moments of the layers' outputs on the target. The second
            layer then always has a bias.
        choices: returns what a layer keeps at each size, from its weights (n, c, *kernel).
        size: the size of a layer at a threshold, where None is the method's own rule. It never
            falls as the threshold rises. It is None if no size is large enough; the layer stays.
        thresholds: all thresholds at which a size changes, ascending.
        weights: the weights of the two layers, from those of the layer, its bias, and the size.
        revision: counts the changes of what ``size`` returns; a part of the key unless 0.
    """

    kind: Kind
    reads_outputs: bool
    choices: Callable[[Array, Moments], SizeChoices]
    size: Callable[[SizeChoices, float | None], int | None]
    thresholds: Callable[[Sequence[SizeChoices]], Array]
    weights: Callable[[Array, Array | None, int, Moments], TwoLayers]
    revision: int = 0


def energy_size(choices: SizeChoices, threshold: float | None) -> int | None:
    """The smallest size that keeps a share ``threshold`` of the energy; None if no size does."""
    assert threshold is not None  # the settings or the budget give it
    return choices.at_energy(threshold)


def energy_thresholds(every: Sequence[SizeChoices]) -> Array:
    """All energies at which the size of a layer changes, ascending, in (0, 1]."""
    energies = np.concatenate([choices.energies for choices in every])
    return np.unique(np.append(energies[energies > 0], 1.0))
