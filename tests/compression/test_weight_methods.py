"""LAMP, RePr and KSE against slow transcriptions of their papers, and HRank against ranks."""

import math
from dataclasses import dataclass

import naive
import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.groups.tracing import find_structure
from workbench.compression.measurements import kernel_indicator, map_rank
from workbench.compression.methods import lamp, repr_overlap
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.models.networks import build_network

CPU, DIGITS = torch.device("cpu"), SOURCES["digits"]
NOTHING = Images(np.zeros((0, 1, 8, 8), np.uint8), np.zeros(0, np.int64))


@dataclass
class Weights:
    """The only part of the evidence that LAMP and RePr read."""

    weights: np.ndarray


def some_weights(seed, shape=(7, 12)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# --- LAMP -----------------------------------------------------------------------------------


def lamp_by_loops(rows):
    """||W_u||^2 over the sum of ||W_v||^2 of all v that are not smaller (equation 2)."""
    norms = [math.fsum(float(w) ** 2 for w in row) for row in rows]
    return [norm / math.fsum(other for other in norms if other >= norm) for norm in norms]


@pytest.mark.parametrize("seed", [0, 1])
def test_lamp_is_the_papers_score(seed):
    rows = some_weights(seed)
    np.testing.assert_allclose(lamp.scores(Weights(rows)), lamp_by_loops(rows), rtol=1e-6)


def test_lamp_does_not_depend_on_the_scale_of_a_layer():
    rows = some_weights(2)
    np.testing.assert_allclose(lamp.scores(Weights(rows)), lamp.scores(Weights(64 * rows)))
    assert lamp.scores(Weights(rows)).max() == 1


def test_lamp_of_equal_and_of_empty_filters():
    np.testing.assert_allclose(lamp.scores(Weights(np.ones((4, 3)))), [1, 1 / 2, 1 / 3, 1 / 4])
    assert lamp.scores(Weights(np.zeros((3, 2)))).tolist() == [0, 0, 0]
    assert lamp.scores(Weights(np.array([[0.0], [2.0]]))).tolist() == [0, 1]


# --- RePr -----------------------------------------------------------------------------------


def overlaps_by_loops(rows):
    """O_f: the sum of |cosines| with all other filters, over the number of filters (section 4)."""

    def cosine(one, two):
        dot = math.fsum(float(a) * float(b) for a, b in zip(one, two, strict=True))
        return dot / math.hypot(*map(float, one)) / math.hypot(*map(float, two))

    return [
        math.fsum(abs(cosine(one, two)) for j, two in enumerate(rows) if j != i) / len(rows)
        for i, one in enumerate(rows)
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_repr_is_the_papers_overlap(seed):
    rows = some_weights(seed)
    expected = [1 - overlap for overlap in overlaps_by_loops(rows)]
    np.testing.assert_allclose(repr_overlap.scores(Weights(rows)), expected, rtol=1e-6)


def test_repr_keeps_what_is_orthogonal():
    rows = np.array([[1.0, 0, 0], [-3.0, 0, 0], [0, 2.0, 0], [0, 0, 0]])
    np.testing.assert_allclose(repr_overlap.scores(Weights(rows)), [0.75, 0.75, 1, 0])
    scaled = rows * np.array([[5.0], [-0.1], [7], [1]])
    np.testing.assert_allclose(
        repr_overlap.scores(Weights(scaled)), repr_overlap.scores(Weights(rows))
    )
    assert repr_overlap.scores(Weights(np.ones((1, 4)))).tolist() == [1]


# --- KSE ------------------------------------------------------------------------------------


class Pair(nn.Module):
    """A convolution that two convolutions and, after a flatten, a linear layer read."""

    def __init__(self, outputs=8):
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv2d(1, 6, 3, padding=1)
        self.left, self.right = nn.Conv2d(6, outputs, 3, padding=1), nn.Conv2d(6, 7, 1)
        self.flat = nn.Linear(6 * 4, 9)
        self.head = nn.Linear(outputs + 7 + 9, 3)

    def forward(self, x):
        x = self.one(x).relu()
        parts = [self.left(x).relu().mean((2, 3)), self.right(x).relu().mean((2, 3))]
        flat = self.flat(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)).relu()
        return self.head(torch.cat([*parts, flat], dim=1))


def indicators_of(model):
    groups = find_structure(model, (1, 8, 8)).groups
    return kernel_indicator.measure(model, groups, NOTHING, DIGITS, CPU)


def test_kse_is_the_papers_indicator_averaged_over_readers():
    model = Pair().eval()
    flat = model.flat.weight.detach().reshape(9, 6, 2, 2)
    weights = (model.left.weight, model.right.weight, flat)
    expected = np.mean(
        [naive.kse_by_loops(each.detach().double().numpy()) for each in weights], axis=0
    )
    found = indicators_of(model)
    np.testing.assert_allclose(found["one"], expected, atol=1e-6)
    head = naive.kse_by_loops(model.head.weight.detach().double().numpy()[..., None], neighbours=2)
    np.testing.assert_allclose(found["left"], head[:8], atol=1e-6)
    np.testing.assert_allclose(found["flat"], head[15:], atol=1e-6)


def test_kse_of_wide_linear_layers_is_that_of_its_values():
    values = torch.randn(3, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    by_values = kernel_indicator._entropy(values[..., None])
    padded = torch.stack(
        [values, torch.zeros_like(values)], dim=2
    )  # by distances in two dimensions
    torch.testing.assert_close(by_values, kernel_indicator._entropy(padded))


def test_kse_where_the_formula_has_no_value():
    one_output = torch.ones(4, 1, 9, dtype=torch.float64)
    assert kernel_indicator._entropy(one_output).tolist() == [0] * 4
    equal = torch.ones(2, 8, 9, dtype=torch.float64)
    assert kernel_indicator._entropy(equal).tolist() == [0, 0]
    constant = kernel_indicator.indicators(np.full(5, 3.0), np.full(5, 2.0))
    assert constant.tolist() == [1] * 5
    dead = kernel_indicator.indicators(np.array([0.0, 1.0, 2.0]), np.zeros(3))
    np.testing.assert_allclose(dead, [0, math.sqrt(0.5), 1])
    few = indicators_of(Pair(outputs=3).eval())
    assert all(np.isfinite(each).all() for each in few.values())


def test_kse_reads_the_kernels_of_inputs_not_of_outputs():
    """The public code mixes both, which no law of a square layer shows."""
    model = Pair().eval()
    with torch.no_grad():
        for layer in (model.left, model.right):
            layer.weight[:, 2] = 0
        model.flat.weight[:, 8:12] = 0
    assert indicators_of(model)["one"].argmin() == 2
    assert indicators_of(model)["one"][2] == 0


def test_kse_reads_each_block_of_a_grouped_convolution():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.Conv2d(6, 16, 3, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 3),
    ).eval()  # fmt: skip
    structure = find_structure(model, (1, 8, 8))
    found = kernel_indicator.measure(model, structure.groups, NOTHING, DIGITS, CPU)["0"]
    wanted = naive.kse_by_loops(model[1].weight.detach().double().numpy(), groups=2)
    np.testing.assert_allclose(found, wanted, atol=1e-9)


# --- HRank ----------------------------------------------------------------------------------


def test_hrank_is_the_mean_rank_of_the_maps_after_relu():
    model = build_network("simplecnn", (1, 8, 8), 3, seed=1)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias, mean=-0.5)
    model.eval()
    rng = np.random.default_rng(0)
    seen = Images(rng.integers(0, 256, (9, 1, 8, 8), dtype=np.uint8), np.zeros(9, np.int64))
    groups = find_structure(model, (1, 8, 8)).groups
    found = map_rank.measure(model, groups, seen, DIGITS, CPU)
    maps = []
    norm = next(part for part in model.modules() if isinstance(part, nn.BatchNorm2d))
    norm.register_forward_hook(lambda m, i, output: maps.append(output.relu()))
    with torch.no_grad():
        model(normalise(torch.from_numpy(seen.pixels), DIGITS))
    expected = [
        np.mean([np.linalg.matrix_rank(image[channel].numpy()) for image in maps[0]])
        for channel in range(groups[0].filters)
    ]
    np.testing.assert_allclose(found[groups[0].name], expected, atol=1e-9)
    assert min(expected) + 1 < np.median(expected) < 8


def test_hrank_of_a_hidden_layer_is_the_share_of_images_on_which_it_responds():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    rng = np.random.default_rng(0)
    seen = Images(rng.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), np.zeros(40, np.int64))
    groups = find_structure(model, (1, 8, 8)).groups
    with torch.no_grad():
        values = model[1](model[0](normalise(torch.from_numpy(seen.pixels), DIGITS)))
    np.testing.assert_allclose(
        map_rank.measure(model, groups, seen, DIGITS, CPU)["1"],
        (values > 0).double().mean(0), atol=1e-12,
    )  # fmt: skip
