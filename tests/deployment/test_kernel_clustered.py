"""Stage kernel-clustered: the number of kernels, k-means, the file, and the trained network."""

import copy
import json
import math
import tracemalloc
from dataclasses import replace

import naive
import numpy as np
import pytest
import torch
from packed_files import rewrite
from safetensors.torch import load
from torch import nn

from workbench.compression.measurements.kernel_indicator import channel_indicators
from workbench.compression.narrow_networks import build_narrow
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images, load_images
from workbench.deployment.quantisation import kernel_clustered
from workbench.deployment.quantisation.kernel_clustered import (
    fix_kernels,
    left_alone,
    make_kernel_clustered,
    put_kernels,
)
from workbench.deployment.quantisation.kernel_clusters import (
    cluster_kernels,
    kernel_counts,
    share_kernels,
)
from workbench.deployment.quantisation.kernel_tensors import (
    KernelWeights,
    index_bits,
    kernels_of,
    weight_of,
)
from workbench.deployment.quantisation.packed_tensors import from_form
from workbench.deployment.quantisation.packed_weights import load_packed, read_packed
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import TrainedNetwork
from workbench.errors import SettingsError, WeightsError
from workbench.models.weight_files import Card

WIDTHS = (6, 6, 6, 8, 8, 8, 8, 8)
CARD = Card.of("simplecnn", SOURCES["digits"], ("3", "8"), WIDTHS)
CPU = torch.device("cpu")
LAYER = "features.3.weight"
GRID = [(granularity, rate) for granularity in (2, 3, 4, 5, 8) for rate in (0, 1, 3)]


def convolution(filters=12, inputs=7, groups=1, kernel=3, seed=0):
    layer = nn.Conv2d(inputs, filters, kernel, groups=groups)
    generator = torch.Generator().manual_seed(seed)
    layer.weight.data = torch.randn(layer.weight.shape, generator=generator)
    return layer


def shared(layer, granularity=4, rate=0):
    kernels = layer.out_channels // layer.groups
    counts = kernel_counts(channel_indicators(layer, CPU), kernels, granularity, rate)
    return share_kernels(layer.weight.detach().numpy(), layer.groups, counts)


# --- How many kernels -----------------------------------------------------------------------


def count_by_halving(indicator, kernels, granularity, rate):
    """q of one channel: halve the kernels once for each level below the top, and T more times."""
    level = 0
    while level < granularity - 1 and indicator >= (level + 1) / granularity:
        level += 1
    if level == 0:
        return 0
    if level == granularity - 1:
        return kernels
    divisor = 1
    for _ in range(granularity - 1 - level + rate):
        divisor *= 2
    return -(-kernels // divisor)


@pytest.mark.parametrize(("granularity", "rate"), GRID)
def test_the_number_of_kernels_is_that_of_a_slow_transcription(granularity, rate):
    indicators = np.concatenate([np.linspace(0, 1, 65), np.random.default_rng(0).random(50)])
    for kernels in (1, 2, 7, 64):
        found = kernel_counts(indicators, kernels, granularity, rate)
        wanted = [count_by_halving(v, kernels, granularity, rate) for v in indicators.tolist()]
        assert found.tolist() == wanted
        assert (kernel_counts(indicators, kernels, granularity, rate + 1) <= found).all()


def test_the_values_of_the_authors_for_resnet_56():
    """G = 4 and T = 0: nothing, a quarter, a half, all."""
    found = kernel_counts(np.array([0, 0.24, 0.25, 0.49, 0.5, 0.74, 0.75, 1]), 32, 4, 0)
    assert found.tolist() == [0, 0, 8, 8, 16, 16, 32, 32]
    assert kernel_counts(np.array([0.3, 0.6]), 32, 4, 2).tolist() == [2, 4]
    assert kernel_counts(np.array([0.3, 0.6]), 32, 4, 16).tolist() == [1, 1]


@pytest.mark.parametrize("groups", [1, 2])
def test_the_indicator_of_a_layer_is_the_papers(groups):
    layer = convolution(filters=16, inputs=6, groups=groups)
    weight = layer.weight.detach().double().numpy()
    beside = np.concatenate(np.split(weight, groups), axis=1)  # (N, C, h, w)
    wanted = naive.kse_by_loops(beside)
    np.testing.assert_allclose(channel_indicators(layer, CPU), wanted, rtol=1e-6, atol=1e-9)


# --- k-means --------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 3])
def test_kernels_and_weights_are_the_same_numbers(groups):
    weight = np.arange(12 * 2 * 3 * 3).reshape(12, 2, 3, 3)
    kernels = kernels_of(weight, groups)
    for filter_ in range(12):
        group, number = divmod(filter_, 12 // groups)
        for channel in range(2):
            mine = kernels[group * 2 + channel, number]
            assert mine.tolist() == weight[filter_, channel].reshape(-1).tolist()
    assert (weight_of(kernels, weight.shape, groups) == weight).all()
    assert torch.equal(
        kernels_of(torch.from_numpy(weight), groups), torch.from_numpy(kernels.copy())
    )


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_step_of_naive_k_means_changes_nothing(count):
    rng = np.random.default_rng(count)
    kernels = rng.standard_normal((30, 9)).astype(np.float32)[rng.integers(0, 30, 60)]
    centroids, indices = cluster_kernels(kernels, count)
    assert centroids.shape == (count, 9)
    members = [[] for _ in centroids]
    for kernel, index in zip(kernels.astype(float), indices, strict=True):
        distances = [math.dist(kernel, centroid) for centroid in centroids]
        assert index == distances.index(min(distances))
        members[index].append(kernel)
    means = [np.mean(part, axis=0) for part in members]
    np.testing.assert_allclose(centroids, means, rtol=1e-5, atol=1e-6)


def test_few_distinct_kernels_lose_nothing():
    few = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    kernels = few[[0, 1, 1, 2, 0, 2, 2]]
    for count in (3, 5):
        centroids, indices = cluster_kernels(kernels, count)
        assert len(centroids) == 3
        assert (centroids[indices] == kernels).all()
    almost = np.full((30, 4), 1, np.float32) + np.float32(2**-22) * np.arange(30)[:, None]
    almost[0] = 1e7
    almost = almost.astype(np.float32)
    centroids, indices = cluster_kernels(almost, 20)
    assert len(centroids) < 20  # k-means finds no more in rounded distances
    np.testing.assert_allclose(centroids[indices], almost, rtol=1e-4)
    tiny, _ = cluster_kernels(np.float32(1e-30) * kernels, 2)
    np.testing.assert_allclose(tiny, np.float32(1e-30) * cluster_kernels(kernels, 2)[0], rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_layer_that_keeps_all_kernels_is_bit_identical(groups):
    weight = convolution(inputs=6, groups=groups).weight.detach().numpy()
    tensor = share_kernels(weight, groups, np.full(6, 12 // groups))
    assert (tensor.weights() == weight).all()
    assert len(tensor.parts()["indices"]) == 0


def test_removed_channels_are_zeros_and_whole_channels_unchanged():
    layer = convolution()
    weight, tensor = layer.weight.detach().numpy(), shared(layer)
    found = tensor.weights()
    assert {0, 12} < set(tensor.sizes.tolist())
    for channel, size in enumerate(tensor.sizes):
        if size in (0, 12):
            assert (found[:, channel] == (weight[:, channel] if size else 0)).all()
        assert len(np.unique(found[:, channel].reshape(12, -1), axis=0)) == max(size, 1)


def test_permuted_filters_and_channels_permute_the_weight():
    layer, rng = convolution(filters=16, inputs=20), np.random.default_rng(0)
    filters, channels = torch.from_numpy(rng.permutation(16)), torch.from_numpy(rng.permutation(20))
    permuted = copy.deepcopy(layer)
    permuted.weight.data = layer.weight.data[filters][:, channels]
    before, after = shared(layer), shared(permuted)
    assert set(before.sizes.tolist()) == {0, 4, 8, 16}
    assert (after.weights() == before.weights()[filters][:, channels]).all()
    assert (after.sizes == before.sizes[channels]).all()


# --- The file -------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2])
def test_a_tensor_is_read_back_exactly(groups):
    for granularity, rate in GRID:
        tensor = shared(convolution(14, 8, groups, seed=rate), granularity, rate)
        parts = tensor.parts()
        again = from_form(json.loads(json.dumps(tensor.form())), parts)
        assert isinstance(again, KernelWeights)
        assert (again.weights() == tensor.weights()).all()
        assert sum(part.nbytes for part in parts.values()) == tensor.bytes


def test_the_bits_of_the_indices_are_exact():
    sizes = np.array([0, 1, 2, 3, 4, 5, 8, 9, 12], dtype=np.uint16)
    wanted = [0, 0, 1, 2, 2, 3, 3, 4, 0]
    assert index_bits(sizes, 12).tolist() == wanted
    rng = np.random.default_rng(0)
    indices = np.array([rng.integers(0, max(size, 1), 12) for size in sizes], dtype=np.uint16)
    indices[-1] = np.arange(12)
    codebook = rng.standard_normal((int(sizes.sum()), 9)).astype(np.float32)
    tensor = KernelWeights((12, 9, 3, 3), 1, sizes, codebook, indices)
    text = "".join(
        format(index, f"0{bits}b")
        for row, bits in zip(indices.tolist(), wanted, strict=True)
        for index in (row if bits else ())
    )
    text = text.ljust(-(-len(text) // 8) * 8, "0")
    packed = [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]
    assert tensor.parts()["indices"].tolist() == packed
    assert (KernelWeights.from_parts(tensor.shape, 1, tensor.parts()).indices == indices).all()
    for channel, size in enumerate(sizes):
        start = sizes[:channel].sum()
        for filter_ in range(12):
            row = codebook[start + indices[channel, filter_]] if size else np.zeros(9)
            assert (tensor.weights()[filter_, channel].reshape(-1) == row).all()


def test_a_higher_rate_is_never_larger():
    for seed in range(3):
        layer = convolution(24, 16, seed=seed)
        sizes = [[shared(layer, granularity, rate).bytes for rate in range(6)]
                 for granularity in (3, 4, 8)]  # fmt: skip
        for row in sizes:
            assert row == sorted(row, reverse=True)
            assert row[-1] < row[0] < layer.weight.nbytes


# --- The stage ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    network = build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=1).eval()
    images = load_images("digits", "train", None).of_classes(("3", "8"), "digits")
    return TrainedNetwork(network, CARD, Images(images.pixels[::3], images.labels[::3]))


@pytest.fixture(scope="module")
def content(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("kernels") / "whole.packed"
    make_kernel_clustered(trained, DeploymentSettings(kernel_epochs=1), path)
    return path.read_bytes()


@pytest.fixture
def file(content, tmp_path):
    path = tmp_path / "a.packed"
    path.write_bytes(content)
    return path


def test_the_file_computes_what_the_trained_network_computes(
    trained, content, tmp_path, monkeypatch
):
    kept, before = {}, copy.deepcopy(trained.network.state_dict())
    pixels = normalise(torch.from_numpy(trained.train.pixels), CARD)
    measure = kernel_clustered.estimate_norms_for_stage

    def watched(network, *others):
        measure(network, *others)
        with torch.no_grad():
            kept["logits"] = network(pixels)

    monkeypatch.setattr(kernel_clustered, "estimate_norms_for_stage", watched)
    path = tmp_path / "b.packed"
    details = make_kernel_clustered(trained, DeploymentSettings(kernel_epochs=1), path).details
    first, again = load(content), load(path.read_bytes())
    assert all(torch.equal(again[name], value) for name, value in first.items())
    assert all(
        torch.equal(trained.network.state_dict()[name], value) for name, value in before.items()
    )
    with torch.inference_mode():
        torch.testing.assert_close(load_packed(path)(pixels), kept["logits"], rtol=0, atol=0)
    assert len(details["losses"]) == 1
    assert details["bytes"] == path.stat().st_size == len(content)
    state = read_packed(path)
    for row in details["layers"]:
        kernels = state[f"{row['name']}.weight"].flatten(2).transpose(0, 1)
        found = [len(channel.unique(dim=0)) for channel in kernels]
        zeros = sum(not channel.any() for channel in kernels)
        assert row["channels"]["removed"] == zeros >= 1
        assert row["channels"]["whole"] == sum(size == kernels.shape[1] for size in found) >= 1
        assert sum(row["channels"].values()) == len(kernels)
        assert row["stored"] == sum(found) - zeros
        moved = (state[f"{row['name']}.weight"] - before[f"{row['name']}.weight"]).abs()
        assert 0 < moved.max() < 1
    assert [(row["name"], row["reason"].split(":")[0]) for row in details["left_alone"]] == [
        ("features.0", "reads the image"),
        ("features.23", "is a 1 x 1 convolution"),
        ("features.26", "is a 1 x 1 convolution"),
    ]


def test_the_gradient_of_a_centroid_is_the_sum_over_its_filters():
    layer = convolution()
    tensor = shared(layer)
    given = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(1))
    put_kernels(layer, tensor)
    torch.autograd.backward((layer.weight * given).sum())
    found = layer.parametrizations.weight.original.grad
    wanted = torch.zeros(len(tensor.codebook) + 1, 9)
    wanted.index_add_(0, torch.from_numpy(tensor.rows().T.reshape(-1)), given.reshape(-1, 9))
    torch.testing.assert_close(found, wanted[:-1])
    same = fix_kernels(layer, tensor)
    assert (same.codebook == tensor.codebook).all()
    assert (layer.weight.detach().numpy() == tensor.weights()).all()


class Mixed(nn.Module):
    """Layers of every kind that share no kernels, one that does and has two names, and one more."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.head = nn.Linear(4, 2)
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.pointwise = nn.Conv2d(4, 4, 1)
        self.up = nn.ConvTranspose2d(4, 4, 3, padding=1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.again = self.shared
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)

    def forward(self, images):
        maps = self.depthwise(self.first(images))
        maps = self.up(self.again(self.shared(self.pointwise(maps))))
        return self.head(self.grouped(maps).mean(dim=(2, 3)))


def test_layers_that_share_nothing_are_named_with_the_reason():
    reasons = left_alone(Mixed(), CARD)
    assert {name: reason.split(":")[0] for name, reason in reasons.items()} == {
        "first": "reads the image",
        "depthwise": "is a depthwise convolution",
        "pointwise": "is a 1 x 1 convolution",
        "up": "is a transposed convolution",
        "head": "is a linear layer",
    }


def test_a_layer_with_two_names_and_a_layer_of_equal_channels(trained, tmp_path):
    network = Mixed().eval()
    network.grouped.weight.data[:] = network.grouped.weight.data[:, :1]
    network.grouped.weight.data[2:] = network.grouped.weight.data[:2]
    path = tmp_path / "a.packed"
    report = make_kernel_clustered(
        replace(trained, network=network), DeploymentSettings(kernel_epochs=1), path
    )
    assert [row["name"] for row in report.details["layers"]] == ["shared", "again"]
    assert report.details["left_alone"][-1] == {
        "name": "grouped", "reason": "would not get smaller",
    }  # fmt: skip
    state = read_packed(path)
    assert torch.equal(state["shared.weight"], state["again.weight"])


def test_a_network_without_kernels_is_one_line(trained, tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(SettingsError, match=r"no convolution whose kernels .*--stages clustered"):
        make_kernel_clustered(
            replace(trained, network=network), DeploymentSettings(), tmp_path / "a.packed"
        )
    assert not list(tmp_path.iterdir())


# --- Damaged files --------------------------------------------------------------------------


def changed(part, function):
    def change(tensors, form):
        tensors[f"{LAYER}:{part}"] = function(tensors[f"{LAYER}:{part}"])

    return change


def formed(**values):
    return lambda tensors, form: form.update(values)


def with_first(value):
    def function(tensor):
        tensor = tensor.clone()
        tensor[0] = value
        return tensor

    return function


DAMAGES = {
    "an index too few": (changed("indices", lambda t: t[:-1]), "indices have"),
    "an index too large": (changed("indices", lambda t: t | 255), "holds an index above"),
    "indices of floats": (changed("indices", lambda t: t.float()), "its indices are float32"),
    "a size too few": (changed("sizes", lambda t: t[:-1]), "sizes for 6 input channels"),
    "a size above all": (changed("sizes", with_first(7)), "stores at most 7 of 6"),
    "all sizes 0": (changed("sizes", torch.zeros_like), "stores at most 0 of 6"),
    "sizes in bytes": (changed("sizes", lambda t: t.to(torch.uint8)), "its sizes are uint8"),
    "a kernel too few": (changed("codebook", lambda t: t[1:]), "its codebook has shape"),
    "kernels of 8": (changed("codebook", lambda t: t[:, 1:]), "its codebook has shape"),
    "a kernel NaN": (changed("codebook", with_first(float("nan"))), "codebook hold NaN"),
    "no codebook": (lambda t, form: t.pop(f"{LAYER}:codebook"), "codebook' is missing"),
    "no groups": (lambda t, form: form.pop("groups"), "has no 'groups'"),
    "groups 0": (formed(groups=0), "groups is 0"),
    "groups of text": (formed(groups="1"), "groups is '1'"),
    "groups 4": (formed(groups=4), "has 4 groups and the shape"),
    "two axes": (formed(shape=[6, 54]), "has 1 groups and the shape"),
    "many filters": (formed(shape=[2**31, 6, 3, 3]), "stores at most 6 of 2147483648"),
    "many channels": (formed(shape=[6, 2**31, 3, 3]), "sizes for 2147483648 input"),
    "large kernels": (formed(shape=[6, 6, 2**31, 2**31]), "its codebook has shape"),
    "another network": (formed(shape=[6, 6, 9, 1]), "does not fit the network"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_file_is_one_line(file, case):
    change, said = DAMAGES[case]
    rewrite(file, lambda tensors, forms, *_: change(tensors, forms[LAYER]))
    tracemalloc.start()
    with pytest.raises(WeightsError) as caught:
        load_packed(file)
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()
    (line,) = caught.value.problems
    assert line.startswith(f"{file}: ")
    assert said in line


def test_a_tensor_may_not_be_much_larger_than_its_file():
    """Removed channels cost two bytes each, so their number is bounded."""
    sizes = np.zeros(5000, dtype=np.uint16)
    sizes[0] = 8
    parts = {
        "sizes": sizes, "codebook": np.ones((8, 9), np.float32), "indices": np.zeros(0, np.uint8),
    }  # fmt: skip
    with pytest.raises(ValueError, match="5000 input channels, more than 2048"):
        KernelWeights.from_parts((8, 5000, 3, 3), 1, parts)
    assert KernelWeights.from_parts((8, 2048, 3, 3), 1, {**parts, "sizes": sizes[:2048]})
