"""Let the kept filters replace the effect of removed ones, without training (method card).

Idea: the layer that reads a group of filters loses the removed ones. PFA removes filters that the
kept ones predict, so the reader's weights of the kept filters can take over what they predict.
Formula: with z the inputs of a reader (after norm, activation and pooling) on the target's
training images, z_R is predicted as A z_K by ridge regression (``pfa.reconstruction``) and the
reader becomes W_K + W_R A, at each position of a kernel. z is measured in the full network, at all
positions of all images; the ridge is chosen on held-out images. After a flatten, one A serves all
positions of a filter. After a concatenation, all kept inputs predict all removed ones; in a
grouped convolution, those of the same group. Then the statistics of all batch norms are estimated
again (``matched_norms``).
Cost: three forward passes over the images, and O(n^3) for a reader of n inputs; about 20 s for
VGG-16 and 1,000 images on one CPU core.
Exact: when a removed filter is a twin of a kept one in all layers of its group.
``compensation_proof`` checks this on random weights of the same network; groups that fail are
skipped and reported.
When it does not help: z changes when the layers before it are compressed, too, so errors add up
with depth. Scattered branches (ResNet-56's padded shortcuts) have no reader that can be corrected.

Paper: Srinivas and Babu, "Data-free parameter pruning for Deep Neural Networks" (BMVC 2015); Kim
et al., "Neuron Merging" (NeurIPS 2020). Both predict from the weights; here the data decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.compression.compensation.compensation_proof import inexact_groups
from workbench.compression.compensation.compensation_report import (
    CompensationReport,
    CorrectedReader,
)
from workbench.compression.compensation.matched_norms import match_norms
from workbench.compression.compensation.reading_layers import (
    Block,
    Reader,
    find_readers,
    measure_grams,
    uncorrectable_groups,
    weight_columns,
    weight_rows,
)
from workbench.compression.groups.rebuild import rebuild, share
from workbench.compression.groups.structure import Structure
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet
from workbench.errors import NetworkError
from workbench.pfa import choose_ridge, predict_removed, squared_error

Array = NDArray[np.float64]
_UNSEEN = "it did not run on the images"
_UNPREDICTED = "the kept inputs do not predict the removed ones"


@dataclass(frozen=True)
class Compensated:
    """A compressed and compensated network, on the CPU, and what was done."""

    network: nn.Module
    report: CompensationReport


def compensate(
    model: nn.Module,
    kept: Mapping[str, Sequence[int]],
    structure: Structure,
    images: ImageSet,
    source: Source,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda seen: None,
    grams: dict[str, tuple[Array, Array]] | None = None,
) -> Compensated:
    """Compress a network, correct the readers and estimate its batch norms again.

    Args:
        model: the full network; its values are not changed.
        kept: the *kept* filters by filter group, as for ``rebuild.rebuild``.
        structure: its filter groups.
        images: the target's training images, at least two.
        source: the data set of these images.
        device: device of the computation.
        on_batch: called with the number of images measured so far.
        grams: what ``measure_grams`` found for other recipes of this network on these images;
            what is missing is measured and added.

    Returns:
        If every filter is kept, the network is that of ``rebuild``, bit by bit.

    Raises:
        NetworkError: when inputs hold NaN or infinity, or the recipe does not fit.
    """
    plain = rebuild(model, kept, structure)  # checks the recipe
    narrowed = {
        group.name: kept[group.name]
        for group in structure.groups
        if group.name in kept and len(kept[group.name]) < group.filters
    }
    if not narrowed:
        return Compensated(plain, CompensationReport())
    model.cpu()
    unsound = uncorrectable_groups(model, structure)
    provable = {name: indices for name, indices in narrowed.items() if name not in unsound}
    unsound |= inexact_groups(model, structure, provable, source.shape)
    readers, skipped = find_readers(model, structure, narrowed, unsound)
    skipped |= _readers_of(structure, {n: why for n, why in unsound.items() if n in narrowed})
    grams = {} if grams is None else grams
    unknown = [reader for reader in readers if reader.layer not in grams]
    if unknown:
        grams |= measure_grams(model, unknown, images, source, device, on_batch)
    model.cpu()
    corrected, done = share(model), []
    for reader in readers:
        found = _correct(corrected, reader, grams.get(reader.layer))
        if isinstance(found, str):
            skipped[reader.layer] = found
        else:
            done.append(found)
    network = rebuild(corrected, kept, structure)
    norms = match_norms(network, model, narrowed, structure, images, source, device)
    model.cpu()
    for each in done:  # a reader of two groups may be corrected for one of them
        skipped.pop(each.layer, None)
    return Compensated(network.cpu(), CompensationReport(tuple(done), skipped, norms))


def _readers_of(structure: Structure, groups: Mapping[str, str]) -> dict[str, str]:
    return {
        cut.layer: reason
        for name, reason in groups.items()
        for cut in structure.group(name).cuts
        if cut.side == "inputs"
    }


def _correct(
    model: nn.Module, reader: Reader, grams: tuple[Array, Array] | None
) -> CorrectedReader | str:
    """Correct a reader's weights in place, or return the reason to skip it."""
    if grams is None:
        return _UNSEEN
    layer, whole = model.get_submodule(reader.layer), grams[0] + grams[1]
    weight = layer.weight
    assert isinstance(weight, Tensor)
    changed = weight.detach().cpu().double().numpy().copy()
    total = before = after = 0.0
    for block in reader.blocks:
        try:
            prediction = _prediction(layer, reader, block, grams)
        except ValueError as error:
            raise NetworkError(f"layer '{reader.layer}': {error}; check the weights") from None
        everything = np.arange(len(reader.units))
        if len(reader.blocks) > 1:
            everything = np.concatenate([block.kept, block.removed])
        rows = weight_rows(layer, reader, block, everything)
        none, nowhere = np.array([], np.int64), np.zeros((len(everything), 0))
        total += squared_error(whole, none, everything, nowhere, rows)
        lost = weight_rows(layer, reader, block, block.removed)
        sets = (whole, block.kept, block.removed)
        before += squared_error(*sets, np.zeros_like(prediction), lost)
        after += squared_error(*sets, prediction, lost)
        _take_over(changed[block.rows], layer, reader, block, prediction)
    if after >= before > 0:
        return _UNPREDICTED
    layer.weight = nn.Parameter(torch.from_numpy(changed).to(weight), weight.requires_grad)
    scale = max(total, np.finfo(float).tiny)
    errors = [float(np.sqrt(error / scale)) for error in (before, after)]
    return CorrectedReader(reader.layer, reader.removed, *errors)


def _prediction(
    layer: nn.Module, reader: Reader, block: Block, grams: tuple[Array, Array]
) -> Array:
    """The matrix A of a block; zeros if no ridge is better than no compensation."""
    nothing = np.zeros((len(block.removed), len(block.kept)))
    if not nothing.size:
        return nothing
    lost = weight_rows(layer, reader, block, block.removed)
    ridge = choose_ridge(grams, block.kept, block.removed, lost)
    if ridge is None:
        return nothing
    return predict_removed(grams[0] + grams[1], block.kept, block.removed, [ridge])[0]


def _take_over(
    rows: Array, layer: nn.Module, reader: Reader, block: Block, prediction: Array
) -> None:
    """Add W_R A to the columns of the kept units, in place, at every position."""
    kept = weight_columns(layer, reader, block.kept)
    removed = weight_columns(layer, reader, block.removed)
    for place in range(reader.units.shape[1]):
        taken = np.tensordot(rows[:, removed[:, place]], prediction, axes=(1, 0))
        rows[:, kept[:, place]] += np.moveaxis(taken, -1, 1)
