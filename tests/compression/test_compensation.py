"""Compensation: exact for twins, never worse, and skipped where it would not be exact."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from workbench.compression.compensation.compensation import compensate
from workbench.compression.compensation.compensation_proof import (
    _copy_twins,
    _twins,
    inexact_groups,
)
from workbench.compression.compensation.compensation_report import (
    CompensationReport,
    CorrectedReader,
)
from workbench.compression.compensation.matched_norms import match_norms
from workbench.compression.compensation.reading_layers import SCATTERS, find_readers, measure_grams
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.tracing import find_structure
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.decoding import Form
from workbench.data.known_sets import Images
from workbench.data.streamed_images import Stream
from workbench.errors import NetworkError
from workbench.models.networks import build_network

CPU = torch.device("cpu")
COLOUR = SOURCES["cifar10"]


class Network(nn.Module):
    """Some layers and a forward function."""

    def __init__(self, run, **layers):
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images):
        return self.run(self, images)


def flattened():
    """Both kinds of readers, with padding, pooling, norms and 4 positions after the flatten."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(24, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def joined():
    """One reader of two groups, one of them through a depthwise convolution."""

    def run(model, images):
        one = torch.relu(model.one(images))
        other = torch.relu(model.deep(model.other(images)))
        return model.head(torch.relu(model.reads(torch.cat([one, other], 1))).mean((2, 3)))

    return Network(run, one=nn.Conv2d(3, 6, 3), other=nn.Conv2d(3, 4, 1),
                   deep=nn.Conv2d(4, 4, 3, groups=4), reads=nn.Conv2d(10, 6, 1),
                   head=nn.Linear(6, 3))  # fmt: skip


def grouped():
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=2, padding=1), nn.ReLU(),
        nn.Conv2d(12, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def tokens():
    """The hidden layer of a transformer's MLP: a linear reader of tokens."""

    def run(model, images):
        each = model.embed(images).flatten(2).transpose(1, 2)
        each = each + model.second(nn.functional.gelu(model.first(each)))
        return model.head(each.mean(1))

    return Network(run, embed=nn.Conv2d(3, 6, 4, 4), first=nn.Linear(6, 12),
                   second=nn.Linear(12, 6), head=nn.Linear(6, 3))  # fmt: skip


ZOO = {"flattened": flattened, "joined": joined, "grouped": grouped, "tokens": tokens} | {
    name: lambda name=name: build_network(name, (3, 32, 32), 3)
    for name in ("torchvision:mobilenet_v3_small", "torchvision:resnet18",
                 "torchvision:shufflenet_v2_x0_5", "torchvision:squeezenet1_1")
}  # fmt: skip


def images_of(source, count=24, size=32):
    rng = np.random.default_rng(3)
    shape = (count, source.shape[0], size, size)
    coarse = rng.integers(0, source.white + 1, (*shape[:2], size // 4, size // 4))
    pixels = coarse.repeat(4, 2).repeat(4, 3).astype(np.uint8)
    return Images(pixels, np.arange(count) % 3)


def make(name):
    """A network whose norms have seen something, and its structure."""
    torch.manual_seed(1)
    model = ZOO[name]().eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model, find_structure(model, (3, 32, 32))


def half_of(structure, seed=0):
    rng = np.random.default_rng(seed)
    kept = {}
    for group in structure.groups:
        blocks = group.block_indices()
        count = max(1, blocks.shape[1] // 2)
        kept[group.name] = [
            int(i) for block in blocks for i in np.sort(rng.choice(block, count, replace=False))
        ]
    return kept


def run(model, images=None):
    pixels = torch.from_numpy((images or images_of(COLOUR)).pixels)
    with torch.no_grad():
        return model.eval()(normalise(pixels, COLOUR))


def close(found, wanted):
    return (found - wanted).abs().max() <= 1e-5 * wanted.abs().max().clamp_min(1)


@pytest.mark.parametrize("name", ZOO)
def test_twins_can_be_removed_and_nothing_changes(name):
    model, structure = make(name)
    kept = half_of(structure)
    with torch.no_grad():
        for group in structure.groups:
            _copy_twins(model, group, _twins(group, kept[group.name]))
    logits = run(model)
    made = compensate(model, kept, structure, images_of(COLOUR), COLOUR, CPU)
    assert made.report.readers
    assert not made.report.skipped
    assert close(run(made.network), logits)
    assert not close(run(rebuild(model, kept, structure)), logits)


@pytest.mark.parametrize("name", ["flattened", "grouped", "joined"])
def test_nothing_removed_is_bit_identical(name):
    model, structure = make(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    everything = {group.name: range(group.filters) for group in structure.groups}
    for kept in ({}, everything):
        made = compensate(model, kept, structure, images_of(COLOUR), COLOUR, CPU)
        assert made.report == CompensationReport()
        assert torch.equal(run(made.network), run(model))
    compensate(model, half_of(structure), structure, images_of(COLOUR), COLOUR, CPU)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def inputs_of(model, name):
    """What a layer reads, shape (images, ..., inputs), and its weight as a matrix a position."""
    found = []
    layer = model.get_submodule(name)
    handle = layer.register_forward_pre_hook(lambda _, args: found.append(args[0].double()))
    run(model)
    handle.remove()
    return found[0].movedim(1, -1) if found[0].ndim == 4 else found[0]


@pytest.mark.parametrize("name", ["flattened", "joined", "grouped", "tokens"])
def test_the_new_weights_are_those_of_least_squares_or_closer_to_no_change(name):
    """The error of each reader lies between that of plain least squares and that of nothing."""
    model, structure = make(name)
    kept = half_of(structure)
    made = compensate(model, kept, structure, images_of(COLOUR), COLOUR, CPU)
    readers = {each.layer: each for each in find_readers(model, structure, kept)[0]}
    assert {each.layer for each in made.report.readers} == set(readers)
    for done in made.report.readers:
        reader = readers[done.layer]
        rows = inputs_of(model, done.layer)[..., reader.units]
        rows = rows.movedim(-1, -2).reshape(-1, len(reader.units)).numpy()
        layer = model.get_submodule(done.layer)
        best = nothing = total = 0.0
        for block in reader.blocks:
            left = np.linalg.lstsq(rows[:, block.kept], rows[:, block.removed], rcond=None)[0]
            errors = rows[:, block.removed] - rows[:, block.kept] @ left
            weight = layer.weight.detach().double().numpy()[block.rows]
            columns = reader.units % layer.weight.shape[1]
            for place in np.ndindex(weight.shape[2:]):
                for position in range(reader.units.shape[1]):
                    own = weight[(slice(None), slice(None), *place)][:, columns[:, position]]
                    lost = own[:, block.removed].T
                    best += np.sum((errors @ lost) ** 2)
                    nothing += np.sum((rows[:, block.removed] @ lost) ** 2)
                    members = np.concatenate([block.kept, block.removed])
                    total += np.sum((rows[:, members] @ own[:, members].T) ** 2)
        assert done.before == pytest.approx(np.sqrt(nothing / total), rel=1e-6)
        assert np.sqrt(best / total) * (1 - 1e-6) <= done.after <= done.before


def test_the_outputs_of_a_linear_reader_are_those_that_the_report_promises():
    model, structure = make("tokens")
    kept = {"first": half_of(structure)["first"]}
    alone = compensate(model, kept, structure, images_of(COLOUR), COLOUR, CPU)
    rows = inputs_of(model, "second")
    weight = model.second.weight.detach().double()
    new = alone.network.second.weight.detach().double()
    error = rows @ weight.T - rows[..., kept["first"]] @ new.T
    found = float(error.square().sum().sqrt() / (rows @ weight.T).square().sum().sqrt())
    assert alone.report.readers[0].after == pytest.approx(found, rel=1e-4)


def test_padded_shortcuts_are_skipped_with_the_reason():
    torch.manual_seed(0)
    model = build_network("resnet56", (3, 8, 8), 3).eval()
    structure = find_structure(model, (3, 8, 8))
    images, source = images_of(COLOUR, size=8), replace(COLOUR, shape=(3, 8, 8))
    made = compensate(model, half_of(structure), structure, images, source, CPU)
    assert set(made.report.skipped.values()) == {SCATTERS}
    assert all(name.endswith("scatter") for name in made.report.skipped)
    assert len(made.report.readers) + len(made.report.skipped) == 54
    assert "not compensated: stages.0.0.scatter" in made.report.lines()[1]


def mixing():
    """A sum over channels survives the removal of zeros, but not that of a twin."""

    def forward(model, images):
        found = torch.relu(model.first(images))
        found = found + found.sum(1, keepdim=True)
        return model.head(torch.relu(model.second(found)).mean((2, 3)))

    return Network(forward, first=nn.Conv2d(3, 8, 1, bias=False), second=nn.Conv2d(8, 6, 1),
                   head=nn.Linear(6, 3))  # fmt: skip


def test_a_group_that_fails_the_proof_is_skipped():
    torch.manual_seed(0)
    model = mixing().eval()
    structure = find_structure(model, (3, 32, 32))
    kept = half_of(structure)
    assert list(kept) == ["first", "second"]
    found = inexact_groups(model, structure, kept, (3, 32, 32))
    assert list(found) == ["first"]
    assert "twin" in found["first"]
    made = compensate(model, kept, structure, images_of(COLOUR), COLOUR, CPU)
    assert list(made.report.skipped) == ["second"]
    plain = rebuild(model, kept, structure)
    assert torch.equal(made.network.second.weight, plain.second.weight)
    assert not torch.equal(made.network.head.weight, plain.head.weight)


def test_an_unsound_group_is_neither_predicted_nor_used_for_predictions():
    model, structure = make("joined")
    kept = {"one": [1, 2, 4], "other": [0, 3]}
    readers, _ = find_readers(model, structure, kept)
    (block,) = readers[0].blocks
    assert (block.kept.tolist(), block.removed.tolist()) == ([1, 2, 4, 6, 9], [0, 3, 5, 7, 8])
    (reader,), skipped = find_readers(model, structure, kept, excluded=["one"])
    (block,) = reader.blocks
    assert (block.kept.tolist(), block.removed.tolist()) == ([6, 9], [7, 8])
    assert not skipped


def test_norms_keep_the_outputs_of_the_full_network():
    """Mean and variance behind a norm, over all images, are those of the full network."""
    model, structure = make("flattened")
    kept = {"0": list(range(8)), "4": [1, 3, 5], "8": [0, 2, 4, 6]}
    images = images_of(COLOUR)
    network = rebuild(model, kept, structure)
    assert match_norms(network, model, kept, structure, images, COLOUR, CPU) == 2
    found, wanted = (run(part[:10]).double() for part in (network, model))
    wanted = wanted[:, kept["8"]]
    torch.testing.assert_close(found.mean(0), wanted.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.var(0), wanted.var(0), atol=1e-4, rtol=1e-3)
    first = network[1]
    assert torch.allclose(first.running_mean, model[1].running_mean, atol=1e-5)
    assert first.momentum == 0.1
    assert network.training == rebuild(model, kept, structure).training


def test_streamed_images_give_the_same(tmp_path):
    model, structure = make("flattened")
    kept, images = half_of(structure), images_of(COLOUR)
    for number, image in enumerate(images.pixels):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{number:02}.png")
    files = tuple(sorted(Path(tmp_path).glob("*.png")))
    stream = Stream(files, images.labels, Form(3, 32, 255), "", workers=0)
    one, other = (
        compensate(model, kept, structure, each, COLOUR, CPU).network.state_dict()
        for each in (images, stream)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_splitting_the_batch_changes_nothing(monkeypatch):
    model, structure = make("flattened")
    readers, _ = find_readers(model, structure, half_of(structure))
    whole = measure_grams(model, readers, images_of(COLOUR), COLOUR, CPU)
    monkeypatch.setattr("workbench.compression.compensation.reading_layers._BATCH_SIZE", 8)
    monkeypatch.setattr("workbench.compression.compensation.reading_layers._MOST_VALUES", 10)
    parts = measure_grams(model, readers, images_of(COLOUR), COLOUR, CPU)
    for name, halves in whole.items():
        for one, other in zip(halves, parts[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


def test_broken_weights_are_reported():
    model, structure = make("tokens")
    with torch.no_grad():
        model.first.weight.fill_(3e38)  # the products overflow
    with pytest.raises(NetworkError, match="NaN"):
        compensate(model, half_of(structure), structure, images_of(COLOUR), COLOUR, CPU)


def test_a_report_is_read_again_and_checked():
    report = CompensationReport((CorrectedReader("a", 3, 0.5, 0.25),), {"b": "why"}, 2)
    saved = json.loads(report.to_json())
    assert CompensationReport.from_plain(saved) == report
    assert report.lines() == [
        "compensation: 1 of 2 reading layers corrected, error of their outputs 0.500 -> 0.250 on "
        "average; 2 batch norms estimated again",
        "not compensated: b: why",
    ]
    with pytest.raises(ValueError, match="norms"):
        CompensationReport.from_plain({**saved, "norms": -1})
