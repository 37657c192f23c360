"""Stage ``mixed``: 8, 6 or 4 bits a weight, layer by layer (the question of HAQ, Wang et al. 2019).

Idea: layers differ in how much their rounding changes the outputs. Sensitive layers get more bits
and others fewer, so that the file fits a budget. HAQ searches with reinforcement learning; here,
the choice is a knapsack problem, solved exactly or nearly so (``knapsack``).

Formula: the sensitivity of layer l at b bits is the mean over images and outputs of
(z_lb - z)², where z are the logits and z_lb those of the network with only layer l rounded to its
symmetric grid (``grids.symmetric_grid``, one scale for each output channel). Minimise the sum of
the chosen sensitivities; the bytes of the file are at most ``mixed_size`` of the float32 weights.

Cost: one pass over the calibration images for each layer and number of bits, without gradients.
A VGG-16 has 15 such layers, and 64 CIFAR images take 28 seconds on one core.

When it does not help: it saves bytes only. No runtime here computes convolutions below 8 bits;
the file is read back as float32 weights, so the network gets neither faster nor smaller in memory.
The sum of sensitivities ignores that the errors of two layers may add up or cancel. With a budget
above 8 bits for every layer there is nothing to choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.data.augmentation import normalise
from workbench.data.image_batches import ImageSet, batches, spread, subset
from workbench.deployment.quantisation.grids import quantise, symmetric_grid
from workbench.deployment.quantisation.knapsack import choose
from workbench.deployment.quantisation.packed_tensors import GridWeights
from workbench.deployment.quantisation.packed_weights import (
    coded_layers,
    packed_size,
    state_bytes,
    weight_array,
    write_packed,
)
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import StageReport, TrainedNetwork
from workbench.errors import NetworkError, SettingsError
from workbench.models.weight_files import Card

BITS = (8, 6, 4)
_BATCH = 256  # images


@dataclass(frozen=True)
class Sizes:
    """Sizes of a packed file in bytes.

    Attributes:
        codes: for each layer, the bytes of its codes with each of ``BITS``.
        others: everything else in the file.
        budget: the largest size of the file.
        float32: the state dict of the network.
    """

    codes: list[list[int]]
    others: int
    budget: int
    float32: int


def check_size(network: nn.Module, card: Card, mixed_size: float) -> Sizes:
    """The sizes of a network's packed file; only the shapes of its weights matter.

    Raises:
        SettingsError: when the file does not fit the budget with the fewest bits in every layer.
    """
    full = state_bytes(network)
    weights = {name: weight_array(layer) for name, layer in coded_layers(network).items()}
    sizes = [[-(-values.size * bits // 8) for bits in BITS] for values in weights.values()]
    # Headers with longer numbers are not shorter, so no choice has more bytes besides its codes.
    widest = {f"{name}.weight": grid_weights(values, BITS[0]) for name, values in weights.items()}
    others = packed_size(card, network, widest) - sum(row[0] for row in sizes)
    budget = int(mixed_size * full + 1e-6)  # 0.29 * 100 is a little less than 29
    least = others + sum(row[-1] for row in sizes)
    if least > budget:
        share = -(-least * 1000 // full) / 1000  # rounded up
        raise SettingsError(
            f"--mixed-size {mixed_size:g}: the smallest file, with {BITS[-1]} bits in every layer, "
            f"is {least / full:.3f} of the float32 weights; use {_possible(share)}"
        )
    return Sizes(sizes, others, budget, full)


def make_mixed(trained: TrainedNetwork, settings: DeploymentSettings, path: Path) -> StageReport:
    """Write a packed file with a number of bits for each layer.

    Args:
        settings: ``mixed_size`` and ``calibration_images`` apply.

    Returns:
        In its details: the file's ``bytes``, its ``budget`` in bytes, the ``float32_bytes`` of the
        state dict, the ``bits`` of each layer, and the ``sensitivities`` of each layer in the
        order of ``BITS`` (squared logits).

    Raises:
        SettingsError: when the file does not fit the budget with the fewest bits in every layer.
        NetworkError: when the network's outputs are not finite.
        OSError: when the file cannot be written.
    """
    network = trained.network
    sizes = check_size(network, trained.card, settings.mixed_size)
    weights = {name: weight_array(layer) for name, layer in coded_layers(network).items()}
    places = spread(len(trained.train), settings.calibration_images)
    images = subset(trained.train, places)
    sensitivities = measure_sensitivities(network, weights, images, trained.card)
    choice = choose(sizes.codes, list(sensitivities.values()), sizes.budget - sizes.others)
    assert choice is not None
    bits = {name: BITS[option] for name, option in zip(weights, choice, strict=True)}
    packed = {f"{name}.weight": grid_weights(weights[name], bits[name]) for name in weights}
    write_packed(path, trained.card, network, packed)
    return StageReport(
        details={
            "bytes": path.stat().st_size,
            "budget": sizes.budget,
            "float32_bytes": sizes.float32,
            "bits": bits,
            "sensitivities": {name: list(row) for name, row in sensitivities.items()},
        }
    )


def _possible(share: float) -> str:
    """The remedy for a budget that is too small."""
    if share <= 1:
        return f"--mixed-size {share:g}"
    return "no 'mixed' stage: this network is too small to get smaller"


def grid_weights(weights: NDArray[np.float32], bits: int) -> GridWeights:
    """Round a weight tensor to its symmetric grid.

    Args:
        weights: shape (n, ...), one row for each output channel, finite.
        bits: of a code, in [2, 8].
    """
    grid = symmetric_grid(weights, bits)
    codes = quantise(weights, grid).astype(np.int8)
    return GridWeights(weights.shape, bits, grid.scale.reshape(-1), codes.reshape(-1))


@torch.inference_mode()
def measure_sensitivities(
    network: nn.Module, weights: Mapping[str, NDArray[np.float32]], images: ImageSet, card: Card
) -> dict[str, tuple[float, ...]]:
    """Mean squared change of the logits when one layer is rounded.

    Args:
        network: in evaluation mode; it is not changed.
        weights: of each layer, by its name.
        images: at least one.
        card: has the images' normalisation.

    Returns:
        One number for each of ``BITS``, by layer.

    Raises:
        NetworkError: when the logits are not finite.
    """
    sums = {name: np.zeros(len(BITS)) for name in weights}
    values = 0
    for pixels, _ in batches(images, _BATCH, torch.device("cpu")):
        inputs = normalise(pixels, card)
        wanted = network(inputs).double()
        values += wanted.numel()
        for name, layer in weights.items():
            for place, bits in enumerate(BITS):
                rounded = torch.from_numpy(grid_weights(layer, bits).weights())
                found = _with_weight(network, name, rounded, inputs)
                sums[name][place] += float((found.double() - wanted).square().sum())
    if not all(np.isfinite(row).all() for row in sums.values()):
        raise NetworkError(f"model {card.model}: its outputs are not finite; train it again")
    return {name: tuple((row / values).tolist()) for name, row in sums.items()}


def _with_weight(network: nn.Module, name: str, weight: Tensor, inputs: Tensor) -> Tensor:
    """Logits of the network with another weight in one layer."""
    logits: Tensor = torch.func.functional_call(network, {f"{name}.weight": weight}, (inputs,))
    return logits
