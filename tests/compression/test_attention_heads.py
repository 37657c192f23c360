"""Heads of self-attention are filters: removed exactly, measured, counted and loaded again."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from workbench.compression import narrow_networks
from workbench.compression.compress import compress
from workbench.compression.evidence.evidence import filter_weights
from workbench.compression.evidence.responses import measure_responses
from workbench.compression.groups.attention_heads import is_attention
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.tracing import find_structure
from workbench.compression.narrow_networks import build_narrow, load_network, structure_of
from workbench.compression.recipes.recipes import LayerRecipe, Recipe
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.models.weight_files import Card, read_card, save_tensors

timm = pytest.importorskip("timm")  # an extra, which a distributor may leave out

NAME, SHAPE, CLASSES = "timm:vit_tiny_patch16_224", (3, 32, 32), ("a", "b", "c", "d")
MODULE = """
from timm.models.vision_transformer import VisionTransformer

def tiny(num_classes, in_channels):
    return VisionTransformer(img_size=8, patch_size=2, in_chans=in_channels, embed_dim=24, depth=2,
                             num_heads=4, num_classes=num_classes)
"""


def transformer(**options):
    """A small vision transformer for 8x8 images, with 4 heads of 6 outputs and random biases."""
    torch.manual_seed(0)
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=8, patch_size=2, in_chans=1, embed_dim=24, depth=2, num_heads=4, num_classes=3,
        **options,
    )  # fmt: skip
    for value in model.parameters():
        value.data.add_(torch.randn_like(value), alpha=0.1)
    return model.double().eval()


def attention_of_heads(layer, tokens, heads):
    """One head after the other, as in Vaswani et al. (2017), section 3.2: a sum over the heads."""
    width, size = layer.qkv.in_features, layer.head_dim
    weight = layer.qkv.weight.reshape(3, layer.num_heads, size, width)
    bias = layer.qkv.bias.reshape(3, layer.num_heads, size)
    total = layer.proj.bias.expand(*tokens.shape[:2], -1).clone()
    for head in heads:
        query, key, value = (tokens @ weight[i, head].T + bias[i, head] for i in range(3))
        shares = torch.softmax(query @ key.transpose(1, 2) / size**0.5, dim=-1)
        columns = layer.proj.weight[:, head * size : (head + 1) * size]
        total += shares @ value @ columns.T
    return total


def test_a_head_is_one_term_of_the_sum():
    model, tokens = transformer(), torch.randn(2, 17, 24, dtype=torch.float64)
    structure = find_structure(model, (1, 8, 8))
    assert [(g.name, g.filters, g.kind) for g in structure.groups if g.kind == "heads"] == [
        (f"blocks.{block}.attn.qkv", 4, "heads") for block in (0, 1)
    ]
    for heads in ((0, 1, 2, 3), (1, 3), (2,)):
        smaller = rebuild(model, {"blocks.1.attn.qkv": heads}, structure)
        ours, full = smaller.blocks[1].attn, model.blocks[1].attn
        assert (ours.num_heads, ours.attn_dim, ours.head_dim) == (len(heads), 6 * len(heads), 6)
        assert (ours.qkv.out_features, ours.proj.in_features) == (18 * len(heads), 6 * len(heads))
        wanted = attention_of_heads(full, tokens, heads)
        assert torch.allclose(ours(tokens), wanted, rtol=0, atol=1e-12)


def test_norms_of_queries_and_keys_stay():
    model = transformer(qk_norm=True)
    structure = find_structure(model, (1, 8, 8))
    assert sum(group.kind == "heads" for group in structure.groups) == 2


def test_heads_that_depend_on_each_other_stay():
    model = transformer(scale_attn_norm=True)  # a norm over the outputs of all heads
    structure = find_structure(model, (1, 8, 8))
    assert all(group.kind != "heads" for group in structure.groups)
    assert "blocks.0.attn.qkv" in structure.uncompressed


def test_the_response_of_a_head_is_its_longest_output():
    model = transformer().float()
    structure = find_structure(model, (1, 8, 8))
    pixels = np.random.default_rng(0).integers(0, 17, (5, 1, 8, 8), dtype=np.uint8)
    images = Images(pixels, np.zeros(5, dtype=np.int64))
    (group,) = (g for g in structure.groups if g.name == "blocks.0.attn.qkv")
    assert str(group.response) == "input of blocks.0.attn.proj"
    seen = []
    hook = model.blocks[0].attn.proj.register_forward_pre_hook(
        lambda _m, args: seen.append(args[0])
    )
    found = measure_responses(model, [group], images, SOURCES["digits"], torch.device("cpu"))
    hook.remove()
    (outputs,) = seen
    naive = [
        [max(float(token[h * 6 : (h + 1) * 6].norm()) for token in image) for h in range(4)]
        for image in outputs
    ]
    assert np.allclose(found[group.name].mean, np.mean(naive, axis=0), rtol=1e-5)
    assert np.allclose(found[group.name].covariance, np.cov(np.array(naive).T), rtol=1e-3)


def test_the_response_of_an_embedding_is_that_of_the_last_addition():
    model = transformer().float()
    group = find_structure(model, (1, 8, 8)).groups[0]
    assert (group.name, group.kind, group.filters) == ("patch_embed.proj", "embedding", 24)
    pixels = np.random.default_rng(0).integers(0, 17, (5, 1, 8, 8), dtype=np.uint8)
    images, seen = Images(pixels, np.zeros(5, dtype=np.int64)), []
    hook = model.norm.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    found = measure_responses(model, [group], images, SOURCES["digits"], torch.device("cpu"))
    hook.remove()
    tokens = seen[0].numpy()  # (images, tokens, width)
    assert np.allclose(found[group.name].mean, tokens.max(axis=1).mean(axis=0), rtol=1e-5)


def test_the_weights_of_a_head_are_its_queries_keys_and_values():
    model = transformer()
    group = find_structure(model, (1, 8, 8)).group("blocks.0.attn.qkv")
    weights = filter_weights(model, group)
    wanted = model.blocks[0].attn.qkv.weight.detach().numpy().reshape(3, 4, 6 * 24)
    assert np.array_equal(weights, wanted.transpose(1, 0, 2).reshape(4, -1))


def narrow_file(path, widths):
    network = build_narrow(NAME, SHAPE, len(CLASSES), widths, seed=3).eval()
    card = Card.of(NAME, SOURCES["cifar10"], CLASSES, tuple(widths))
    save_tensors(network.state_dict(), path, card.metadata())
    return network


def test_a_file_of_a_transformer_with_fewer_heads_is_loaded(tmp_path):
    structure = structure_of(NAME, SHAPE, len(CLASSES))
    widths = [
        1 + number % 3 if g.kind == "heads" else 8 for number, g in enumerate(structure.groups)
    ]
    network = narrow_file(tmp_path / "small.safetensors", widths)
    again = load_network(tmp_path / "small.safetensors")
    heads = [part.num_heads for part in again.modules() if is_attention(part)]
    assert heads == [n for n, g in zip(widths, structure.groups, strict=True) if g.kind == "heads"]
    images = torch.randn(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(again(images), network(images))


def test_files_and_recipes_of_versions_that_removed_no_heads_keep_all_heads(tmp_path):
    structure = structure_of(NAME, SHAPE, len(CLASSES))
    hidden = [group for group in structure.groups if group.kind == "filters"]
    widths = [16] * len(hidden)
    narrow_file(tmp_path / "old.safetensors", widths)
    again = load_network(tmp_path / "old.safetensors")
    assert {part.num_heads for part in again.modules() if is_attention(part)} == {3}
    model = narrow_networks.build_network(NAME, SHAPE, len(CLASSES))
    layers = [
        LayerRecipe(g.name, g.filters, tuple(range(16)), 16, g.filters, 0.0, 1.0, ())
        for g in hidden
    ]
    smaller = compress(model, Recipe("uniform", 9, tuple(layers)), SHAPE)
    assert smaller.blocks[0].mlp.fc1.out_features == 16
    assert smaller.blocks[0].attn.num_heads == 3


def test_heads_are_not_rounded_to_multiples():
    group = find_structure(transformer(), (1, 8, 8)).group("blocks.0.attn.qkv")
    assert [group.buildable(count, 8) for count in (1, 3, 4)] == [1, 3, 4]


class TorchAttention(nn.Module):
    """A transformer with torch's own attention."""

    def __init__(self):
        super().__init__()
        self.embed, self.attention = nn.Linear(6, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.hidden, self.head = nn.Linear(8, 4), nn.Linear(4, 2)

    def forward(self, images):
        tokens = self.embed(images.flatten(1)[:, :12].reshape(-1, 2, 6))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(torch.relu(self.hidden(tokens.mean(dim=1))))


def test_heads_of_torchs_own_attention_stay_with_the_reason():
    structure = find_structure(TorchAttention(), (3, 4, 4))
    assert [group.name for group in structure.groups] == ["hidden"]
    assert "as in timm" in structure.uncompressed["attention"]
    assert "MultiheadAttention" in structure.uncompressed["embed"]


class OwnAttention(nn.Module):
    """As in timm, but every head reads its own part of the tokens' width."""

    num_heads, head_dim = 2, 3

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(6, 18), nn.Linear(6, 6)

    def forward(self, tokens):
        heads = self.qkv(tokens).unflatten(-1, (2, 3, 3))  # heads first, not thirds
        return self.proj(heads.sum(dim=-2).flatten(-2))


def test_an_attention_that_only_looks_alike_fails_the_proof():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn, self.hidden, self.head = OwnAttention(), nn.Linear(6, 4), nn.Linear(4, 2)

        def forward(self, images):
            return self.head(
                torch.relu(self.hidden(self.attn(images.flatten(1)[:, None, :6])[:, 0]))
            )

    structure = find_structure(Model(), (3, 4, 4))
    assert [group.name for group in structure.groups if group.kind == "heads"] == []
    assert "attn.qkv" in structure.uncompressed


def test_adapt_removes_heads_through_the_command_line(run_cli, tmp_path, monkeypatch):
    (tmp_path / "own_transformer.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    options = ["--source", "digits", "--target", "digits-0v1", "--model", "own_transformer:tiny",
               "--epochs", 1, "--source-epochs", 1, "--lr", 0.01, "--batch-size", 64,
               "--method", "uniform", "--flops", 0.4, "--protocols", "pfa-fine"]  # fmt: skip
    status, out, err = run_cli("adapt", *options, "--json")
    assert status == 0, err
    result = json.loads(out)
    heads = [layer for layer in result["recipe"] if layer["layer"].endswith("attn.qkv")]
    assert [layer["filters"] for layer in heads] == [4, 4]
    assert all(1 <= layer["kept"] < 4 for layer in heads)
    (small,) = (row for row in result["protocols"] if row["protocol"] == "pfa-fine")
    path = Path(small["weights"])
    assert [w for w in read_card(path).widths if w <= 4] == [layer["kept"] for layer in heads]
    network = load_network(path, "own_transformer:tiny")
    assert [block.attn.num_heads for block in network.blocks] == [layer["kept"] for layer in heads]
    save_file(network.state_dict(), tmp_path / "again.safetensors")
