"""Quantisation-aware fine-tuning: rounding, its gradients, and int8 files that compute the same."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images, load_images
from workbench.deployment.quantisation.fake_quantisation import (
    ActivationGrid,
    WeightGrid,
    fake_quantised,
    fix_grids,
    set_grids,
)
from workbench.deployment.quantisation.int8_qat import make_int8_qat
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import TrainedNetwork
from workbench.errors import SettingsError, TrainingError
from workbench.models.networks import build_network, place
from workbench.models.weight_files import Card, card_from

DIGITS = SOURCES["digits"]
CARD = Card.of("simplecnn", DIGITS, DIGITS.classes)


class Gated(nn.Module):
    """A depthwise block with SiLU, squeeze-and-excitation and a shortcut, as in EfficientNet."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8))
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.before = nn.BatchNorm2d(8)  # follows a sum: it cannot be folded
        self.last = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x):
        x = nn.functional.silu(self.stem(x))
        y = nn.functional.silu(self.deep(x))
        gate = self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True))))
        x = self.before(x + y * torch.sigmoid(gate))
        return self.head(nn.functional.max_pool2d(torch.relu(self.last(x)), 2).flatten(1))


@pytest.fixture(scope="module")
def digits():
    images = load_images("digits", "train", None)
    return Images(images.pixels[:192], images.labels[:192])


@pytest.fixture(scope="module")
def gated(digits):
    """With statistics of real images in its batch norms."""
    torch.manual_seed(0)
    network = Gated().train()
    with torch.no_grad():
        for _ in range(20):
            network(inputs(digits))
    return network.eval()


def inputs(images, count=64):
    return normalise(torch.from_numpy(images.pixels[:count]), CARD)


def grids(network, kind=ActivationGrid):
    return [part for part in network.modules() if isinstance(part, kind)]


def test_values_on_the_grid_are_exact_and_others_move_by_half_a_step():
    grid = ActivationGrid(signed=False)
    values = torch.linspace(-1, 3, 1001)
    grid(values)
    set_grids(grid, measures=False, rounds=True)
    scale, zero, *_ = grid.grid()
    assert (grid(values) - values).abs().max() <= scale / 2 + 1e-6
    codes = (torch.arange(256) - zero) * scale
    torch.testing.assert_close(grid(codes), codes, rtol=0, atol=1e-6)
    assert grid(torch.zeros(1)) == 0


def test_the_gradient_passes_inside_the_range_and_not_outside():
    grid = ActivationGrid(signed=False)
    grid(torch.tensor([0.0, 1.0]))
    set_grids(grid, measures=False, rounds=True)
    values = torch.tensor([-0.5, 0.1, 0.9, 1.5], requires_grad=True)
    grid(values).sum().backward()
    assert values.grad.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("batch", [torch.zeros(3), torch.tensor([]).new_zeros(1)])
@pytest.mark.parametrize("signed", [False, True])
def test_a_tensor_of_zeros_has_a_grid(batch, signed):
    grid = ActivationGrid(signed)
    grid(batch)
    set_grids(grid, measures=False, rounds=True)
    assert grid(batch).tolist() == batch.tolist()


def test_a_range_is_the_mean_of_the_first_batches_and_contains_zero():
    grid = ActivationGrid(signed=False)
    for high in (2.0, 4.0):
        grid(torch.tensor([1.0, high]))
    assert (grid.low, grid.high) == (0, 3)


@pytest.mark.parametrize("limit", [64, 127])
def test_each_filter_has_its_own_scale(limit):
    weight = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[1] *= 1000
    weight[2] = 0
    grid = WeightGrid(limit)
    assert torch.equal(grid(weight), weight)
    grid.rounds = True
    found, scales = grid(weight), grid.scales(weight)
    assert scales[2] == 1
    assert not found[2].any()
    error = (found - weight).abs().flatten(1).amax(1)
    assert (error <= scales / 2 * 1.001).all()
    assert (found / scales.view(-1, 1, 1, 1)).abs().max().round() == limit


def test_a_network_without_rounding_is_the_same_network(gated, digits):
    images = inputs(digits)
    found = fake_quantised(gated, images[:2], signed=False)
    with torch.no_grad():
        wanted = gated(images)
        torch.testing.assert_close(found(images), wanted, rtol=1e-5, atol=1e-5)
        set_grids(found, measures=False, rounds=True)
        assert not torch.allclose(found(images), wanted, rtol=1e-5, atol=1e-5)
    norms = [node for node in found.graph.nodes if "batch_norm" in str(node.target)]
    assert len(norms) == 1
    assert not any("silu" in str(node.target) for node in found.graph.nodes)


def test_pooled_values_keep_the_grid_of_their_input_and_logits_have_none(gated, digits):
    found = fake_quantised(gated, inputs(digits)[:2], signed=False)
    calls = [node for node in found.graph.nodes if node.op == "call_module"]
    names = [node.target for node in calls]
    (shared,) = {name for name in names if names.count(name) > 1}
    kinds = [str(node.args[0].target) for node in calls if node.target == shared]
    assert [kind.split(".")[1] for kind in kinds] == ["relu", "_unsafe_view"]
    (end,) = found.graph.find_nodes(op="output")
    assert "linear" in str(end.all_input_nodes[0].target)


def test_fixed_grids_do_not_move(gated, digits):
    found = fake_quantised(gated, inputs(digits)[:2], signed=False)
    with torch.no_grad():
        found(inputs(digits))
        fix_grids(found)
        before = [grid.grid() for grid in grids(found)]
        found(100 * inputs(digits))
        scales = [grid.scales(torch.ones(1)) for grid in grids(found, WeightGrid)]
    assert [grid.grid() for grid in grids(found)] == before
    assert all(torch.equal(scale, grid.fixed) for scale, grid in zip(
        scales, grids(found, WeightGrid), strict=True))  # fmt: skip


def all_int8(report):
    """Whether no convolution and no linear layer computes in float32."""
    weighted = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
    return not {name.split()[0] for name in report.left_float}.intersection(weighted)


def runtime_of(path):
    return pytest.importorskip("onnxruntime").InferenceSession(path)


@pytest.mark.parametrize("processor", ["x86", pytest.param("arm", marks=pytest.mark.slow)])
def test_a_file_computes_what_the_rounded_network_computes(gated, digits, tmp_path, processor):
    onnx = pytest.importorskip("onnx")
    before = {name: value.clone() for name, value in gated.state_dict().items()}
    path = tmp_path / "a.onnx"
    settings = DeploymentSettings(qat_epochs=3, int8_for=processor)
    report = make_int8_qat(TrainedNetwork(gated, CARD, digits), settings, path)
    assert report.details["difference"] < 0.02
    assert report.details["losses"][-1] < report.details["losses"][0]
    assert all_int8(report)
    assert "BatchNormalization (1)" in report.left_float
    session = runtime_of(path)
    assert card_from(path, session.get_modelmeta().custom_metadata_map["workbench"]) == CARD
    for count in (1, 5):
        (logits,) = session.run(["logits"], {"images": inputs(digits, count).numpy()})
        assert logits.shape == (count, 10)
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in
                 onnx.load(path).graph.initializer}  # fmt: skip
    weights = [value for value in constants.values() if value.ndim == 4]
    limit = 64 if processor == "x86" else 127
    assert [value.dtype.name for value in weights] == ["int8"] * 5
    assert all(np.abs(value.astype(int)).max() == limit for value in weights)
    assert all(torch.equal(gated.state_dict()[name], value) for name, value in before.items())


@pytest.mark.slow
def test_the_same_network_gives_the_same_file(gated, digits, tmp_path):
    pytest.importorskip("onnxruntime")
    logits = []
    for name in ("a.onnx", "b.onnx"):
        torch.manual_seed(len(logits))
        state = torch.get_rng_state()
        make_int8_qat(
            TrainedNetwork(gated, CARD, digits), DeploymentSettings(qat_epochs=1), tmp_path / name
        )
        assert torch.equal(torch.get_rng_state(), state)
        session = runtime_of(tmp_path / name)
        logits.append(session.run(["logits"], {"images": inputs(digits).numpy()})[0])
    assert np.array_equal(*logits)


def test_a_loss_that_is_not_finite_is_an_error(digits, tmp_path):
    pytest.importorskip("onnxruntime")
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.constant_(network[1].bias, float("nan"))
    with pytest.raises(TrainingError, match="use the stage int8"):
        make_int8_qat(
            TrainedNetwork(network.eval(), CARD, digits), DeploymentSettings(), tmp_path / "a.onnx"
        )


def test_a_missing_library_is_named_before_the_training(gated, digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(SettingsError, match=r"pip install 'pfa-workbench\[onnx\]'"):
        make_int8_qat(TrainedNetwork(gated, CARD, digits), DeploymentSettings(), tmp_path / "a")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["torchvision:mobilenet_v3_small", "resnet56"])
def test_all_convolutions_of_known_networks_are_int8(model, digits, tmp_path):
    pytest.importorskip("onnxruntime")
    network = build_network(model, (3, 32, 32), 10).train()
    pixels = np.kron(digits.pixels, np.ones((1, 3, 4, 4), np.uint8))
    card = replace(CARD, shape=(3, 32, 32), mean=DIGITS.mean * 3, std=DIGITS.std * 3)
    with torch.no_grad():
        for _ in range(20):
            network(normalise(torch.from_numpy(pixels[:64]), card))
    trained = TrainedNetwork(
        place(network.eval(), torch.device("cpu")), card, Images(pixels, digits.labels)
    )
    report = make_int8_qat(trained, DeploymentSettings(qat_epochs=1), tmp_path / "a.onnx")
    assert all_int8(report)
    assert report.details["difference"] < 0.1
