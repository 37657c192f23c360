"""``bench`` with the methods that score filters, and with all methods."""

import csv

import pytest
from safetensors.torch import save_file

from workbench.compression.method_names import METHODS
from workbench.errors import SettingsError
from workbench.experiments import bench
from workbench.models.networks import build_network

SHORT = ("--source", "digits", "--target", "digits-3v8", "--epochs", 1, "--schedule", "one-cycle")


def test_bench_compares_methods_that_score_filters(run_cli, tmp_path):
    weights = tmp_path / "source.safetensors"
    save_file(build_network("simplecnn", (1, 8, 8), 10, seed=1).state_dict(), weights)
    status, _, err = run_cli(
        "bench", *SHORT, "--weights", weights, "--methods", "taylor,ccp", "--flops", 0.2
    )
    assert status == 0, err
    with open("docs/results/data/cells.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["protocol"] == "pfa-fine"]
    assert len(rows) == 2
    assert all(0.1 < float(row["flops_ratio"]) <= 0.2 for row in rows)
    page = (tmp_path / "docs/results/bench-digits-3v8-0.2-flops.md").read_text()
    assert "| taylor |" in page
    assert "| ccp |" in page


def test_a_method_without_a_network_that_small_is_named_and_may_go_below_its_share(
    run_cli, monkeypatch
):
    few = ("bench", *SHORT, "--methods", "fp,taylor,pfa-cost", "--flops", 0.02)
    status, out, err = run_cli(*few)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--flops 0.02: taylor: no network is that small" in err
    assert "(--min-share 0.2; a smaller share allows less)" in err
    asked = []

    def stop(parts, *_, **__):
        asked.extend(parts)
        if parts:
            raise SettingsError("stopped")

    monkeypatch.setattr(bench, "run_parts", stop)
    status, _, err = run_cli(*few, "--min-share", 0)
    assert "stopped" in err
    assert {part.options["min_share"] for part in asked} == {0}


def test_all_is_every_method_of_the_table(monkeypatch):
    asked = []

    def stop(parts):
        asked.extend(parts)
        raise SettingsError("stopped")

    monkeypatch.setattr(bench, "check_parts", stop)
    options = {"source": "digits", "model": "simplecnn", "weights": "w.safetensors"}
    with pytest.raises(SettingsError, match="stopped"):
        bench.bench(["digits-3v8"], methods=("all",), **options)
    asked = {part.label[0] for part in asked} - {bench.FULL, bench.SOURCE}
    assert asked == set(METHODS)


def test_a_method_is_left_out_only_of_the_budgets_that_it_cannot_meet(monkeypatch):
    asked = []

    def stop(parts, *_, **__):
        asked.extend(parts)
        if parts:
            raise SettingsError("stopped")

    monkeypatch.setattr(bench, "run_parts", stop)
    options = {"source": "digits", "model": "simplecnn", "epochs": 1}
    # The references of network-slimming's own source would be trained first.
    monkeypatch.setattr(bench, "_reference_parts", lambda *_: [])
    with pytest.raises(SettingsError, match="stopped"):
        bench.bench(["digits-3v8"], methods=("all",), flops=("0.02", "0.3"), **options)
    found = {part.label for part in asked}
    assert {name for name, budget in found if budget.startswith("0.3 ")} == set(METHODS)
    small = {name for name, budget in found if budget.startswith("0.02 ")}
    assert "fp" in small
    assert not small & {"taylor", "lamp", "repr", "gal"}


@pytest.mark.slow
def test_bench_runs_all_methods(run_cli, tmp_path):
    command = ("bench", *SHORT, "--source-epochs", 1, "--methods", "all", "--flops", 0.2)
    status, _, err = run_cli(*command)
    assert status == 0, err
    page = (tmp_path / "docs/results/bench-digits-3v8-0.2-flops.md").read_text()
    assert all(f"| {name} |" in page for name in METHODS)
