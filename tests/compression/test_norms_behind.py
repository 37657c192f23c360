"""Which batch norm reads an output directly."""

import torch
from torch import nn

from workbench.compression.groups.norms_behind import norms_behind


class Branches(nn.Module):
    """One layer with a batch norm behind it, one behind an activation, and one with none."""

    def __init__(self):
        super().__init__()
        self.near, self.apart, self.last = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.norm, self.late = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.norm(self.near(x)).relu()
        x = self.late(self.apart(x).relu())
        return self.last(x)


def pass_of(model):
    outputs = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: outputs.update({name: output})
        )
        for name in ("near", "apart", "last")
    ]
    with torch.no_grad(), norms_behind(model, outputs) as found:
        model(torch.ones(2, 3, 4, 4))
    for handle in handles:
        handle.remove()
    return found


def test_only_a_batch_norm_that_reads_the_output_itself_is_behind_it():
    assert pass_of(Branches().eval()) == {"near": "norm"}


def test_nothing_stays_on_the_network():
    model = Branches().eval()
    pass_of(model)
    assert not any(part._forward_pre_hooks for part in model.modules())
