"""An impossible ``--min-share`` is reported before anything is trained, and by ``--dry-run``."""

import json
from pathlib import Path

import pytest

QUICK = (
    "--source", "digits", "--target", "digits-0v1", "--source-epochs", "1", "--epochs", "1",
    "--schedule", "one-cycle", "--batch-size", "64", "--protocols", "pfa-fine",
)  # fmt: skip
TOO_SMALL = ("--flops", "0.1", "--min-share", "0.9")


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize("budget", [("--flops", "0.1"), ("--params", "2k"), ("--footprint", "0.1")])
def test_a_budget_below_the_smallest_network_is_one_line(run_cli, more, budget):
    options = (*budget, "--min-share", "0.9", "--method", "uniform")
    status, out, err = run_cli("adapt", *QUICK, *options, *more)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert f"{' '.join(budget)}".replace("2k", "2000") in err
    assert ": uniform: no network is that small; the smallest possible one has" in err
    assert "(--min-share 0.9; a smaller share allows less)" in err
    assert not Path("mlruns").exists()


def test_the_smallest_network_is_the_one_that_the_analysis_finds(run_cli):
    """The costs of both are the same number."""
    options = ("--method", "uniform", "--min-share", "0.5")
    _, _, early = run_cli("adapt", *QUICK, *options, "--flops", "0.1")
    share = float(early.split("one has ")[1].split()[0])
    for flops, status in ((0.999 * share, 2), (1.001 * share, 0)):
        assert run_cli("adapt", *QUICK, *options, "--flops", flops, "--dry-run")[0] == status
    status, out, err = run_cli(
        "analyze", *QUICK[:6], *QUICK[8:10], *options, "--flops", 1.001 * share, "--json"
    )
    assert status == 0, err
    assert json.loads(out)["flops_ratio"] == pytest.approx(share, rel=1e-3)


def test_where_inactive_filters_may_help_there_is_a_warning(run_cli):
    status, out, err = run_cli("adapt", *QUICK, *TOO_SMALL, "--method", "pfa-cost", "--dry-run")
    assert status == 0
    assert "warning: --flops 0.1: if all filters are active, no network is that small" in err
    status, out, err = run_cli(
        "adapt",
        *QUICK,
        "--flops",
        "1e-7",
        "--min-share",
        "0.9",
        "--method",
        "pfa-cost",
        "--dry-run",
    )
    assert (status, out) == (2, "")


def test_a_network_for_all_of_imagenet_is_one_line(run_cli):
    network = ("--model", "torchvision:resnet18", "--weights", "DEFAULT")
    status, out, err = run_cli("adapt", "--source", "imagenet", "--target", "imagenet", *network)
    assert (status, out) == (2, "")
    assert err.startswith("workbench: --target imagenet: the workbench has no imagenet images")
    assert err.count("\n") == 1
