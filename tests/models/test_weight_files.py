"""Weight files: read safely, fitted strictly, self-describing."""

import json
import tracemalloc
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

import workbench
from workbench.compression.narrow_networks import build_narrow
from workbench.data.catalog import SOURCES
from workbench.errors import WeightsError
from workbench.models.weight_files import Card, put_weights, read_card, read_weights

WIDTHS = (6, 6, 6, 8, 8, 8, 8, 8)
CARD = Card.of("simplecnn", SOURCES["digits"], ("3", "8"), WIDTHS)


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


def test_weights_that_are_not_numbers_are_rejected():
    state = dict(network().state_dict())
    state["features.0.weight"] = torch.full_like(state["features.0.weight"], float("nan"))
    with pytest.raises(WeightsError, match="NaN"):
        put_weights(network(), state, "file")


def test_a_file_without_a_card_says_so(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(WeightsError, match="was not written by the workbench"):
        workbench.load_network(tmp_path / "plain.safetensors")


WRONG_CARDS = {
    "no mapping": (lambda card: [card], "it is a list"),
    "a width too few": (lambda card: card | {"widths": [6] * 7}, "7 widths do not fit"),
    "a width too large": (lambda card: card | {"widths": [600] * 8}, "cannot have 600 filters"),
    "a width of 0": (lambda card: card | {"widths": [0] * 8}, "a width is 0"),
    "a million pixels": (
        lambda card: card | {"shape": [1, 10**6, 10**6]},
        "image shape is 1000000",
    ),
    "no square": (lambda card: card | {"shape": [1, 8, 9]}, "image shape is 1x8x9"),
    "two channels": (lambda card: card | {"shape": [2, 8, 8]}, "image shape is 2x8x8"),
    "no shape": (lambda card: card | {"shape": "118"}, "image shape is '118'"),
    "std 0": (lambda card: card | {"std": [0]}, "std is 0"),
    "std of another length": (lambda card: card | {"std": [1, 1]}, "std has 2 items, not 1"),
    "mean NaN": (lambda card: card | {"mean": [float("nan")]}, "holds NaN"),
    "mean infinite": (lambda card: card | {"mean": ["1e999"]}, "mean is '1e999'"),
    "white 0": (lambda card: card | {"white": 0}, "white is 0"),
    "one class": (lambda card: card | {"classes": ["3"]}, "classes has 1 items"),
    "a class that is no text": (lambda card: card | {"classes": [3, 8]}, "a class is 3"),
    "a long class": (lambda card: card | {"classes": ["3", "8" * 5000]}, "a class is '888"),
    "a huge card": (lambda card: card | {"classes": ["3" * 900] * 9999}, "longer than 1048576"),
    "no model": (lambda card: {k: v for k, v in card.items() if k != "model"}, "no 'model'"),
    "sparsity -1": (lambda card: card | {"sparsity": -1}, "sparsity is -1"),
}


def with_card(path, text):
    tensors = {name: value.contiguous() for name, value in network().state_dict().items()}
    save_file(tensors, path, {"workbench": text})
    return path


@pytest.mark.parametrize("case", WRONG_CARDS)
@pytest.mark.parametrize("command", ["export", "predict"])
def test_a_card_that_says_what_no_network_has_is_one_line(run_cli, tmp_path, case, command):
    change, said = WRONG_CARDS[case]
    text = json.dumps(change(asdict(CARD))).replace('"1e999"', "1e999")
    path = with_card(tmp_path / "net.safetensors", text)
    before = sorted(tmp_path.iterdir())
    tracemalloc.start()
    status, out, err = run_cli(command, path, *(["a.png"] if command == "predict" else []))
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()
    assert (status, out) == (2, ""), err
    (line,) = err.splitlines()
    assert line.startswith(f"workbench: {path}: ")
    assert said.replace("'1e999'", "inf") in line
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\ud800", "1" * 5000])
def test_a_card_that_is_no_json_is_one_line(run_cli, tmp_path, text):
    path = with_card(tmp_path / "net.safetensors", text.encode("utf-8", "replace").decode())
    status, out, err = run_cli("export", path)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert "its description of the network is not valid" in line
