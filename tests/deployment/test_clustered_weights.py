"""Clustered weights: few values, exactly stored, close to the weights."""

import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.narrow_networks import build_narrow
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import load_images
from workbench.deployment.quantisation import clustered_weights
from workbench.deployment.quantisation.clustered_weights import cluster, make_clustered
from workbench.deployment.quantisation.packed_weights import load_packed, read_packed
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import TrainedNetwork
from workbench.models.weight_files import Card

WIDTHS = (20, 20, 20, 30, 30, 30, 30, 30)
CARD = Card.of("simplecnn", SOURCES["digits"], ("3", "8"), WIDTHS)


def trained(network, card=CARD):
    return TrainedNetwork(network.eval(), card, load_images("digits", "train", None))


def normal(size, seed=0):
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def loss(weights, tensor):
    return float(np.square(weights.astype(float) - tensor.weights()).sum())


def test_the_file_holds_the_clustered_network(tmp_path):
    network = build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=1).eval()
    path = tmp_path / "net.packed"
    report = make_clustered(trained(network), DeploymentSettings(), path)
    state, before = read_packed(path), network.state_dict()
    for name, value in before.items():
        if value.ndim == 4:
            assert torch.equal(state[name], torch.from_numpy(cluster(value.numpy(), 256).weights()))
            assert len(state[name].unique()) <= 256
        else:
            assert torch.equal(state[name], value)
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert load_packed(path)(images) == pytest.approx(network(images), rel=0.1, abs=0.1)
    details = report.details
    assert details["bytes"] == path.stat().st_size < 0.5 * details["float32_bytes"]
    assert details["entropy"] <= details["mean_bits"] < details["entropy"] + 1
    assert [layer["name"] for layer in details["layers"]] == [
        name.removesuffix(".weight") for name, value in before.items() if value.ndim == 4
    ]
    assert all(layer["bits"] <= 8 and layer["clusters"] <= 256 for layer in details["layers"])
    assert report.left_float == ()


def test_the_network_is_not_changed(tmp_path):
    network = build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    make_clustered(trained(network), DeploymentSettings(), tmp_path / "net.packed")
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("clusters", [1, 2, 32, 256])
def test_each_value_is_the_mean_of_its_weights(clusters):
    weights = normal((5, 200))
    tensor = cluster(weights, clusters)
    assert tensor.weights().shape == weights.shape
    assert 0.8 * clusters <= len(tensor.codebook) <= clusters
    for number, value in enumerate(tensor.codebook):
        members = weights.reshape(-1)[tensor.indices == number]
        assert value == pytest.approx(members.mean(dtype=float), rel=1e-6, abs=1e-7)
    assert (np.diff(tensor.codebook) > 0).all()


@pytest.mark.parametrize("clusters", [2, 32, 256])
def test_the_loss_is_at_most_that_of_scikit_learn(clusters):
    from sklearn.cluster import KMeans

    weights = normal(3000)  # fewer distinct weights than bins, so that both see all of them
    start = np.linspace(weights.min(), weights.max(), clusters, dtype=np.float64)[:, None]
    means = KMeans(clusters, init=start, n_init=1).fit(weights.astype(float)[:, None])
    assert loss(weights, cluster(weights, clusters)) <= means.inertia_ * (1 + 1e-9)


def test_a_histogram_costs_little(monkeypatch):
    weights = normal(20_000)
    binned = loss(weights, cluster(weights, 32))
    monkeypatch.setattr(clustered_weights, "_BINS", 1 << 15)  # more than the weights: exact
    assert binned <= 1.01 * loss(weights, cluster(weights, 32))


def test_large_weights_have_values_of_their_own():
    weights = np.append(normal(3000), np.float32([50, -40]))
    kept = cluster(weights, 32).weights()
    assert kept[-2:].tolist() == [50, -40]


@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
def test_scaling_and_order_change_nothing(scale):
    weights = normal(1000)
    once = cluster(weights, 32)
    order = np.random.default_rng(1).permutation(1000)
    assert (cluster(weights[order], 32).weights() == once.weights()[order]).all()
    scaled = cluster(weights * np.float32(scale), 32)
    assert (scaled.indices == once.indices).mean() > 0.99
    assert scaled.codebook == pytest.approx(once.codebook * np.float32(scale), rel=1e-3)


@pytest.mark.parametrize(
    "weights",
    [
        np.full((3, 4), 0.25, np.float32),
        np.zeros((1, 1, 3, 3), np.float32),
        normal(32),
        np.repeat(normal(32), 1000),
        np.full(70_000, -1e-38, np.float32),
    ],
    ids=["constant", "zeros", "as many as clusters", "few distinct", "many constant"],
)
def test_few_distinct_weights_lose_nothing(weights):
    assert (cluster(weights, 32).weights() == weights).all()


def test_empty_clusters_are_dropped(monkeypatch):
    centres = np.array([-10.0, -1, 0, 5, 10])
    monkeypatch.setattr(clustered_weights, "_centres", lambda points, counts, clusters: centres)
    tensor = cluster(np.float32([0.25, 9, -0.75, 0.75, 11, -0.75]), 5)
    assert tensor.codebook.tolist() == [-0.75, 0.5, 10]
    assert tensor.weights().tolist() == [0.5, 10, -0.75, 0.5, 10, -0.75]


def test_many_weights_in_few_bins():
    # One large weight, and more distinct weights than bins within a single bin.
    weights = np.append(normal(70_000) * np.float32(1e-9), np.float32(1))
    tensor = cluster(weights, 32)
    assert tensor.weights()[-1] == 1
    assert np.abs(tensor.weights()[:-1]).max() < 1e-8


def test_each_kind_of_layer_has_its_number_of_clusters(tmp_path):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 16, 3, padding=1)
            self.depthwise = nn.Conv2d(16, 16, 5, padding=2, groups=16)
            self.tokens = nn.Linear(16, 40)
            self.back = nn.Linear(40, 16)
            self.one = nn.Conv2d(16, 1, 1)
            self.last = nn.Linear(64, 2)

        def forward(self, images):
            seen = self.first(images)
            seen = seen + self.depthwise(seen)
            tokens = seen.flatten(2).transpose(1, 2)
            tokens = tokens + self.back(self.tokens(tokens).relu())
            seen = tokens.transpose(1, 2).reshape(-1, 16, 8, 8)
            return self.last(self.one(seen).flatten(1))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Residual()
    path = tmp_path / "net.packed"
    report = make_clustered(trained(network), DeploymentSettings(), path)
    found = {layer["name"]: layer["clusters"] for layer in report.details["layers"]}
    assert found["first"] == 144  # all of its weights
    assert found["one"] == 16
    assert 200 < found["depthwise"] <= 256
    assert 25 < found["tokens"] <= 32
    assert 25 < found["last"] <= 32
    wanted = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(read_packed(path))
    for name, value in network.state_dict().items():
        near = 0.05 if value.ndim > 1 else 0
        assert value == pytest.approx(wanted[name], abs=near)
        if name.startswith(("first", "one")):
            assert torch.equal(value, wanted[name])


def test_a_network_without_layers_is_stored_as_it_is(tmp_path):
    report = make_clustered(
        trained(nn.BatchNorm2d(3)), DeploymentSettings(), tmp_path / "net.packed"
    )
    assert (report.details["mean_bits"], report.details["layers"]) == (0, [])
    assert len(read_packed(tmp_path / "net.packed")) == 5
