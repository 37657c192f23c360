"""Binary weights and activations: signs, scales, gradients, and the network of the file."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.narrow_networks import build_narrow
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import load_images
from workbench.deployment.quantisation import binary_training
from workbench.deployment.quantisation.binary_training import (
    Sign,
    SignedWeight,
    inner_layers,
    make_binary,
    put_binary,
)
from workbench.deployment.quantisation.packed_weights import load_packed, read_packed
from workbench.deployment.settings import BINARY, DeploymentSettings
from workbench.deployment.stage_types import TrainedNetwork
from workbench.errors import SettingsError
from workbench.models.weight_files import Card

WIDTHS = (6, 6, 6, 8, 8, 8, 8, 8)
CARD = Card.of("simplecnn", SOURCES["digits"], ("3", "8"), WIDTHS)


@pytest.fixture(scope="module")
def trained():
    network = build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=1).eval()
    images = load_images("digits", "train", None).of_classes(("3", "8"), "digits")
    return TrainedNetwork(network, CARD, images)


def test_the_sign_of_0_is_1_and_its_gradient_stops_outside_1():
    values = torch.tensor([-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
    signed = Sign.apply(values)
    assert signed.tolist() == [-1, -1, -1, 1, 1, 1, 1, 1]
    torch.autograd.backward((signed * torch.arange(8.0)).sum())
    assert values.grad.tolist() == [0, 1, 2, 3, 4, 5, 6, 0]


def test_alpha_is_the_least_squares_scale_of_each_filter():
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    found = SignedWeight(None)(weight)
    for number, filter_ in enumerate(weight.double().reshape(5, -1).numpy()):
        signs = np.where(filter_ >= 0, 1.0, -1.0)
        (alpha,), *_ = np.linalg.lstsq(signs[:, None], filter_, rcond=None)
        assert alpha == pytest.approx(filter_ @ signs / len(signs))
        assert found[number].reshape(-1).numpy() == pytest.approx(alpha * signs, rel=1e-5)


def test_the_gradient_of_a_scaled_filter():
    weight = torch.tensor([[0.5, -2.0, 0.25]], requires_grad=True)
    torch.autograd.backward((SignedWeight(None)(weight) * torch.tensor([[1.0, 2.0, 3.0]])).sum())
    signs, given, alpha = np.array([1, -1, 1]), np.array([1, 2, 3]), 2.75 / 3
    wanted = (signs @ given) / 3 * signs + alpha * given * np.array([1, 0, 1])
    assert weight.grad[0].numpy() == pytest.approx(wanted)
    weight.grad = None
    torch.autograd.backward((SignedWeight(0.5)(weight) * torch.tensor([[1.0, 2.0, 3.0]])).sum())
    assert weight.grad[0].tolist() == [0.5, 0, 1.5]


@pytest.mark.parametrize("kind", BINARY)
def test_the_file_computes_what_the_trained_network_computes(trained, tmp_path, monkeypatch, kind):
    kept, before = {}, copy.deepcopy(trained.network.state_dict())
    pixels = normalise(torch.from_numpy(trained.train.pixels), CARD)
    measure = binary_training.estimate_norms_for_stage

    def watched(network, *others):
        measure(network, *others)
        with torch.no_grad():
            kept["logits"] = network(pixels)
        kept["real"] = [
            part.original.detach().abs().max()
            for name, part in network.named_modules()
            if name.endswith("parametrizations.weight")
        ]

    monkeypatch.setattr(binary_training, "estimate_norms_for_stage", watched)
    path, settings = tmp_path / "a.packed", DeploymentSettings(binary=kind, binary_epochs=1)
    report = make_binary(trained, settings, path)
    assert all(
        torch.equal(trained.network.state_dict()[name], value) for name, value in before.items()
    )
    with torch.inference_mode():
        found = load_packed(path)(pixels)
    # An input on its threshold may round to either side.
    assert torch.isclose(found, kept["logits"], rtol=1e-3, atol=1e-3).float().mean() > 0.97
    assert max(kept["real"]) <= 1
    state, details = read_packed(path), report.details
    assert len(details["real_layers"]) == 2
    assert details["real_layers"][0] == "features.0"
    assert details["bytes"] == path.stat().st_size
    for name in details["binary_layers"]:
        rows = state[f"{name}.weight"].abs().flatten(1)
        assert (rows == rows[:, :1]).all()
        assert (len(rows[:, 0].unique()) > 1) == (kind == "xnor")
    make_binary(trained, settings, tmp_path / "b.packed")
    again = read_packed(tmp_path / "b.packed")
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_the_first_and_the_last_layer_that_run_stay_real():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(64, 2)
            self.middle = nn.Linear(64, 64)
            self.first = nn.Linear(64, 64)
            self.never = nn.Linear(64, 64)

        def forward(self, images):
            return self.last(self.middle(self.first(images.flatten(1))))

    network = Backwards()
    assert list(inner_layers(network, CARD)) == ["middle"]
    put_binary(inner_layers(network, CARD), "bnn")
    seen = []
    network.middle.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    network.train()(torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert set(seen[0].unique().tolist()) == {-1, 1}
    with pytest.raises(SettingsError, match="has 2 layer"):
        inner_layers(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 2)), CARD)
