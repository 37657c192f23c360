"""Gradients by gates that multiply a group's filters wherever a layer reads them.

Removing a filter cuts the matching inputs of all layers that read it. A gate of 1 multiplies these
inputs, so a gate of 0 has the effect of the removal, whatever lies between the filter and its
readers: batch norm, activation, pooling, additions, a flatten. The gradient by a gate is the sum,
over readers and positions, of an input times its gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from workbench.compression.groups.structure import FilterGroup
from workbench.models.processor import exact_fp32

#: Images of a batch; their activations are held for the backward pass.
BATCH_SIZE = 64


@dataclass
class Gates:
    """The gates of one network.

    Attributes:
        model: the network, in evaluation mode.
        groups: the filter groups.
        inputs: by reading layer, its input in the last forward pass.
    """

    model: nn.Module
    groups: Sequence[FilterGroup]
    inputs: dict[str, Tensor] = field(default_factory=dict)

    def logits(self, images: Tensor) -> Tensor:
        """Run the network on normalised images: shape (b, classes)."""
        self.inputs.clear()
        with torch.enable_grad(), exact_fp32(images.device.type):
            # The weights need no gradients, so the images make autograd record the pass.
            output: Tensor = self.model(images.detach().requires_grad_())
        return output

    def gradients(self, of: Tensor, *, again: bool = False) -> dict[str, Tensor]:
        """Gradients of a sum over images by each image's gates.

        Args:
            of: a scalar: the sum of one value per image.
            again: whether another gradient of the same pass follows.

        Returns:
            By filter group, float64 of shape (b, n).
        """
        with exact_fp32(of.device.type):
            found = torch.autograd.grad(
                of, list(self.inputs.values()), retain_graph=again, allow_unused=True
            )
        each = dict(zip(self.inputs, found, strict=True))
        images = len(next(iter(self.inputs.values())))
        totals = {}
        for group in self.groups:
            total = torch.zeros(images, group.filters, dtype=torch.float64, device=of.device)
            for cut in group.cuts:
                gradient = each.get(cut.layer) if cut.side == "inputs" else None
                if gradient is not None:
                    products = self._products(cut.layer, gradient)
                    filters, places = torch.from_numpy(cut.pairs).to(of.device).T
                    total.index_add_(1, filters, products[:, places])
            totals[group.name] = total
        return totals

    def _products(self, layer: str, gradient: Tensor) -> Tensor:
        """Input times gradient, summed over positions (or tokens): shape (b, inputs), float64."""
        products = self.inputs[layer].detach() * gradient
        linear = isinstance(self.model.get_submodule(layer), nn.Linear)
        channel = products.ndim - 1 if linear else 1
        places = tuple(dim for dim in range(1, products.ndim) if dim != channel)
        return products.sum(dim=places, dtype=torch.float64) if places else products.double()


@contextmanager
def open_gates(model: nn.Module, groups: Sequence[FilterGroup]) -> Iterator[Gates]:
    """Gates at all layers that read filters of the groups, inside the block.

    Args:
        model: the network, placed on the device of the images; it is set to evaluation mode. Its
            parameters need no gradients inside the block.
        groups: filter groups of this network.
    """
    gates = Gates(model.eval(), groups)
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    readers = {cut.layer for group in groups for cut in group.cuts if cut.side == "inputs"}

    def hook_of(layer: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            # A copy: another layer may read the same tensor, or change it in place.
            own = (args[0] if args else kwargs["input"]).clone()
            gates.inputs[layer] = own
            return ((own, *args[1:]), kwargs) if args else (args, {**kwargs, "input": own})

        return hook

    handles = [
        model.get_submodule(layer).register_forward_pre_hook(hook_of(layer), with_kwargs=True)
        for layer in sorted(readers)
    ]
    try:
        for weight in trainable:
            weight.requires_grad_(False)
        yield gates
    finally:
        for weight in trainable:
            weight.requires_grad_(True)
        for handle in handles:
            handle.remove()
