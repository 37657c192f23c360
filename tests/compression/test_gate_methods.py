"""Taylor and CCP: gradients by gates against finite differences, exact cases, brute force."""

import copy
from itertools import combinations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from workbench.compression.groups.structure import SIDES
from workbench.compression.groups.tracing import find_structure
from workbench.compression.measurements import loss_change, pair_loss
from workbench.compression.measurements.filter_gates import open_gates
from workbench.compression.methods import ccp
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.image_batches import evenly_spaced
from workbench.data.known_sets import Images
from workbench.models.networks import build_network

CPU, DIGITS = torch.device("cpu"), SOURCES["digits"]


class Residual(nn.Module):
    """A stream that three layers read, a flatten, and a hidden linear layer; with dropout."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.one, self.two = nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(5, 6, 3, padding=1)
        self.down = nn.Conv2d(6, 4, 1, stride=2)
        self.hidden, self.drop = nn.Linear(4 * 4 * 4, 7), nn.Dropout()
        self.head = nn.Linear(7, 3)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu_()
        y = self.one(x).relu_()
        x += self.two(y)
        x = self.down(x.relu()).relu_()
        return self.head(self.drop(self.hidden(x.flatten(1)).relu()))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (70, 1, 8, 8), dtype=np.uint8)
    return Images(pixels, np.arange(70) % 3)


@pytest.fixture(scope="module")
def residual():
    model = Residual().eval()
    return model, find_structure(model, (1, 8, 8))


def with_factor(model, group, filters, factor):
    """A copy whose readers weigh some filters of a group by a factor."""
    scaled = copy.deepcopy(model).double()
    for cut in group.cuts:
        if cut.side == SIDES[1]:
            weight = scaled.get_submodule(cut.layer).weight
            weight.data[:, cut.indices(np.asarray(filters))] *= factor
    return scaled


def losses(model, images):
    x = normalise(torch.from_numpy(images.pixels), DIGITS).to(next(model.parameters()).dtype)
    labels = torch.from_numpy(images.labels)
    with torch.no_grad():
        return nn.functional.cross_entropy(model(x), labels, reduction="none").double()


# --- gates ----------------------------------------------------------------------------------


def test_taylor_is_the_squared_slope_of_each_images_loss(residual, images):
    model, structure = residual
    assert sum(len(group.layers) > 1 for group in structure.groups) == 1
    found = loss_change.measure(model, structure.groups, images, DIGITS, CPU)
    for group in structure.groups:
        for number in range(group.filters):
            more, less = (
                losses(with_factor(model, group, [number], factor), images)
                for factor in (1 + 1e-5, 1 - 1e-5)
            )
            slopes = (more - less) / 2e-5
            expected = slopes.square().mean().item()
            assert found[group.name][number] == pytest.approx(expected, rel=1e-3, abs=1e-10)


def test_the_measurement_changes_nothing_in_the_network(residual, images):
    model, structure = copy.deepcopy(residual[0]), residual[1]
    model.head.bias.requires_grad_(False)
    before = losses(model, images)
    pair_loss.measure(model, structure.groups, images, DIGITS, CPU)
    assert torch.equal(losses(model, images), before)
    wants = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert wants == {"head.bias"}
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_batches_do_not_change_the_scores(residual, images, monkeypatch):
    model, structure = residual
    for measurement in (loss_change, pair_loss):
        looks = (model, structure.groups, images, DIGITS, CPU)
        whole = measurement.measure(*looks)
        monkeypatch.setattr(measurement, "BATCH_SIZE", 9)
        for name, found in measurement.measure(*looks).items():
            np.testing.assert_allclose(found, whole[name], rtol=1e-4, atol=1e-9)


def test_few_images_are_spread_over_all_classes():
    images = Images(np.zeros((90, 1, 2, 2), np.uint8), np.repeat(np.arange(9), 10))
    few = evenly_spaced(images, 18)
    assert np.bincount(few.labels).tolist() == [2] * 9
    assert evenly_spaced(images, 90) is images


def test_a_filter_that_no_class_needs_has_score_zero(residual, images):
    model, structure = copy.deepcopy(residual[0]), residual[1]
    model.head.weight.data[:, 2] = 0
    model.hidden.bias.data += 50  # every filter responds
    found = loss_change.measure(model, structure.groups, images, DIGITS, CPU)["hidden"]
    assert np.flatnonzero(found == 0).tolist() == [2]


# --- CCP's expansion ------------------------------------------------------------------------


def test_the_second_order_is_the_curvature_of_the_loss(residual, images):
    """On a hidden layer before the head, the logits are linear in the gates."""
    model, structure = residual
    group = structure.group("hidden")
    found = pair_loss.measure(model, structure.groups, images, DIGITS, CPU)["hidden"]
    base = losses(model.double(), images).mean().item()
    model.float()
    step = 1e-3
    for removed in ([0], [3], [0, 3], [1, 4, 6]):
        up, down = (
            losses(with_factor(model, group, removed, 1 + sign * step), images).mean().item()
            for sign in (1, -1)
        )
        slope, curvature = (up - down) / (2 * step), (up + down - 2 * base) / step**2
        total = found[np.ix_(removed, removed)].sum()
        assert total == pytest.approx(-slope + curvature / 2, rel=1e-3, abs=1e-6)


def test_the_expansion_is_exact_for_squared_errors_of_a_linear_network():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3)).double().eval()
    group = find_structure(copy.deepcopy(network).float(), (1, 8, 8)).groups[0]
    x, wanted = torch.randn(20, 1, 8, 8).double(), torch.randn(20, 3).double()

    def error(model):
        return (model(x) - wanted).square().sum().item() / 2

    with open_gates(network, [group]) as gates:
        logits = gates.logits(x)
        each = [gates.gradients(logits[:, c].sum(), again=True)[group.name] for c in range(3)]
    costs = pair_loss.pair_costs(torch.stack(each, 1), (logits - wanted).detach(), None)
    for removed in ([2], [0, 5], [1, 2, 3, 6, 7]):
        change = error(with_factor(network, group, removed, 0.0)) - error(network)
        assert costs[removed][:, removed].sum().item() == pytest.approx(change, rel=1e-9)


def test_curvature_is_that_of_the_matrix_of_probabilities():
    rng = torch.Generator().manual_seed(0)
    changes = torch.randn(4, 3, 5, generator=rng, dtype=torch.float64)
    shares = torch.randn(4, 3, generator=rng, dtype=torch.float64).softmax(1)
    slope = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    expected = torch.zeros(5, 5, dtype=torch.float64)
    for d, p, q in zip(changes, shares, slope, strict=True):
        curvature = torch.diag(p) - torch.outer(p, p)
        expected += d.T @ curvature @ d / 2 - torch.diag(d.T @ q)
    torch.testing.assert_close(pair_loss.pair_costs(changes, slope, shares), expected)


# --- CCP's solver ---------------------------------------------------------------------------


def brute_force(costs, keep):
    """The smallest sum over removed filters, of all choices."""
    everything = range(len(costs))
    gone = (np.setdiff1d(everything, kept) for kept in combinations(everything, keep))
    return min(costs[np.ix_(each, each)].sum() for each in gone)


def value(costs, kept):
    gone = np.setdiff1d(np.arange(len(costs)), kept)
    return costs[np.ix_(gone, gone)].sum()


def random_costs(seed, filters):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((rng.integers(2, 20), filters))
    return rows.T @ rows / 2 + np.diag(rng.normal(scale=2, size=filters))


def test_swaps_find_what_brute_force_finds():
    exact = 0
    for seed in range(60):
        filters = 4 + seed % 9
        costs, keep = random_costs(seed, filters), 1 + seed % (filters - 1)
        kept = ccp.cheapest_choice(costs, keep)
        assert len(set(kept.tolist())) == keep
        best = brute_force(costs, keep)
        assert value(costs, kept) >= best - 1e-9
        exact += value(costs, kept) <= best + 1e-9
    assert exact >= 58  # of 60


def test_sixteen_filters_are_as_good_as_by_brute_force():
    costs = random_costs(1000, 16)
    kept = ccp.cheapest_choice(costs, 8)
    assert value(costs, kept) == pytest.approx(brute_force(costs, 8))


def test_without_pairs_the_ranking_is_that_of_the_first_order():
    first = np.random.default_rng(2).normal(size=12)
    kept = ccp.cheapest_choice(np.diag(first), 5)
    assert kept.tolist() == sorted(np.argsort(-first)[:5].tolist())
    assert ccp.cheapest_choice(np.diag(first), 12).tolist() == list(range(12))
    assert ccp.cheapest_choice(np.zeros((4, 4)), 2).tolist() == [0, 1]


def test_two_equal_filters_have_equal_costs_and_their_common_curvature(images):
    model = build_network("simplecnn", (1, 8, 8), 3, seed=2).eval()
    structure = find_structure(model, (1, 8, 8))
    group = structure.groups[0]
    for cut in group.cuts:
        part = model.get_submodule(cut.layer)
        for tensor in (*part.parameters(), *part.buffers()):
            if cut.side == "filters" and tensor.ndim:
                tensor.data[1] = tensor.data[0]
            elif cut.side == "inputs" and tensor.ndim > 1:
                tensor.data[:, 1] = tensor.data[:, 0]
    costs = pair_loss.measure(model, structure.groups, images, DIGITS, CPU)[group.name]
    assert costs[0, 0] == pytest.approx(costs[1, 1], rel=1e-6)
    np.testing.assert_allclose(costs[0, 2:], costs[1, 2:], rtol=1e-5, atol=1e-8)
    slope = costs[0, 0] - costs[0, 1]  # S_01 = S_00, and no first order between the two
    step = 1e-4
    up, down = (
        losses(with_factor(model, group, [0], 1 + change), images).mean().item()
        for change in (step, -step)
    )
    assert slope == pytest.approx(-(up - down) / (2 * step), rel=1e-3, abs=1e-6)


def test_of_two_filters_that_replace_each_other_one_goes():
    pair = np.array([[1.0, 0.9, 0], [0.9, 1.0, 0], [0, 0, 1.2]])
    assert ccp.cheapest_choice(pair, 1).tolist() in ([0], [1])
    assert ccp._one_by_one(pair, 1).tolist() == [False, False, True]  # cheap alone, not together
    assert ccp._removed_in_turn(pair, 1).tolist() == [False, True, False]
    assert ccp._added_in_turn(pair, 1).tolist() == [True, False, False]


# --- through the command line ---------------------------------------------------------------


@pytest.mark.parametrize("options", [("--method", "taylor"), ("--selection", "ccp")])
def test_classes_without_a_trained_classifier_are_rejected(run_cli, tmp_path, draw_folder, options):
    draw_folder(tmp_path / "pets", {"cat": 6, "dog": 6})
    (tmp_path / "domains").mkdir()
    (tmp_path / "domains/pets.yaml").write_text("name: pets\nfolder: ../pets\n")
    save_file(build_network("simplecnn", (1, 8, 8), 10).state_dict(), "source.safetensors")
    command = ("analyze", "--source", "digits", "--target", "pets", "--weights")
    status, out, err = run_cli(*command, "source.safetensors", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "taylor and ccp need a classifier that knows the target's classes" in err
    assert "use a method without labels" in err


def test_random_rows_of_a_new_head_are_rejected(run_cli):
    save_file(build_network("simplecnn", (1, 8, 8), 10).state_dict(), "source.safetensors")
    status, _, err = run_cli(
        "adapt", "--source", "digits", "--target", "digits-3v8", "--weights", "source.safetensors",
        "--method", "taylor", "--footprint", 0.3, "--steps", 2, "--head", "new",
    )  # fmt: skip
    assert (status, err.count("\n")) == (2, 1)
    assert "use --head slice" in err
