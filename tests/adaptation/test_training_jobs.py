"""What each protocol starts from, and what its key depends on."""

from dataclasses import replace

import pytest
import torch

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.plans.run_keys import protocol_key
from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.source_network import SourceNetwork, source_structure
from workbench.adaptation.tasks.task import resolve
from workbench.adaptation.trainings.initial_networks import make_network
from workbench.compression.costs.costs import Costs
from workbench.compression.evidence.evidence import collect
from workbench.compression.evidence.responses import measure_responses
from workbench.compression.recipe_choice.recipe_from_evidence import make_recipe
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.data.known_sets import load_images
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.training.protocols import PROTOCOLS

CPU = Processor("cpu", "fp32", 1)
HEAD, HEAD_NORM = "features.26", "features.27"
FIRST = "features.0"


@pytest.fixture(scope="module")
def source():
    model = build_network("simplecnn", (1, 8, 8), 10, seed=7)
    torch.manual_seed(0)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value += 0.01 * torch.randn(value.shape)
    return SourceNetwork(model.state_dict(), "source")


@pytest.fixture
def make_subject(tmp_path):
    (tmp_path / "t.yaml").write_text("name: t\nsource: digits\nclasses: [8, 3]\n")

    def make(**options):
        task = resolve(Settings.of(source="digits", target="t", domains=tmp_path, **options))
        train, test = (
            load_images("digits", split, None).of_classes(task.domain.classes, "digits")
            for split in ("train", "test")
        )
        return LoadedTask(task, CPU, train, test)

    return make


@pytest.fixture
def loaded(make_subject):
    return make_subject()


@pytest.fixture
def recipe(loaded, source):
    model, structure = source.build(loaded.task), source_structure(loaded.task)
    moments = measure_responses(
        model, structure.groups, loaded.train, loaded.task.source, torch.device("cpu")
    )
    return make_recipe(collect(model, moments, structure), structure, RecipeOptions())


def start(loaded, name, source, recipe, seed=0):
    protocol = PROTOCOLS[name]
    network = make_network(loaded, protocol, seed, source, recipe if protocol.compressed else None)
    return network.state_dict()


def test_full_fine_starts_from_the_source_with_the_targets_rows_in_its_order(loaded, source):
    state = start(loaded, "full-fine", source, None)
    assert torch.equal(state[f"{FIRST}.weight"], source.tensors[f"{FIRST}.weight"])
    for name in (f"{HEAD}.weight", f"{HEAD_NORM}.bias", f"{HEAD_NORM}.running_mean"):
        assert torch.equal(state[name], source.tensors[name][[8, 3]])


def test_pfa_fine_starts_from_the_kept_filters(loaded, source, recipe):
    state = start(loaded, "pfa-fine", source, recipe)
    kept = list(recipe.layers[0].kept_indices)
    assert len(kept) < 96
    assert torch.equal(state[f"{FIRST}.weight"], source.tensors[f"{FIRST}.weight"][kept])


@pytest.mark.parametrize("name", ["full-scratch", "pfa-scratch"])
def test_scratch_starts_from_the_seed_alone(loaded, source, recipe, name):
    first, again = (start(loaded, name, source, recipe) for _ in range(2))
    other = start(loaded, name, source, recipe, seed=1)
    weight = f"{FIRST}.weight"
    assert torch.equal(first[weight], again[weight])
    assert not torch.equal(first[weight], other[weight])
    inherited = start(loaded, name.replace("scratch", "fine"), source, recipe)[weight]
    assert first[weight].shape == inherited.shape
    assert not torch.equal(first[weight], inherited)


def test_a_new_head_is_drawn_and_all_else_inherited(make_subject, source):
    loaded = make_subject(head="new")
    state = start(loaded, "full-fine", source, None)
    fresh = start(loaded, "full-scratch", source, None)
    for name in (f"{HEAD}.weight", f"{HEAD_NORM}.weight", f"{HEAD_NORM}.running_var"):
        assert torch.equal(state[name], fresh[name])
        assert not torch.equal(state[name], source.tensors[name][[8, 3]])
    assert torch.equal(state[f"{FIRST}.weight"], source.tensors[f"{FIRST}.weight"])


def analysis_of(recipe):
    return Analysis(recipe, Costs(2, 2, 1.0), Costs(1, 1, 1.0))


def keys_of(loaded, source, analysis, seed=0, teacher="a"):
    return {
        name: protocol_key(loaded, protocol, seed, source.fingerprint, analysis, teacher)
        for name, protocol in PROTOCOLS.items()
    }


def keys(loaded, source, recipe, seed=0):
    return keys_of(loaded, source, analysis_of(recipe), seed)


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


def test_a_key_depends_on_what_determines_the_result_and_on_nothing_else(
    make_subject, source, recipe
):
    loaded = make_subject()
    before = keys(loaded, source, recipe)
    everything = set(PROTOCOLS)
    assert keys(make_subject(tolerance=3.0, seeds=4, keep_weights="all"), source, recipe) == before
    assert changed(before, keys(make_subject(epochs=3), source, recipe)) == everything
    assert changed(before, keys(loaded, source, recipe, seed=1)) == everything
    threads = replace(loaded, processor=Processor("cpu", "fp32", 2))
    assert changed(before, keys(threads, source, recipe)) == everything
    fine = {"full-fine", "pfa-fine", "pfa-distill", "source", "pfa-source"}
    small = {"pfa-scratch", "pfa-fine", "pfa-scratch-b", "pfa-distill", "pfa-source"}
    taken_over = {"pfa-fine", "pfa-distill", "pfa-source"}
    assert changed(before, keys(make_subject(compensate=True), source, recipe)) == taken_over
    assert changed(before, keys(make_subject(fine_lr=0.01), source, recipe)) == fine
    assert changed(before, keys(make_subject(head="new"), source, recipe)) == fine
    tensors = {name: value * 2 for name, value in source.tensors.items()}
    assert changed(before, keys(loaded, SourceNetwork(tensors, "x"), recipe)) == fine
    layer = recipe.layers[0]
    other = replace(layer, kept_indices=tuple(i for i in range(96) if i not in layer.kept_indices))
    moved = replace(recipe, layers=(other, *recipe.layers[1:]))
    assert changed(before, keys(loaded, source, moved)) == small
    costly = replace(analysis_of(recipe), full=Costs(2, 9, 1.0))
    assert changed(before, keys_of(loaded, source, costly)) == {"pfa-scratch-b"}
    assert changed(before, keys(make_subject(temperature=2.0), source, recipe)) == {"pfa-distill"}
    other_teacher = keys_of(loaded, source, analysis_of(recipe), teacher="b")
    assert changed(before, other_teacher) == {"pfa-distill"}
    pixels = loaded.train.pixels.copy()
    pixels[0, 0, 0, 0] += 1
    data = replace(loaded, train=replace(loaded.train, pixels=pixels))
    assert changed(before, keys(data, source, recipe)) == everything
