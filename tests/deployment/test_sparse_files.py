"""Sparse and binary tensors: decoded bit by bit, as large as they say, checked when damaged."""

import numpy as np
import pytest
import torch
from packed_files import rewrite
from torch import nn

from workbench.compression.narrow_networks import build_narrow
from workbench.data.catalog import SOURCES
from workbench.deployment.quantisation.binary_inputs import binarise_inputs
from workbench.deployment.quantisation.binary_tensors import BinaryWeights
from workbench.deployment.quantisation.packed_weights import (
    load_packed,
    packed_size,
    read_packed,
    write_packed,
)
from workbench.deployment.quantisation.sparse_tensors import SparseWeights
from workbench.errors import WeightsError
from workbench.models.weight_files import Card

WIDTHS = (6, 6, 6, 8, 8, 8, 8, 8)
CARD = Card.of("simplecnn", SOURCES["digits"], ("3", "8"), WIDTHS)
SPARSE, BINARY = "features.0.weight", "features.3.weight"


def with_zeros(shape, share, seed=0):
    drawing = np.random.default_rng(seed)
    weights = drawing.standard_normal(shape).astype(np.float32)
    weights[drawing.random(shape) < share] = 0
    return weights


def decoded(values, gaps, size):
    """Slow transcription of the format."""
    flat, place = [], 0
    for value, gap in zip(values.tolist(), gaps.tolist(), strict=True):
        flat += [0.0] * gap + [value]
        place += gap + 1
    return np.array(flat + [0.0] * (size - place), dtype=np.float32)


@pytest.mark.parametrize(
    "weights",
    [
        with_zeros((7, 3, 3, 3), 0.9),
        with_zeros((40, 100), 0.999, 1),
        with_zeros((5, 5), 0),
        np.zeros((3, 1000), np.float32),
        np.zeros((1, 1), np.float32),
        np.float32([[0] * 255 + [1.5]]),
        np.float32([[0] * 256 + [1.5]]),
        np.float32([[0] * 255]),
        np.float32([[0] * 256]),
        np.float32([[2.5] + [0] * 600 + [-1e-40, 3e38]]),
    ],
    ids=[
        "90 %", "99.9 %", "dense", "zeros", "one zero", "a gap of 255", "a gap of 256",
        "255 at the end", "256 at the end", "extreme",
    ],
)  # fmt: skip
def test_sparse_weights_are_decoded_bit_by_bit(weights):
    tensor = SparseWeights.of(weights)
    assert (tensor.weights().view(np.int32) == weights.view(np.int32)).all()
    slow = decoded(tensor.values, tensor.gaps, weights.size)
    assert (slow == weights.reshape(-1)).all()
    again = SparseWeights.from_parts(weights.shape, tensor.parts())
    assert (again.weights() == weights).all()
    assert sum(part.nbytes for part in tensor.parts().values()) == tensor.bytes
    assert len(tensor.values) - np.count_nonzero(weights) <= weights.size // 256


def test_zeros_lose_their_sign():
    tensor = SparseWeights.of(np.float32([[-0.0, 1, -0.0]]))
    assert not np.signbit(tensor.weights()[0, [0, 2]]).any()


def test_binary_weights_are_one_bit_each():
    scales = np.float32([0.5, 0, 3])
    signs = np.random.default_rng(0).random(3 * 7) < 0.5
    tensor = BinaryWeights((3, 7), signs, scales, np.zeros(0, np.float32))
    slow = [
        [float(scale) if sign else -float(scale) for sign in row]
        for scale, row in zip(scales, signs.reshape(3, 7), strict=True)
    ]
    assert tensor.weights().tolist() == slow
    parts = tensor.parts()
    assert (parts["signs"].nbytes, parts["scales"].nbytes) == (3, 12)
    again = BinaryWeights.from_parts((3, 7), parts)
    assert (again.weights() == tensor.weights()).all()


@pytest.fixture
def file(tmp_path):
    network = build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=4).eval()
    first, second = (network.state_dict()[name] for name in (SPARSE, BINARY))
    sparse = SparseWeights.of(first.numpy() * (first.numpy() > 0.1))
    binary = BinaryWeights(
        tuple(second.shape),
        (second >= 0).reshape(-1).numpy(),
        np.full(len(second), 0.1, np.float32),
        np.linspace(-1, 1, second.shape[1], dtype=np.float32),
    )
    packed = {SPARSE: sparse, BINARY: binary}
    write_packed(tmp_path / "net.packed", CARD, network, packed)
    assert (tmp_path / "net.packed").stat().st_size == packed_size(CARD, network, packed)
    return tmp_path / "net.packed"


def test_a_loaded_network_reads_signs_where_the_file_says_so(file):
    loaded, wanted = load_packed(file), build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS)
    wanted.load_state_dict(read_packed(file))
    layer = wanted.get_submodule("features.3")
    kernel = layer.forward
    edges = torch.linspace(-1, 1, layer.in_channels)[:, None, None]
    layer.forward = lambda inputs: kernel((inputs >= edges).float() * 2 - 1)
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(loaded(images), wanted.eval()(images))
    assert loaded.state_dict().keys() == wanted.state_dict().keys()


def test_the_features_of_linear_layers_are_last():
    layer = nn.Linear(3, 1, bias=False)
    nn.init.ones_(layer.weight)
    binarise_inputs(layer, torch.tensor([0.0, 1.0, 2.0]))
    tokens = torch.tensor([[[0.0, 0.9, 5.0], [-1.0, 1.0, 2.0]]])
    assert layer(tokens).tolist() == [[[1], [1]]]
    assert layer(torch.tensor([[-0.0, 2.0, 3.0]])).tolist() == [[3]]


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        (f"{SPARSE}:gaps", lambda t: t[:-1], "values and"),
        (f"{SPARSE}:gaps", lambda t: t * 0 + 255, "its gaps cover"),
        (f"{SPARSE}:gaps", lambda t: t.float(), "its gaps are float32"),
        (f"{SPARSE}:values", lambda t: t * float("nan"), "values hold NaN"),
        (f"{SPARSE}:values", lambda t: t[None], "with 2 axes"),
        (f"{BINARY}:signs", lambda t: t[:-1], "signs do not have"),
        (f"{BINARY}:scales", lambda t: -t, "negative"),
        (f"{BINARY}:scales", lambda t: t[1:], "has 5 scales for 6 filters"),
        (f"{BINARY}:thresholds", lambda t: t[1:], "thresholds of 'features.3' do not fit"),
        (f"{BINARY}:thresholds", lambda t: t / 0, "thresholds hold NaN"),
    ],
)
def test_a_damaged_file_is_one_line(file, part, change, said):
    rewrite(file, lambda tensors, *_: tensors.update({part: change(tensors[part])}))
    with pytest.raises(WeightsError) as caught:
        load_packed(file)
    (line,) = caught.value.problems
    assert line.startswith(f"{file}: ")
    assert said in line


def test_a_short_file_cannot_ask_for_much_memory():
    empty = {"values": np.zeros(0, np.float32), "gaps": np.zeros(0, np.uint8)}
    with pytest.raises(ValueError, match="its gaps cover 0 of"):
        SparseWeights.from_parts((2**31, 2**31), empty)
