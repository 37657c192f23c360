"""Weight files: read safely, fitted strictly, self-describing."""

import pytest
import torch
from safetensors.torch import save_file

import workbench
from workbench.compression.narrow_networks import build_narrow
from workbench.errors import WeightsError
from workbench.models.weight_files import Card, put_weights, read_card, read_weights

WIDTHS = (6, 6, 6, 8, 8, 8, 8, 8)
CARD = Card("simplecnn", "digits", ("3", "8"), (1, 8, 8), WIDTHS)


def network():
    return build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=4).eval()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.safetensors"
    tensors = {name: value.contiguous() for name, value in network().state_dict().items()}
    save_file(tensors, path, CARD.metadata())
    return path


def test_a_saved_network_is_built_again_from_its_file_alone(file):
    image = torch.randn(2, 1, 8, 8)
    assert torch.equal(workbench.load_network(file)(image), network()(image))
    assert read_card(file) == CARD


def test_half_precision_is_read_as_float32(tmp_path):
    save_file(
        {"w": torch.ones(2, dtype=torch.float16), "n": torch.tensor(3)}, tmp_path / "a.safetensors"
    )
    read = read_weights(tmp_path / "a.safetensors")
    assert (read["w"].dtype, read["n"].dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}])
def test_a_pt_file_with_a_state_dict_is_read(tmp_path, wrap):
    torch.save(wrap(network().state_dict()), tmp_path / "net.pt")
    assert read_weights(tmp_path / "net.pt").keys() == network().state_dict().keys()


def test_missing_step_counters_are_forgiven_nothing_else_is():
    state = dict(network().state_dict())
    del state["features.1.num_batches_tracked"]
    put_weights(network(), state, "file")
    del state["features.1.weight"]
    with pytest.raises(WeightsError, match=r"file: does not fit the network: 'features.1.weight'"):
        put_weights(network(), state, "file")


def test_misfits_are_counted_and_one_is_shown():
    state = {**network().state_dict(), "extra": torch.ones(1)}
    state["features.24.weight"] = torch.ones(5, 8, 1, 1)
    with pytest.raises(WeightsError, match=r"'extra' is not in the network and 1 more"):
        put_weights(network(), state, "file")


def test_weights_that_are_not_numbers_are_refused():
    state = dict(network().state_dict())
    state["features.0.weight"] = torch.full_like(state["features.0.weight"], float("nan"))
    with pytest.raises(WeightsError, match="NaN"):
        put_weights(network(), state, "file")


def test_a_file_without_a_card_says_so(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(WeightsError, match="was not written by the workbench"):
        workbench.load_network(tmp_path / "plain.safetensors")
