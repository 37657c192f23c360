"""Trainings of gates before the analysis: keys, records, and the networks that start from them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from workbench.adaptation.plans.run_keys import adapt_key, analysis_key, gates_key, protocol_key
from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.loaded_task import LoadedTask, head_rows
from workbench.adaptation.tasks.source_network import SourceNetwork
from workbench.adaptation.tasks.task import resolve
from workbench.adaptation.trainings.gate_runs import gates_job
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.narrow_networks import structure_of
from workbench.data.known_sets import load_images
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.models.weight_files import read_weights
from workbench.store.mlflow_store import Store
from workbench.store.stored_results import stored_scores
from workbench.training.protocols import PROTOCOLS

CPU = Processor("cpu", "fp32", 1)
ADAPT = (
    "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle", "--epochs", 1,
    "--batch-size", 64, "--device", "cpu", "--precision", "fp32",
)  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "source.safetensors"
    save_file(build_network("simplecnn", (1, 8, 8), 10, seed=1).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def make_subject():
    splits = [load_images("digits", split, None) for split in ("train", "test")]

    def make(**options):
        options = {"schedule": "one-cycle", "epochs": 3, "method": "vib"} | options
        task = resolve(Settings.of(source="digits", target="digits-0v1", **options))
        target = [each.of_classes(task.domain.classes, "digits") for each in splits]
        return LoadedTask(task, CPU, *target)

    return make


def runs_of(kind):
    store = Store(None)
    found = store.runs(list(store.experiments().values()), {"workbench.kind": kind})
    return store, found


def test_keys_contain_the_gates_only_where_they_have_an_effect(make_subject):
    source = SourceNetwork(build_network("simplecnn", (1, 8, 8), 10).state_dict(), "source")

    def keys(**options):
        loaded = make_subject(**options)
        found = {n: protocol_key(loaded, p, 0, "w", None, "t") for n, p in PROTOCOLS.items()
                 if not p.equal_compute}  # fmt: skip
        return {**found, "analysis": analysis_key(loaded, "w"), "adapt": adapt_key(loaded, source)}

    plain, other, more = keys(), keys(gate_penalty=2.0), keys(gate_epochs=2)
    affected = {"pfa-fine", "pfa-distill", "pfa-source", "analysis", "adapt"}
    for changed in (other, more):
        assert {name for name in plain if plain[name] != changed[name]} == affected
    fisher = keys(method="fpgm")
    unaffected = {"full-fine", "full-scratch", "source", "pfa-scratch"}
    assert all(plain[name] == fisher[name] for name in unaffected)


def test_all_budgets_share_their_gates(make_subject):
    own = gates_key(make_subject(), "w")
    same = [{"flops": 0.1}, {"footprint": 0.5, "seeds": 3}, {"gate_epochs": 3}, {"ema": 0.9},
            {"recipe": "pfa-kl", "selection": "vib"}, {"gate_penalty": 0.3}]  # fmt: skip
    for options in same:
        options = options if "recipe" in options else {**options, "method": "vib"}
        assert gates_key(make_subject(**options), "w") == own
    others = [{"method": "gal"}, {"gate_penalty": 0.1}, {"fine_lr": 0.5}, {"head": "new"}]
    found = {gates_key(make_subject(**options), "w") for options in others}
    assert len(found | {own, gates_key(make_subject(), "v")}) == 6


def test_the_gated_network_starts_as_full_fine_does(make_subject):
    source = SourceNetwork(build_network("simplecnn", (1, 8, 8), 10, seed=4).state_dict(), "s")
    loaded = make_subject()
    network = gates_job(loaded, source).make_model()
    plain = rebuild(source.build(loaded.task), head_rows(loaded), structure_of(
        "simplecnn", (1, 8, 8), 10
    ))  # fmt: skip
    state = network.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())


def test_an_adaptation_trains_its_gates_once_and_starts_from_them(run_cli, weights):
    command = ("adapt", *ADAPT, "--weights", weights, "--method", "vib", "--gate-penalty", 1,
               "--protocols", "pfa-fine,pfa-source", "--json",
               "--validation", 0.25)  # fmt: skip
    status, out, err = run_cli(*command, "--dry-run")
    steps = [step["step"] for step in json.loads(out)["steps"]]
    assert steps[:2] == ["gates (vib): digits-0v1, 1 epoch", "analysis: vib"]
    status, out, err = run_cli(*command)
    assert status == 0, err
    assert "vib: its cost includes 1 epoch of the full network with gates" in err
    result = json.loads(out)
    store, (run,) = runs_of("gates")
    assert run.params["gate_penalty"] == "1.0"
    assert "validation_accuracy" in run.metrics
    scores = stored_scores(store, run)
    assert {row["layer"]: row["kept"] for row in result["recipe"]} == {
        name: max(1, int((own > 0).sum())) for name, own in scores.items()
    }
    # pfa-source is the network with trained gates without the filters of closed ones.
    full = build_network("simplecnn", (1, 8, 8), 2)
    full.load_state_dict(read_weights(store.fetch(run, "weights.safetensors")))
    kept = {row["layer"]: row["kept_indices"] for row in result["recipe"]}
    small = rebuild(full, kept, structure_of("simplecnn", (1, 8, 8), 10)).state_dict()
    rows = {row["protocol"]: row["run_ids"][0] for row in result["protocols"]}
    stored = read_weights(store.fetch(store.run(rows["pfa-source"]), "weights.safetensors"))
    assert all(torch.equal(value, stored[name]) for name, value in small.items())

    status, out, err = run_cli(*command)
    assert "nothing to train" in err
    assert json.loads(out)["protocols"] == result["protocols"]
    steps = json.loads(run_cli(*command, "--dry-run")[1])["steps"]
    assert {step["state"] for step in steps} == {"done"}
    status, _, err = run_cli("export", run.run_id, "--out", "full.safetensors")
    assert status == 0, err

    # A training without its scores counts as not done.
    path = Path(store.fetch(run, "gates.safetensors"))
    path.write_bytes(b"damaged")
    steps = json.loads(run_cli(*command, "--dry-run")[1])["steps"]
    assert steps[0]["state"] == "to do"


def test_analyses_at_several_budgets_share_their_gates(run_cli, weights):
    shares = []
    for budget in (0.1, 0.3):
        status, out, err = run_cli("analyze", *ADAPT[:6], "--weights", weights, "--method", "gal",
                                   "--gate-epochs", 1, "--flops", budget, "--json")  # fmt: skip
        assert status == 0, err
        shares.append(json.loads(out)["flops_ratio"])
    assert 0.08 < shares[0] <= 0.1
    assert shares[0] < shares[1] <= 0.3
    assert len(runs_of("gates")[1]) == 1


def test_a_bench_compares_methods_that_train_gates(run_cli, weights):
    status, _, err = run_cli("bench", *ADAPT, "--weights", weights, "--methods", "vib,gal",
                             "--flops", 0.1, "--results", "results")  # fmt: skip
    assert status == 0, err
    page = next(Path("results").glob("bench*.md")).read_text()
    assert "| vib" in page
    assert "| gal" in page
    _, runs = runs_of("gates")
    assert {run.params["method"] for run in runs} == {"vib", "gal"}


@pytest.mark.slow
def test_a_penalty_that_is_too_large_is_named(run_cli, weights):
    status, _, err = run_cli(
        "adapt", *ADAPT, "--weights", weights, "--method", "vib", "--gate-penalty", 1e30
    )
    assert status == 1
    assert "try a lower --lr (now 0.1) or a lower --gate-penalty (now 1e+30)" in err


@pytest.mark.slow
def test_a_rate_that_is_too_large_is_named(run_cli, weights):
    status, _, err = run_cli(
        "adapt", *ADAPT, "--weights", weights, "--method", "gal", "--fine-lr", 1e30
    )
    assert status == 1
    assert "try a lower --fine-lr (now 1e+30)" in err
    assert "--gate-penalty" not in err  # which is not a part of the loss


@pytest.mark.slow
def test_gates_are_trained_in_a_process_of_their_own(run_cli, weights):
    command = ("adapt", *ADAPT, "--weights", weights, "--method", "gal", "--flops", 0.2,
               "--protocols", "pfa-fine", "--json",
               "--engine", "local", "--workers", 1)  # fmt: skip
    status, out, err = run_cli(*command)
    assert status == 0, err
    _, (run,) = runs_of("gates")
    _, (whole,) = runs_of("adapt")
    assert run.parent == whole.run_id
    status, again, err = run_cli(*command)
    assert "nothing to train" in err
    assert json.loads(again)["recipe"] == json.loads(out)["recipe"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--gate-epochs", 2], "--gate-epochs has no effect without a method that trains gates"),
        (["--method", "vib", "--gate-epochs", 0], "--gate-epochs 0 is too small"),
        (["--method", "gal", "--gate-penalty", -1], "--gate-penalty -1 is not 0 or more; try 1"),
        (["--method", "vib", "--steps", 2], "--steps 2 with vib: pfa-fine starts from"),
        (["--method", "vib", "--compensate"], "--compensate with vib: pfa-fine starts from"),
        (["--method", "gal", "--repair-epochs", 1], "--repair-epochs with gal: pfa-fine starts"),
        (["--recipe", "vib", "--selection", "gal"], "trains gates of its own; name one"),
        (
            ["--method", "vib", "--protocols", "pfa-distill", "--teacher", "source"],
            "--teacher source with vib: the network with trained gates has only the target's",
        ),
    ],
)  # fmt: skip
def test_a_wrong_choice_is_one_line(run_cli, options, line):
    status, _, err = run_cli("adapt", *ADAPT, *options)
    assert status == 2
    assert line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("options", [["--recipes", "vib"], ["--selection", "gal"]])
def test_a_search_does_not_train_gates(run_cli, options):
    status, _, err = run_cli("shrink", "--source", "digits", "--target", "digits-0v1", *options)
    assert status == 2
    assert "trains gates in the full network, which a search of many short trials" in err
    assert err.count("\n") == 1
