"""Surgery is exact on every architecture that docs/networks.md names, group by group.

The image sizes are the smallest that the architecture takes. What the fast run leaves out
(every group of the largest networks by itself) is marked ``slow``.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.tracing import find_structure
from workbench.models.networks import build_network

CLASSES = 5
#: Image size, filter groups, layers that keep all their filters.
ARCHITECTURES = {
    "vgg16": (32, 14, 0),
    "resnet56": (16, 54, 1),
    "resnet34": (16, 20, 0),
    "simplecnn": (8, 8, 0),
    "torchvision:vgg11_bn": (32, 10, 0),
    "torchvision:vgg16_bn": (32, 15, 0),
    "torchvision:resnet18": (32, 12, 0),
    "torchvision:resnet34": (32, 20, 0),
    "torchvision:resnet50": (32, 37, 0),
    "torchvision:wide_resnet50_2": (32, 37, 0),
    "torchvision:resnext50_32x4d": (32, 37, 0),
    "torchvision:mobilenet_v2": (32, 25, 0),
    "torchvision:mobilenet_v3_large": (32, 30, 0),
    "torchvision:efficientnet_b0": (32, 40, 0),
    "torchvision:densenet121": (32, 120, 0),
    "torchvision:regnet_y_400mf": (32, 53, 0),
    "torchvision:googlenet": (32, 57, 0),
    "torchvision:squeezenet1_1": (32, 25, 0),
    "torchvision:shufflenet_v2_x1_0": (32, 18, 21),
    "torchvision:convnext_tiny": (32, 22, 0),
    "torchvision:vit_b_16": (32, 12, 25),
    "timm:mobilenetv3_small_050": (32, 26, 0),
    "timm:deit_tiny_patch16_224": (32, 25, 0),
    "timm:convnextv2_atto": (32, 16, 0),
    "timm:ghostnet_050": (32, 31, 0),
    "timm:mobileone_s0": (32, 4, 0),
    "timm:repvgg_a0": (32, 5, 0),
    "timm:dla46_c": (32, 36, 0),
    "timm:dla34": (32, 25, 0),
    "timm:hrnet_w18_small": (64, 45, 0),
    "timm:xception41": (64, 33, 0),
    "timm:legacy_xception": (75, 28, 0),
}
#: Many parameters or many groups: their groups are proven one by one in the slow run only.
LARGE = (
    "densenet121", "efficientnet_b0", "convnext_tiny", "resnext50_32x4d", "resnet50", "googlenet",
    "mobilenet_v2",
)  # fmt: skip
#: Larger ones of a kind that another stands for.
ALIKE = (
    "torchvision:vgg11_bn", "torchvision:vgg16_bn", "torchvision:wide_resnet50_2",
    "torchvision:vit_b_16", "torchvision:resnet34", "timm:dla34", "timm:legacy_xception",
    "timm:xception41", "timm:hrnet_w18_small", "timm:mobileone_s0", "timm:repvgg_a0",
)  # fmt: skip
#: Built from 224x224 pixels on, 138 million parameters.
SLOW_ONLY = {"vgg16-convolutional": (224, 15, 0), "torchvision:inception_v3": (75, 94, 0)}


def shape_of(name):
    size = {**ARCHITECTURES, **SLOW_ONLY}[name][0]
    return (1 if name == "simplecnn" else 3, size, size)


def make(name):
    """A network whose norms have seen something, its structure and images, in float64."""
    if name.startswith("timm:"):
        pytest.importorskip("timm")  # an extra, which a distributor may leave out
    model = build_network(name, shape_of(name), CLASSES, seed=1).double().eval()
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm) or type(module).__name__ == "GlobalResponseNorm":
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(generator=generator)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(generator=generator)
            module.running_mean.normal_(generator=generator).mul_(0.1)
            module.running_var.uniform_(0.5, 2, generator=generator)
    images = torch.randn(2, *shape_of(name), dtype=torch.float64, generator=generator)
    return model, find_structure(model, shape_of(name)), images


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ())
        for name in ARCHITECTURES
    ],
)
def network(request):
    """Each architecture once: its name, model, structure and images."""
    return request.param, *make(request.param)


def half(group, seed=0):
    """Half of a group's filters, as many of every block."""
    rng = np.random.default_rng(seed)
    blocks = group.block_indices()
    count = max(1, blocks.shape[1] // 2)
    return [int(i) for block in blocks for i in sorted(rng.choice(block, count, replace=False))]


def silence(model, group, kept):
    """Zero the group's own filters and the norms behind them; its readers stay as they are."""
    gone = np.setdiff1d(np.arange(group.filters), kept)
    undo, bare = [], dict(model.named_parameters())
    for cut in group.cuts:
        if cut.layer in bare:
            values = bare[cut.layer]
            undo.append((values, values.detach().clone()))
            values.data.index_fill_(cut.dim, torch.from_numpy(cut.indices(gone)), 0)
            continue
        layer = model.get_submodule(cut.layer)
        if cut.side == "filters" and not isinstance(layer, nn.PReLU) and hasattr(layer, "weight"):
            for values in (layer.weight, layer.bias):
                if values is not None:
                    undo.append((values, values.detach().clone()))
                    values.data[cut.indices(gone)] = 0
    return undo


def check_groups(model, structure, images):
    """Each group by itself: silenced and removed, the logits are the same."""
    for group in structure.groups:
        kept = half(group)
        undo = silence(model, group, kept)
        with torch.no_grad():
            logits = model(images)
            smaller = rebuild(model, {group.name: kept}, structure).eval()(images)
        for values, before in undo:
            values.data.copy_(before)
        assert (smaller - logits).abs().max() <= 1e-5 * logits.abs().max(), group.name


def test_what_can_be_compressed(network):
    name, model, structure, _ = network
    _, groups, uncompressed = ARCHITECTURES[name]
    assert (len(structure.groups), len(structure.uncompressed)) == (groups, uncompressed)
    members = [layer for group in structure.groups for layer in group.layers]
    assert len(members) == len(set(members))
    everyone = {*members, *structure.classifier.layers, *structure.uncompressed}
    attentions = {n for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)}
    assert everyone - attentions == set(structure.layers)


def test_nothing_removed_is_bit_identical(network):
    _, model, structure, images = network
    everything = {group.name: range(group.filters) for group in structure.groups}
    with torch.no_grad():
        for kept in ({}, everything):
            assert torch.equal(rebuild(model, kept, structure).eval()(images), model(images))


def test_every_group_can_be_removed_by_itself(network):
    name, model, structure, images = network
    if name.endswith(LARGE):
        pytest.skip("one by one in the slow run; all together when the structure is found")
    check_groups(model, structure, images)


def test_the_narrow_network_trains_and_is_loaded_again(network, tmp_path):
    _, model, structure, images = network
    widths = [group.buildable(max(1, group.filters // 3)) for group in structure.groups]
    smaller = rebuild(model, structure.first(widths), structure)
    smaller.train()(images).sum().backward()
    assert all(weight.grad is not None for weight in smaller.parameters())
    save_file(smaller.state_dict(), tmp_path / "weights.safetensors")
    again = rebuild(model, structure.first(widths), structure)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(again.eval()(images), smaller.eval()(images))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(n for n in ARCHITECTURES if n.endswith(LARGE)), *SLOW_ONLY])
def test_every_group_of_a_large_network_can_be_removed_by_itself(name):
    model, structure, images = make(name)
    _, groups, uncompressed = {**ARCHITECTURES, **SLOW_ONLY}[name]
    assert (len(structure.groups), len(structure.uncompressed)) == (groups, uncompressed)
    with torch.no_grad():
        assert torch.equal(rebuild(model, {}, structure).eval()(images), model(images))
    check_groups(model, structure, images)


def test_the_table_of_networks_lists_what_is_tested():
    text = (Path(__file__).parents[2] / "docs/networks.md").read_text()
    rows = re.findall(r"^\| `([\w:.-]+)` \| (\d+) \| (\d+) ", text, re.MULTILINE)
    listed = {name: (int(groups), int(kept)) for name, groups, kept in rows}
    tested = {name: (g, u) for name, (_, g, u) in {**ARCHITECTURES, **SLOW_ONLY}.items()}
    assert listed == tested
