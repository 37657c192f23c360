"""Networks with exits: laws, their files, and the stage end to end on digits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from workbench.compression.costs.costs import count_costs
from workbench.compression.narrow_networks import build_narrow
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images, load_images
from workbench.deployment import multi_exit
from workbench.deployment.exit_network import (
    MultiExit,
    chain_of,
    channels_of,
    exit_places,
    load_exits,
    pooled,
    segments_of,
    spaced_places,
)
from workbench.deployment.multi_exit import check_exits, exit_costs, make_multi_exit
from workbench.deployment.network_files import open_network
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import TrainedNetwork
from workbench.errors import DataError, NetworkError, SettingsError, WeightsError
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.models.weight_files import Card, read_card, save_tensors
from workbench.store.mlflow_store import Store
from workbench.store.stored_results import REPORT_FILE
from workbench.training.loop import fit
from workbench.training.plans import Plan

DIGITS = SOURCES["digits"]
WIDTHS = (10, 10, 10, 16, 16, 16, 16, 16)
CARD = Card.of("simplecnn", DIGITS, DIGITS.classes, WIDTHS)
CIFAR = (3, 32, 32)


@pytest.fixture(scope="module")
def digits():
    train, test = (load_images("digits", split, None) for split in ("train", "test"))
    return train, test


@pytest.fixture(scope="module")
def network(digits):
    made = build_narrow("simplecnn", (1, 8, 8), 10, WIDTHS, seed=1)
    plan = Plan(3, "one-cycle", 1, 0.05, 64, 5e-4, augment=False)
    fit(made, digits[0], DIGITS, plan, seed=0, processor=Processor("cpu", "fp32", 1))
    return made.eval()


@pytest.fixture(scope="module")
def file(network, digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("exits") / "network.exits"
    trained = TrainedNetwork(network, CARD, digits[0])
    settings = DeploymentSettings(exit_epochs=10, exit_tolerance=3)
    return path, make_multi_exit(trained, settings, path)


@pytest.fixture
def inputs(digits):
    return normalise(torch.from_numpy(digits[1].pixels[:50]), CARD)


def with_thresholds(path, *thresholds):
    exits, network = load_exits(path)
    return MultiExit(list(exits.segments), list(exits.heads), thresholds).eval(), network


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("simplecnn", (1, 8, 8)),
        ("vgg16", CIFAR),
        ("resnet56", CIFAR),
        pytest.param("resnet34", CIFAR, marks=pytest.mark.slow),
    ],
)
def test_known_networks_are_chains(name, shape):
    network = build_network(name, shape, 4, seed=0).eval()
    chain = chain_of(network, shape)
    places, shares = exit_places(chain, shape, 3)
    assert not any(part.training for part in network.modules())
    assert shares == pytest.approx([0.25, 0.5, 0.75], abs=0.13)
    total = count_costs(network, shape).flops
    for place, share in zip(places, shares, strict=True):
        part = nn.Sequential(*chain[:place]).eval()
        assert count_costs(part, shape).flops == pytest.approx(share * total)
    channels = channels_of(segments_of(chain, places), shape)
    assert channels == sorted(channels)


class Branched(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(144, 10))

    def forward(self, x):
        return self.head(self.one(x) + self.two(x))


def test_a_network_that_is_no_chain_is_rejected():
    with pytest.raises(NetworkError, match="are not called one after the other") as told:
        chain_of(Branched().eval(), (1, 8, 8))
    assert len(told.value.problems) == 1


def test_places_are_the_nearest_ones():
    assert spaced_places([0.1, 0.24, 0.3, 0.5, 0.74, 0.9], 3) == [1, 3, 4]
    assert spaced_places([0.9, 0.95, 0.99], 3) == [0, 1, 2]
    assert spaced_places([0.01, 0.02, 0.9], 2) == [1, 2]
    assert spaced_places([0.3], 1) == [0]


def test_infinite_thresholds_leave_the_network_as_it_was(file, network, inputs):
    exits, loaded = with_thresholds(file[0], *[float("inf")] * 3)
    with torch.inference_mode():
        logits, at = exits.leave(inputs)
        assert torch.equal(logits, network(inputs))
        assert torch.equal(logits, loaded(inputs))
    assert (at == 3).all()


def test_a_threshold_that_nobody_reaches_changes_nothing(file, network, inputs):
    exits, _ = with_thresholds(file[0], 1.1, 1.1, 1.1)
    with torch.inference_mode():
        assert torch.equal(exits(inputs), network(inputs))


def test_zero_lets_every_image_leave_at_the_first_exit(file, inputs):
    exits, _ = with_thresholds(file[0], 0, 0, 0)
    with torch.inference_mode():
        logits, at = exits.leave(inputs)
        assert torch.equal(logits, exits.heads[0](pooled(exits.segments[0](inputs))))
    assert (at == 0).all()


def test_every_image_leaves_where_it_is_sure(file, inputs):
    """Image by image: the first exit whose probability reaches its threshold."""
    thresholds = (0.95, float("inf"), 0.9)
    exits, _ = with_thresholds(file[0], *thresholds)
    with torch.inference_mode():
        logits, at = exits.leave(inputs)
        for image in range(len(inputs)):
            features, wanted = inputs[image : image + 1], None
            for place, threshold in enumerate(thresholds):
                features = exits.segments[place](features)
                found = exits.heads[place](pooled(features))
                if found.softmax(1).max() >= threshold:
                    wanted = place, found
                    break
            place, found = wanted or (3, exits.segments[3](features))
            assert at[image] == place
            torch.testing.assert_close(logits[image], found[0], rtol=1e-4, atol=1e-4)
    assert {0, 2, 3} >= set(at.tolist())
    assert len(set(at.tolist())) == 3


def test_images_that_have_left_are_not_computed(file, inputs):
    exits, _ = with_thresholds(file[0], 0.95, 0.95, 0.9)
    seen = []
    for segment in exits.segments:
        segment.register_forward_hook(lambda m, i, out: seen.append(len(out)))
    with torch.inference_mode():
        at = exits.leave(inputs)[1]
    assert seen == [int((at >= place).sum()) for place in range(4)]
    assert 50 > seen[1] > seen[3] > 0


def test_the_timed_path_ends_at_its_exit(file, inputs):
    exits, network = with_thresholds(file[0], 0.5, 0.5, 0.5)
    with torch.inference_mode():
        assert torch.equal(exits.leave_at(inputs, 3), network(inputs))
        features = exits.segments[1](exits.segments[0](inputs))
        assert torch.equal(exits.leave_at(inputs, 1), exits.heads[1](pooled(features)))


def test_the_stage_trains_exits_and_keeps_the_network(file, network, digits):
    path, report = file
    details = report.details
    own = load_file(path)
    for name, value in network.state_dict().items():
        assert torch.equal(own[name], value)
    assert details["held_out"] == pytest.approx(0.2 * len(digits[0]), abs=5)
    assert details["held_out_flops"] < 0.95
    assert details["held_out_accuracy"] >= details["accuracies"][-1] - 0.03 - 1e-9
    assert sum(details["held_out_shares"]) == pytest.approx(1)
    assert all(0.3 < accuracy <= 1 for accuracy in details["accuracies"])
    assert details["accuracies"][0] < details["accuracies"][2]
    json.dumps(details)


def test_its_costs_on_images_are_those_of_its_exits(file, digits):
    path, _ = file
    found = exit_costs(path, None, digits[1])
    exits, network = load_exits(path)
    with torch.inference_mode():
        at = exits.leave(normalise(torch.from_numpy(digits[1].pixels), CARD))[1]
    shares = [found[f"exit_{number}_share"] for number in range(1, 5)]
    assert shares == pytest.approx((torch.bincount(at, minlength=4) / len(at)).tolist(), abs=0.01)
    assert 0.2 < found["flops_share"] < 1
    assert found["latency_share"] > 0
    assert found["latency_64_share"] > 0
    more = sum(value.numel() for value in exits.heads.parameters())
    assert found["parameters"] == count_costs(network, (1, 8, 8)).parameters + more


def test_the_same_network_gives_the_same_tensors(file, network, digits, tmp_path):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    settings = DeploymentSettings(exit_epochs=10, exit_tolerance=3)
    make_multi_exit(TrainedNetwork(network, CARD, digits[0]), settings, tmp_path / "two.exits")
    one, two = load_file(file[0]), load_file(tmp_path / "two.exits")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], value) for name, value in two.items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_budget_is_kept_on_held_out_images(network, digits, tmp_path):
    few = Images(digits[0].pixels[:400], digits[0].labels[:400])
    shares = []
    for budget in (0.42, 0.7):
        settings = DeploymentSettings(exits=2, exit_epochs=3, exit_flops=budget)
        report = make_multi_exit(TrainedNetwork(network, CARD, few), settings, tmp_path / "a.exits")
        assert report.details["held_out_flops"] <= budget
        shares.append(report.details["held_out_accuracy"])
    assert shares == sorted(shares)


def test_a_head_is_the_same_for_scaled_and_shifted_features():
    features = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    features[:, 4] = 3  # a channel that never changes
    labels = (features[:, 0] > 0).long()
    one, loss = multi_exit._trained_head(0, features, labels, 2, 60)
    moved = 7 * features + 2
    other, same = multi_exit._trained_head(0, moved, labels, 2, 60)
    assert loss == pytest.approx(same, rel=1e-3)
    torch.testing.assert_close(one(features), other(moved), rtol=1e-3, atol=1e-3)
    assert (one(features).argmax(1) == labels).float().mean() > 0.9


def test_what_cannot_be_is_reported_before_the_training(network):
    with pytest.raises(SettingsError, match="--exits 12: this network has 8 place"):
        check_exits(network, CARD, DeploymentSettings(exits=12))
    with pytest.raises(SettingsError, match=r"--exit-flops 0.1: the first exit costs 0\.") as told:
        check_exits(network, CARD, DeploymentSettings(exit_flops=0.1))
    least = float(re.search(r"costs (\S+) of", str(told.value))[1])
    check_exits(network, CARD, DeploymentSettings(exit_flops=least))


def test_too_few_images_of_a_class_are_one_line(network, digits, tmp_path):
    few = Images(digits[0].pixels[:12], digits[0].labels[:12])
    with pytest.raises(DataError, match="a validation split needs at least 3"):
        make_multi_exit(
            TrainedNetwork(network, CARD, few), DeploymentSettings(), tmp_path / "a.exits"
        )
    assert not (tmp_path / "a.exits").exists()


DAMAGES = {
    "no places": lambda t: t.pop("exits:places"),
    "no head": lambda t: t.pop("exits:1.weight"),
    "outside": lambda t: t.update({"exits:places": torch.tensor([1, 2, 999])}),
    "descending": lambda t: t.update({"exits:places": torch.tensor([6, 3, 9])}),
    "in the head": lambda t: t.update({"exits:places": torch.tensor([3, 6, 30])}),
    "not a number": lambda t: t["exits:thresholds"].fill_(float("nan")),
    "negative": lambda t: t["exits:thresholds"].fill_(-1),
    "infinite head": lambda t: t["exits:0.bias"].fill_(float("inf")),
    "other shape": lambda t: t.update({"exits:0.bias": torch.zeros(3)}),
    "other type": lambda t: t.update({"exits:thresholds": torch.zeros(3, dtype=torch.int64)}),
    "no weight": lambda t: t.pop("features.0.weight"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_one_line(file, tmp_path, name):
    tensors, path = load_file(file[0]), tmp_path / "damaged.exits"
    DAMAGES[name](tensors)
    save_tensors(tensors, path, read_card(file[0]).metadata())
    with pytest.raises(WeightsError) as told:
        open_network(path)
    assert str(path) in str(told.value)
    assert len(told.value.problems) == 1


def test_a_cut_file_is_one_line(file, tmp_path):
    path = tmp_path / "cut.exits"
    path.write_bytes(file[0].read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        open_network(path)


# --- through the command line -------------------------------------------------------------------

BASE = (
    "adapt", "--source", "digits", "--target", "digits-3v8", "--schedule", "one-cycle",
    "--source-epochs", 1, "--epochs", 1, "--batch-size", 64, "--protocols", "pfa-fine",
)  # fmt: skip
STAGED = (*BASE, "--stages", "multi-exit", "--exits", 2, "--exit-epochs", 5)


def stage_runs():
    store = Store(None)
    return store.runs(list(store.experiments().values()), {"workbench.kind": "stage"})


def test_the_stage_is_recorded_shown_and_used(run_cli, tmp_path):
    status, out, err = run_cli(*STAGED, "--json")
    assert status == 0, err
    result = json.loads(out)
    trained = {row["protocol"]: row for row in result["protocols"]}
    assert [row["protocol"] for row in result["stages"]] == ["pfa-fine", "source"]
    for row in result["stages"]:
        origin = trained[row["protocol"]]
        run = Store(None).run(row["run_ids"][0])
        assert row["exit_shares"] == [run.metrics[f"exit_{n}_share"] for n in (1, 2, 3)]
        assert sum(row["exit_shares"]) == pytest.approx(1)
        assert row["flops"] == round(origin["flops"] * run.metrics["flops_share"])
        assert row["latency_ms"] == origin["latency_ms"] * run.metrics["latency_share"]
        assert row["parameters"] > origin["parameters"]
        assert run.params["exits"] == "2"
    store = Store(None)
    html = store.fetch(store.run(result["run_id"]), REPORT_FILE).read_text()
    for row in result["stages"]:
        for number, share in enumerate(row["exit_shares"], start=1):
            name = "last" if number == 3 else str(number)
            line = rf"{row['protocol']} multi-exit</th>.*?>{name}</td>.*?>{100 * share:.1f} %<"
            assert re.search(line, html.partition('id="exits"')[2], re.DOTALL)
    made = [run.run_id for run in stage_runs()]
    status, out, _ = run_cli(*STAGED)
    assert [run.run_id for run in stage_runs()] == made
    assert re.search(r"pfa-fine multi-exit: \d+ %, \d+ %, \d+ % of the images leave", out)
    status, out, _ = run_cli("compare")
    assert "pfa-fine multi-exit" in out

    digit = load_images("digits", "test", None).pixels[0, 0].astype(float) * 255 / 16
    Image.fromarray(digit.astype(np.uint8)).save(tmp_path / "digit.png")
    for name in (result["stages"][0]["weights"], result["stages"][0]["run_ids"][0]):
        status, out, err = run_cli("predict", name, tmp_path / "digit.png")
        assert status == 0, err
        assert "%" in out
    status, out, err = run_cli(
        "quantize", trained["pfa-fine"]["run_ids"][0], "--stage", "multi-exit", "--exit-epochs", 2
    )
    assert status == 0, err
    assert Path("network.exits").exists()
    assert "held out" in Path("network.exits.md").read_text()
    said = " ".join(out.split())
    assert re.search(r"(\d+ %, ){3}\d+ % of the images leave at its exits", said)
    assert re.search(r"multi-exit is .*\d % of the network's FLOPs for a test image, acc", said)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--exits", 0], "--exits 0 is not within 1 to 16"),
        (["--exit-epochs", 0], "--exit-epochs 0 is not within 1 to"),
        (["--exit-flops", 1.5], "--exit-flops 1.5 is not within (0, 1]; try 0.5"),
        (["--exit-tolerance", -1], "--exit-tolerance -1 is not within [0, 100]"),
        (["--exit-flops", 0.5, "--exit-tolerance", 2], "--exit-flops with --exit-tolerance"),
    ],
)
def test_a_wrong_value_is_one_line(run_cli, tmp_path, options, line):
    status, _, err = run_cli(*STAGED[:-4], *options)
    assert status == 2
    assert line in err
    assert err.count("\n") == 1
    assert not (tmp_path / "mlruns").exists()
