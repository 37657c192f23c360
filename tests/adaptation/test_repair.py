"""Training of a compressed network on the source's images, before the target."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.plans.protocol_plans import protocol_plan, repair_plan
from workbench.adaptation.plans.run_keys import adapt_key, protocol_key, repair_key
from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.source_network import SourceNetwork
from workbench.adaptation.tasks.task import resolve
from workbench.adaptation.trainings.initial_networks import starting_network
from workbench.adaptation.trainings.repair_training import repair_job
from workbench.compression.costs.costs import Costs
from workbench.compression.narrow_networks import build_narrow, structure_of
from workbench.compression.recipes.recipes import LayerRecipe, Recipe
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import load_images
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.models.weight_files import read_weights
from workbench.store.mlflow_store import Store
from workbench.training.loop import fit
from workbench.training.protocols import PROTOCOLS

CPU = Processor("cpu", "fp32", 1)
FIRST, HEAD, HEAD_NORM = "features.0", "features.26", "features.27"
FINE = PROTOCOLS["pfa-fine"]
ADAPT = (
    "adapt", "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle",
    "--source-epochs", 1, "--epochs", 1, "--batch-size", 64, "--json",
)  # fmt: skip


@pytest.fixture(scope="module")
def source():
    model = build_network("simplecnn", (1, 8, 8), 10, seed=7)
    return SourceNetwork(model.state_dict(), "source")


@pytest.fixture
def make_subject(tmp_path):
    (tmp_path / "t.yaml").write_text("name: t\nsource: digits\nclasses: [8, 3]\n")
    splits = [load_images("digits", split, None) for split in ("train", "test")]

    def make(**options):
        options = {"repair_epochs": 2, "schedule": "one-cycle", "batch_size": 256} | options
        task = resolve(Settings.of(source="digits", target="t", domains=tmp_path, **options))
        target = [each.of_classes(task.domain.classes, "digits") for each in splits]
        own = tuple(splits) if task.settings.training.repair_epochs else None
        return LoadedTask(task, CPU, *target, own)

    return make


@pytest.fixture(scope="module")
def analysis():
    """A recipe that keeps the last eight filters of each layer."""
    groups = structure_of("simplecnn", (1, 8, 8), 10).groups
    last = {group.name: range(group.filters)[-8:] for group in groups}
    return analysis_of({group.name: (group.filters, last[group.name]) for group in groups})


def analysis_of(layers):
    """An analysis of a recipe: the filters of each layer and those to keep."""
    recipe = Recipe(
        "uniform",
        1,
        tuple(
            LayerRecipe(name, filters, tuple(kept), len(kept), filters, 0.0, 1.0, ())
            for name, (filters, kept) in layers.items()
        ),
    )
    return Analysis(recipe, Costs(2, 2, 1.0), Costs(1, 1, 1.0))


def test_it_starts_from_the_kept_filters_with_all_classes(make_subject, source, analysis):
    for head in ("slice", "new"):
        state = repair_job(make_subject(head=head), source, analysis).make_model().state_dict()
        assert torch.equal(state[f"{FIRST}.weight"], source.tensors[f"{FIRST}.weight"][-8:])
        assert torch.equal(state[f"{HEAD}.weight"], source.tensors[f"{HEAD}.weight"][:, -8:])
        assert torch.equal(state[f"{HEAD_NORM}.bias"], source.tensors[f"{HEAD_NORM}.bias"])


def test_its_plan_is_that_of_fine_tuning_with_its_own_length(make_subject):
    loaded = make_subject(fine_lr=0.03, lr=0.2, ema=0.9)
    plan = repair_plan(loaded)
    assert (plan.epochs, plan.learning_rate, plan.batch_size, plan.ema) == (2, 0.03, 256, 0.9)


def repaired(analysis):
    """An analysis with a repaired network, and the state of this network."""
    network = build_narrow("simplecnn", (1, 8, 8), 10, analysis.recipe.widths, seed=5)
    return replace(analysis, prepared=lambda: network), network.state_dict()


def test_the_target_starts_from_the_repaired_network(make_subject, source, analysis):
    analysis, state = repaired(analysis)
    started = starting_network(make_subject(), FINE, 0, source, analysis)().state_dict()
    for name, value in state.items():
        of_head = name.startswith((f"{HEAD}.", f"{HEAD_NORM}.")) and value.ndim
        assert torch.equal(started[name], value[[8, 3]] if of_head else value)
    whole = starting_network(make_subject(), FINE, 0, source, analysis, all_classes=True)()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())


def test_a_new_head_is_drawn_by_seed(make_subject, source, analysis):
    analysis, state = repaired(analysis)
    loaded = make_subject(head="new")
    first, again, other = (
        starting_network(loaded, FINE, seed, source, analysis)().state_dict() for seed in (0, 0, 1)
    )
    assert torch.equal(first[f"{FIRST}.weight"], state[f"{FIRST}.weight"])
    assert first[f"{HEAD}.weight"].shape == (2, 8, 1, 1)
    assert torch.equal(first[f"{HEAD}.weight"], again[f"{HEAD}.weight"])
    assert not torch.equal(first[f"{HEAD}.weight"], other[f"{HEAD}.weight"])
    assert not torch.equal(first[f"{HEAD}.weight"], state[f"{HEAD}.weight"][[8, 3]])


def test_other_protocols_do_not_start_from_it(make_subject, source, analysis):
    analysis, _ = repaired(analysis)
    for name in ("full-fine", "pfa-scratch", "full-scratch"):
        protocol = PROTOCOLS[name]
        ours, plain = (
            starting_network(make_subject(**options), protocol, 0, source, each)().state_dict()
            for options, each in (({}, analysis), ({"repair_epochs": 0}, analysis))
        )
        assert all(torch.equal(ours[name], plain[name]) for name in plain)


def test_keys_depend_on_it_only_where_it_has_an_effect(make_subject, source, analysis):
    def keys(**options):
        loaded = make_subject(**options)
        found = {
            name: protocol_key(loaded, protocol, 0, "w", analysis, "t")
            for name, protocol in PROTOCOLS.items()
        }
        return {**found, "adapt": adapt_key(loaded, source)}

    plain, two, three = keys(repair_epochs=0), keys(), keys(repair_epochs=3)
    affected = {"pfa-fine", "pfa-distill", "pfa-source", "adapt"}
    assert {name for name in plain if plain[name] != two[name]} == affected
    assert {name for name in plain if three[name] != two[name]} == affected
    # The repair itself depends on the source and the recipe, not on the target's own training.
    recipe = analysis.recipe
    own = repair_key(make_subject(), "w", recipe)
    assert own == repair_key(make_subject(epochs=3, head="new"), "w", recipe)
    others = [
        repair_key(make_subject(repair_epochs=3), "w", recipe),
        repair_key(make_subject(fine_lr=0.5), "w", recipe),
        repair_key(make_subject(), "v", recipe),
        repair_key(make_subject(), "w", replace(recipe, layers=recipe.layers[:-1])),
    ]
    assert len({own, *others}) == 5


def test_it_is_trained_once_for_all_seeds_and_found_again(run_cli):
    command = (*ADAPT, "--repair-epochs", 1, "--seeds", 2, "--keep-weights", "all",
               "--protocols", "pfa-fine,full-fine")  # fmt: skip
    precise = ("--precision", "fp32", "--device", "cpu")
    status, out, err = run_cli(*command, *precise)
    assert status == 0, err
    assert err.count("repair on digits · digits-0v1: 1/1") == 1
    result = json.loads(out)
    assert result["settings"]["repair_epochs"] == 1
    store = Store(None)
    runs = {run.run_id: run for run in store.runs(list(store.experiments().values()), {})}
    fine, full, _ = ([runs[i] for i in row["run_ids"]] for row in result["protocols"])
    assert {run.params["repair_epochs"] for run in fine} == {"1"}
    assert not any("repair_epochs" in run.params for run in full)
    (run,) = (run for run in runs.values() if run.tags["workbench.kind"] == "repair")
    assert run.metrics["test_images"] == 360  # of all classes
    again = _trained_again(runs, store, result)
    for found, model in zip((run, fine[0]), again, strict=True):
        stored = read_weights(store.fetch(found, "weights.safetensors"))
        state = model.state_dict()
        assert all(torch.equal(value, stored[name]) for name, value in state.items())

    status, out, err = run_cli(*command, *precise)
    assert "nothing to train" in err
    assert "repair on" not in err
    assert json.loads(out)["protocols"] == result["protocols"]
    steps = json.loads(run_cli("adapt", "--json", "--like", fine[0].run_id, "--dry-run")[1])
    assert {step["state"] for step in steps["steps"]} == {"done"}
    assert "repair: digits, 1 epoch" in {step["step"] for step in steps["steps"]}
    status, out, err = run_cli("adapt", "--json", "--like", full[0].run_id, "--dry-run")
    assert status == 0, err
    assert "repair" not in json.dumps(json.loads(out)["steps"])


def _trained_again(runs, store, result):
    """The repaired network and that of pfa-fine, trained by ``fit`` from the source's filters."""
    (origin,) = (each for each in runs.values() if each.tags["workbench.kind"] == "source")
    source = SourceNetwork(read_weights(store.fetch(origin, "weights.safetensors")), "source")
    layers = {row["layer"]: (row["filters"], row["kept_indices"]) for row in result["recipe"]}
    analysis = analysis_of(layers)
    task = resolve(
        Settings.of(
            source="digits", target="digits-0v1", schedule="one-cycle", epochs=1,
            batch_size=64, repair_epochs=1,
        )
    )  # fmt: skip
    whole = tuple(load_images("digits", split, None) for split in ("train", "test"))
    target = [each.of_classes(task.domain.classes, "digits") for each in whole]
    loaded, form = LoadedTask(task, CPU, *target, whole), SOURCES["digits"]
    general = starting_network(loaded, FINE, 0, source, analysis, all_classes=True)()
    fit(general, whole[0], form, repair_plan(loaded), seed=0, processor=CPU)
    analysis = replace(analysis, prepared=lambda: general)
    fine = starting_network(loaded, FINE, 0, source, analysis)()
    fit(fine, target[0], form, protocol_plan(loaded, FINE, analysis), seed=0, processor=CPU)
    return general, fine


@pytest.mark.slow
def test_a_target_whose_classes_the_source_lacks(run_cli, draw_folder):
    photos = draw_folder(Path("photos"), {"a": 12, "b": 12}).absolute()
    Path("d.yaml").write_text(f"name: d\nfolder: {photos}\nimage_size: 8\n")
    command = (*ADAPT, "--repair-epochs", 1, "--protocols", "pfa-fine", "--domains", ".")
    status, out, err = run_cli(*command, "--target", "d")
    assert status == 0, err
    assert "repair on digits · d: 1/1" in err
    run_id = json.loads(out)["protocols"][0]["run_ids"][0]
    status, _, err = run_cli("export", run_id, "--out", "small.safetensors")
    assert status == 0, err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--repair-epochs", -1], "--repair-epochs -1 is too small; it must be at least 0"),
        (
            ["--repair-epochs", 1, "--protocols", "full-fine,pfa-scratch"],
            "--repair-epochs 1 has no effect without a compressed network with inherited weights",
        ),
        (["--repair-epochs", 1, "--steps", 2], "--repair-epochs with --steps: the steps train"),
    ],
)
def test_a_wrong_value_is_one_line(run_cli, options, line):
    status, _, err = run_cli(*ADAPT, *options)
    assert status == 2
    assert line in err
    assert err.count("\n") == 1


def test_a_source_without_images_is_one_line(run_cli):
    status, _, err = run_cli(
        "adapt", "--source", "imagenet", "--target", "digits-0v1", "--weights", "DEFAULT",
        "--model", "torchvision:resnet18", "--repair-epochs", 1,
    )  # fmt: skip
    assert status == 2
    assert "--repair-epochs 1: the workbench has no imagenet images; leave it out" in err
    assert err.count("\n") == 1
