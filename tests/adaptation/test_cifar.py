"""A short run on real CIFAR-100, where it and a trained VGG-16 are at hand.

Needs $WORKBENCH_DATA with cifar-100-python and $WORKBENCH_TEST_WEIGHTS, a VGG-16 trained on all
100 classes.
"""

import json
import os
from pathlib import Path

import pytest

DATA, WEIGHTS = (os.environ.get(name, "") for name in ("WORKBENCH_DATA", "WORKBENCH_TEST_WEIGHTS"))

pytestmark = [
    pytest.mark.cifar,
    pytest.mark.skipif(
        not (Path(DATA) / "cifar-100-python").is_dir() or not Path(WEIGHTS).is_file(),
        reason="no CIFAR-100 in $WORKBENCH_DATA or no network in $WORKBENCH_TEST_WEIGHTS",
    ),
]


BASE = ("--source", "cifar100", "--target", "S2", "--weights", WEIGHTS)


def check(recipe, footprint):
    kept = [row["kept"] for row in recipe]
    assert len(kept) == 14
    # The source network's description names a footprint of 25.3 % for S2.
    assert footprint == pytest.approx(0.253, abs=0.002)
    # Early layers of the paper's figure 4b, read off to about 5; this network trained briefly.
    assert kept[:4] == pytest.approx([34, 43, 104, 109], abs=6)


def test_the_recipe_of_a_real_target_is_the_papers_in_early_layers(run_cli):
    status, out, err = run_cli("analyze", *BASE, "--json")
    assert status == 0, err
    result = json.loads(out)
    check(result["recipe"], result["footprint"])


@pytest.mark.slow
def test_a_real_target_is_specialised(run_cli):
    status, out, err = run_cli(
        "adapt", *BASE, "--epochs", "2", "--schedule", "one-cycle", "--lr", "0.01",
        "--batch-size", "50", "--protocols", "pfa-fine", "--json",
    )  # fmt: skip
    assert status == 0, err
    result = json.loads(out)
    (small,) = result["protocols"]
    check(result["recipe"], small["footprint"])
    # Chance is 0.5; two short epochs measured 0.895, fifteen at the default rate 0.99.
    assert small["accuracies"][0] > 0.8
