"""The stage int8: its grids, its operators, and networks that are hard for it."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images, load_images
from workbench.deployment import onnx_files
from workbench.deployment.file_evaluation import evaluate_file
from workbench.deployment.network_files import open_network, torch_run
from workbench.deployment.onnx_files import open_session, write_onnx
from workbench.deployment.quantisation import int8
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import TrainedNetwork
from workbench.models.networks import build_network
from workbench.models.processor import resolve_processor
from workbench.models.weight_files import Card
from workbench.training.evaluation import evaluate
from workbench.training.loop import fit
from workbench.training.plans import training_plan

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

DIGITS = SOURCES["digits"]
CLASSES = ("3", "8")
CPU = resolve_processor("cpu", "fp32")
#: The data set for networks that take colours.
COLOUR = SOURCES["cifar10"]


@pytest.fixture(scope="module")
def digits():
    return tuple(
        load_images("digits", split, None).of_classes(CLASSES, "digits")
        for split in ("train", "test")
    )


@pytest.fixture(scope="module")
def trained(digits):
    """A simplecnn that tells 3 from 8."""
    network = build_network("simplecnn", DIGITS.shape, 2, seed=1)
    plan = training_plan("simplecnn", DIGITS, "one-cycle", epochs=4, batch_size=64)
    fit(network, digits[0], DIGITS, plan, seed=0, processor=CPU)
    return TrainedNetwork(network.eval(), Card.of("simplecnn", DIGITS, CLASSES), digits[0])


@pytest.fixture(scope="module")
def made(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "network.onnx"
    report = int8.make_int8(trained, DeploymentSettings(), path)
    return path, report


def quantise(network, images, card, path, **options):
    trained = TrainedNetwork(network.eval(), card, images)
    return int8.make_int8(trained, DeploymentSettings(**options), path)


def colour_images(count=24, size=32):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    return Images(pixels, np.arange(count) % 2)


def agreement(path, network, images, card):
    """Largest difference of the logits, as a share of the largest logit."""
    pixels = np.ascontiguousarray(normalise(torch.from_numpy(images.pixels), card).numpy())
    wanted, found = torch_run(network)(pixels), open_network(path).run(pixels)
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def test_the_file_is_int8_and_as_accurate(made, trained, digits):
    path, report = made
    model = onnx.load(path)
    kinds = {each.name: each.data_type for each in model.graph.initializer}
    weights = [name for name in kinds if name.endswith("weight_quantized")]
    assert len(weights) == 9  # eight convolutions and the classifier
    assert {kinds[name] for name in weights} == {onnx.TensorProto.INT8}
    assert path.stat().st_size < 0.3 * sum(t.nbytes for t in trained.network.state_dict().values())
    found = evaluate_file(open_network(path).run, digits[1], trained.card, path)
    plain = evaluate(trained.network, digits[1], DIGITS, CPU)
    assert abs(found.hits - plain.hits) <= 1
    assert report.left_float == ("ReduceMean (1)",)
    assert report.details["calibration_images"] == 256
    assert report.details["weight_bits"] in (7, 8)


def test_the_input_the_first_and_the_last_layer_are_quantised(made):
    model = onnx.load(made[0])
    (first,) = [node for node in model.graph.node if "images" in node.input]
    assert first.op_type == "QuantizeLinear"
    by_output = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            assert {by_output[name].op_type for name in node.input[:2]} == {"DequantizeLinear"}


def test_weights_are_within_half_a_step_of_their_grid(made, trained, tmp_path):
    """|w - S q| <= S / 2 for every weight, one scale for each filter, zero point 0."""
    write_onnx(trained.network, trained.card, tmp_path / "plain.onnx")
    plain = {
        each.name: onnx.numpy_helper.to_array(each)
        for each in onnx.load(tmp_path / "plain.onnx").graph.initializer
    }
    stored = {
        each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(made[0]).graph.initializer
    }
    compared = 0
    for name, weights in plain.items():
        if f"{name}_quantized" not in stored or not name.endswith("weight"):
            continue
        codes, scale = stored[f"{name}_quantized"], stored[f"{name}_scale"]
        assert not stored[f"{name}_zero_point"].any()
        assert scale.shape == (len(weights),)
        step = scale.reshape(-1, *(1,) * (weights.ndim - 1))
        assert (np.abs(weights - codes * step) <= 0.501 * step).all()
        assert codes.min() >= -127
        compared += 1
    assert compared == 9


def test_x86_has_unsigned_and_arm_signed_symmetric_activations(made, trained, tmp_path):
    int8.make_int8(trained, DeploymentSettings(int8_for="arm"), tmp_path / "arm.onnx")
    for path, kind, symmetric in ((made[0], "UINT8", False), (tmp_path / "arm.onnx", "INT8", True)):
        model = onnx.load(path)
        stored = {each.name: each for each in model.graph.initializer}
        zeros = [
            onnx.numpy_helper.to_array(stored[node.input[2]])
            for node in model.graph.node
            if node.op_type == "QuantizeLinear"
        ]
        assert {onnx.helper.np_dtype_to_tensor_dtype(zero.dtype) for zero in zeros} == {
            getattr(onnx.TensorProto, kind)
        }
        assert symmetric == (not any(zero.any() for zero in zeros))


def test_the_same_network_gives_the_same_file(made, trained, tmp_path):
    int8.make_int8(trained, DeploymentSettings(), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == made[0].read_bytes()


def test_the_file_has_the_networks_card(made, trained):
    assert open_network(made[0]).card == trained.card


def test_the_kept_graph_gets_the_weights_of_the_next_network(trained, tmp_path):
    """Tracing again, and putting weights into the last graph, give the same file."""
    other = TrainedNetwork(
        build_network("simplecnn", DIGITS.shape, 2, seed=7).eval(), trained.card, trained.train
    )
    write_onnx(trained.network, trained.card, tmp_path / "first.onnx")
    write_onnx(other.network, trained.card, tmp_path / "reused.onnx")
    onnx_files._LAST_GRAPH.clear()
    write_onnx(other.network, trained.card, tmp_path / "traced.onnx")
    pixels = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    first, reused, traced = (
        open_session(tmp_path / f"{name}.onnx").run(None, {"images": pixels})[0]
        for name in ("first", "reused", "traced")
    )
    np.testing.assert_array_equal(reused, traced)
    assert not np.allclose(first, reused)


class TwoNames(nn.Module):
    """Two layers that share one weight: the graph has it once."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
        self.second.weight = self.first.weight
        self.classifier = nn.Linear(64, 2)

    def forward(self, images):
        return self.classifier(self.second(torch.relu(self.first(images.flatten(1)))))


@pytest.mark.slow
def test_shared_weights_are_traced_each_time(tmp_path):
    card = Card.of("shared", DIGITS, CLASSES)
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = TwoNames().eval()
        write_onnx(network, card, tmp_path / f"{seed}.onnx")
        pixels = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
        found = open_session(tmp_path / f"{seed}.onnx").run(None, {"images": pixels})[0]
        np.testing.assert_allclose(found, torch_run(network)(pixels), atol=1e-5)


class Hard(nn.Module):
    """Activations that are constant, and a weight that is a thousand times the others."""

    def __init__(self, outlier=False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)
        with torch.no_grad():
            self.first.weight[0] = 0
            self.first.bias[0] = 1.0  # a constant channel
            self.first.weight[1] = 0
            self.first.bias[1] = -1.0  # a dead one
            if outlier:
                self.first.weight[2, 0, 0, 0] *= 1000

    def forward(self, images):
        return self.last(torch.relu(self.first(images)).mean((2, 3)))


@pytest.mark.parametrize("outlier", [False, True])
def test_a_constant_channel_and_an_outlier(outlier, digits, tmp_path):
    network, card = Hard(outlier).eval(), Card.of("hard", DIGITS, CLASSES)
    quantise(network, digits[0], card, tmp_path / "hard.onnx")
    onnx_files._LAST_GRAPH.clear()
    assert agreement(tmp_path / "hard.onnx", network, digits[1], card) < 0.05


def test_two_calibration_images_are_enough_to_run(trained, digits, tmp_path):
    few = Images(digits[0].pixels[:2], digits[0].labels[:2])
    report = quantise(trained.network, few, trained.card, tmp_path / "few.onnx")
    assert report.details["calibration_images"] == 2
    found = evaluate_file(open_network(tmp_path / "few.onnx").run, digits[1], trained.card, "few")
    assert found.hits > len(digits[1]) / 2


class Mlp(nn.Module):
    """A transformer's block without attention: tokens, layer norm, GELU and a skip connection."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.norm = nn.Linear(8, 16), nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 16)
        self.classifier = nn.Linear(16, 2)

    def forward(self, images):
        tokens = self.tokens(images[:, 0])
        tokens = tokens + self.down(nn.functional.gelu(self.up(self.norm(tokens))))
        return self.classifier(tokens.mean(1))


def test_a_transformers_mlp(digits, tmp_path):
    network, card = Mlp().eval(), Card.of("mlp", DIGITS, CLASSES)
    report = quantise(network, digits[0], card, tmp_path / "mlp.onnx")
    assert agreement(tmp_path / "mlp.onnx", network, digits[1], card) < 0.15
    assert any("Norm" in each or "Gelu" in each for each in report.left_float)


class Unusual(nn.Module):
    """A depthwise convolution, SiLU, squeeze-and-excitation and a skip connection."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.classifier = nn.Linear(16, 2)

    def forward(self, images):
        stem = nn.functional.silu(self.norm(self.stem(images)))
        deep = nn.functional.silu(self.deep(stem))
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(deep.mean((2, 3), True)))))
        return self.classifier((stem + deep * scale).mean((2, 3)))


def test_unusual_layers(digits, tmp_path):
    network, card = Unusual().eval(), Card.of("unusual", DIGITS, CLASSES)
    quantise(network, digits[0], card, tmp_path / "network.onnx")
    assert agreement(tmp_path / "network.onnx", network, digits[1], card) < 0.1
    stored = {
        each.name: onnx.numpy_helper.to_array(each)
        for each in onnx.load(tmp_path / "network.onnx").graph.initializer
    }
    assert stored["deep.weight_quantized"].dtype == np.int8
    assert stored["deep.weight_scale"].shape == (16,)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("resnet56", 0.4),  # random weights: the errors of 55 layers add up
        ("torchvision:mobilenet_v3_small", 0.4),
        ("torchvision:efficientnet_b0", 0.6),
    ],
)
def test_whole_networks(model, limit, tmp_path):
    network = build_network(model, COLOUR.shape, 2, seed=0).eval()
    images, card = colour_images(), Card.of(model, COLOUR, ("cat", "dog"))
    quantise(network, images, card, tmp_path / "network.onnx")
    assert agreement(tmp_path / "network.onnx", network, images, card) < limit
    kinds = {each.data_type for each in onnx.load(tmp_path / "network.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 in kinds


def test_the_choice_has_the_smallest_error(made):
    _, report = made
    errors = report.details["relative_errors"]
    chosen = f"{report.details['ranges']}, {report.details['weight_bits']}-bit weights"
    assert errors[chosen] == min(errors.values())
    assert len(errors) == 4
    json.dumps(report.details)


@pytest.mark.slow
def test_a_quick_file_runs(trained, tmp_path):
    int8.write_quickly(trained, DeploymentSettings(), tmp_path / "quick.onnx")
    assert open_network(tmp_path / "quick.onnx").run(np.zeros((5, 1, 8, 8), "f4")).shape == (5, 2)
