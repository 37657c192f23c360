"""Every method against its paper's formula, a closed form, and the laws that all must keep."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import naive
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.task import resolve
from workbench.compression import method_names
from workbench.compression.costs.filter_prices import with_prices
from workbench.compression.evidence.evidence import collect, filter_weights, norm_scales
from workbench.compression.evidence.responses import measure_responses
from workbench.compression.groups.tracing import find_structure
from workbench.compression.measurements import MEASUREMENTS
from workbench.compression.measurements import zeros as zero_outputs
from workbench.compression.methods import RECIPES, SELECTIONS, apoz, fp, fpgm
from workbench.compression.recipe_choice.recipe_from_evidence import keep_counts, make_recipe
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images, load_images
from workbench.errors import NetworkError
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.models.weight_files import read_card
from workbench.training.loop import fit
from workbench.training.plans import Plan

CPU, DIGITS = torch.device("cpu"), SOURCES["digits"]
ANALYZE = ("analyze", "--source", "digits", "--target", "digits-3v8", "--json")
BUDGETED = [name for name, how_many in RECIPES.items() if how_many.thresholds]


class Chain(nn.Module):
    """Two convolutions with batch norms, and one without."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.one, self.norm_one = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.two, self.norm_two = nn.Conv2d(6, 9, 3, padding=1), nn.BatchNorm2d(9)
        self.three = nn.Conv2d(9, 5, 1)
        self.head = nn.Linear(5, 3)
        for norm in (self.norm_one, self.norm_two):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)

    def forward(self, x):
        x = self.norm_one(self.one(x)).relu()
        x = self.norm_two(self.two(x)).relu_()
        return self.head(self.three(x).relu().mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (70, 1, 8, 8), dtype=np.uint8)
    return Images(pixels, np.zeros(70, dtype=np.int64))


def evidence_on(model, images):
    structure = find_structure(model, (1, 8, 8))
    looks = (structure.groups, images, DIGITS, CPU)
    measured = {name: measure(model, *looks) for name, measure in MEASUREMENTS.items()}
    random = np.random.default_rng(2)  # gates are trained, not measured
    for name in method_names.GATES:
        measured[name] = {each.name: random.uniform(size=each.filters) for each in structure.groups}
    found = collect(model, measure_responses(model, *looks), structure, measured)
    return structure, with_prices(found, model, structure, (1, 8, 8))


@pytest.fixture(scope="module")
def chain(images):
    model = Chain().eval()
    return model, *evidence_on(model, images)


@pytest.fixture(scope="module")
def cnn(images):
    """A network in which every group has a batch norm."""
    model = build_network("simplecnn", (1, 8, 8), 10, seed=1)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.2, 1.5)
            nn.init.normal_(norm.bias, std=0.5)
    return model, *evidence_on(model.eval(), images)


# --- formulas -------------------------------------------------------------------------------


def test_the_names_are_those_of_the_code():
    assert set(method_names.RECIPES) == set(RECIPES)
    assert set(method_names.SELECTIONS) == set(SELECTIONS)


@pytest.mark.parametrize(
    ("scores", "formula"), [(fp.scores, naive.l1_norms), (fpgm.scores, naive.distances_to_all)]
)
def test_scores_of_weights_are_the_papers(chain, scores, formula):
    model, _, evidence = chain
    for group in evidence:
        layer = model.get_submodule(group.group.name)
        expected = formula(layer.weight.detach().flatten(1).tolist())
        np.testing.assert_allclose(scores(group), expected, rtol=1e-5)


def test_zeros_are_counted_behind_the_relu(chain, images):
    model, _, evidence = chain
    with torch.no_grad():
        x = normalise(torch.from_numpy(images.pixels), DIGITS)
        one = model.norm_one(model.one(x)).relu()
        two = model.norm_two(model.two(one)).relu()
        three = model.three(two).relu()
    for group, activation in zip(evidence, (one, two, three), strict=True):
        expected = naive.apoz(activation.flatten(2).numpy())
        np.testing.assert_allclose(group.measured["zeros"], expected, atol=1e-12)
        assert 0 < group.measured["zeros"].mean() < 1


def test_zeros_of_a_stream_are_counted_at_its_addition():
    model = build_network("resnet34", (3, 32, 32), 10, seed=0).eval()
    rng = np.random.default_rng(0)
    seen = Images(rng.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8), np.zeros(6, dtype=np.int64))
    groups = [g for g in find_structure(model, (3, 32, 32)).groups if g.response.layer is None][:1]
    zeros = zero_outputs.measure(model, groups, seen, SOURCES["cifar10"], CPU)
    relus = []
    block = model.get_submodule(groups[0].response.inside)
    block.register_forward_hook(lambda m, i, output: relus.append(output))
    with torch.no_grad():
        model(normalise(torch.from_numpy(seen.pixels), SOURCES["cifar10"]))
    np.testing.assert_allclose(
        zeros[groups[0].name], naive.apoz(relus[0].flatten(2).numpy()), atol=1e-12
    )


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.99, 1.0])
def test_slimming_ranks_the_filters_of_all_layers_together(cnn, share):
    _, _, evidence = cnn
    counts = RECIPES["network-slimming"].counts(evidence, RecipeOptions(threshold=share))
    assert counts == naive.slimming_counts([group.scales.tolist() for group in evidence], share)


@pytest.mark.parametrize(("model", "penalty"), [("vgg16", 1e-4), ("resnet56", 1e-5)])
def test_slimming_trains_its_source_with_the_papers_penalty(model, penalty):
    options = {"source": "cifar100", "target": "S2", "model": model}
    assert resolve(Settings.of(**options)).source_plan.sparsity == 0
    slimming = resolve(Settings.of(**options, method="network-slimming"))
    assert slimming.source_plan.sparsity == penalty
    assert slimming.plan.sparsity == slimming.fine_plan.sparsity == 0


def test_the_penalty_is_the_sum_of_the_scales_sizes():
    images = load_images("digits", "test", Path())
    few = Images(images.pixels[:32], images.labels[:32])
    plan = Plan(1, "paper", 1, 0.1, 32, 0.0, augment=False)
    plain, penalised = (
        fit(
            build_network("simplecnn", DIGITS.shape, 10, seed=0), few, DIGITS,
            replace(plan, sparsity=sparsity), seed=0, processor=Processor("cpu", "fp32", 1),
        )
        for sparsity in (0.0, 1e-2)
    )  # fmt: skip
    norms = [
        part for part in build_network("simplecnn", DIGITS.shape, 10).modules()
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)
    ]  # fmt: skip
    scales = sum(norm.num_features for norm in norms)  # all 1 before the first step
    assert scales > 0
    difference = penalised.epochs[0].loss - plain.epochs[0].loss
    assert difference == pytest.approx(1e-2 * scales, rel=1e-4)


def test_slimming_needs_batch_norms(chain):
    with pytest.raises(NetworkError, match="layer 'three' has no batch norm"):
        RECIPES["network-slimming"].counts(chain[2], RecipeOptions(threshold=0.5))


# --- closed forms ---------------------------------------------------------------------------


def with_weights(evidence, rows):
    return replace(evidence, weights=np.array(rows, dtype=float))


def chosen(selection, evidence, keep):
    kept = SELECTIONS[selection](evidence, np.arange(evidence.group.filters), keep, RecipeOptions())
    return sorted(int(index) for index in kept)


def test_the_largest_filters_stay(chain):
    group = with_weights(chain[2][2], [[1, -1], [5, 0], [0, 0], [-3, 3], [1, 1.5]])
    assert chosen("fp", group, 2) == [1, 3]
    assert chosen("fp", group, 4) == [0, 1, 3, 4]


def test_the_filter_in_the_middle_goes_first(chain):
    group = with_weights(chain[2][2], [[0, 0], [1, 0], [0, 1], [9, 9], [4, 4]])
    sums = fpgm.scores(group)
    assert sums.argmin() == 1 or sums[1] == pytest.approx(sums.min())
    group = with_weights(chain[2][2], [[-2.0], [-1.0], [0.0], [1.0], [20.0]])
    assert chosen("fpgm", group, 4) == [0, 1, 3, 4]
    assert chosen("fp", group, 4) == [0, 1, 3, 4]  # the middle is the smallest here, too
    group = with_weights(chain[2][2], [[8.0], [9.0], [10.0], [11.0], [30.0]])
    assert chosen("fpgm", group, 4) == [0, 1, 3, 4]
    assert chosen("fp", group, 4) == [1, 2, 3, 4]  # and is not there


def test_one_threshold_for_the_scales_of_all_layers(cnn):
    low, high = cnn[2][:2]
    pair = (
        replace(low, scales=np.linspace(0, 0.4, low.group.filters)),
        replace(high, scales=np.linspace(0.6, 1, high.group.filters)),
    )
    half = RecipeOptions(threshold=high.group.filters / (low.group.filters + high.group.filters))
    assert RECIPES["network-slimming"].counts(pair, half) == [1, high.group.filters]


def test_what_is_silent_far_more_often_than_its_layer_goes(chain):
    group = replace(chain[2][2], measured={"zeros": np.array([0.1, 0.1, 0.1, 0.1, 0.9])})
    assert apoz.counts([group], RecipeOptions(threshold=1.0)) == [4]
    assert chosen("apoz", group, 4) == [0, 1, 2, 3]
    alike = replace(group, measured={"zeros": np.full(5, 0.4)})
    assert apoz.counts([alike], RecipeOptions(threshold=0.0)) == [5]
    assert apoz.counts([alike], RecipeOptions(threshold=-1.0)) == [1]


def test_uniform_is_the_same_share_rounded_up(chain):
    counts = RECIPES["uniform"].counts(chain[2], RecipeOptions(threshold=0.5))
    assert counts == [3, 5, 3]
    assert RECIPES["uniform"].counts(chain[2], RecipeOptions(threshold=1 / 3)) == [2, 3, 2]


def test_norms_and_weights_are_those_of_the_groups_own_layers(chain):
    model, structure, _ = chain
    one, two, three = structure.groups
    assert torch.equal(torch.tensor(filter_weights(model, two)), model.two.weight.flatten(1))
    np.testing.assert_allclose(norm_scales(model, one), model.norm_one.weight.detach().abs())
    assert norm_scales(model, three) is None


def test_coupled_layers_are_weighed_together():
    model = build_network("resnet34", (3, 32, 32), 10, seed=0)
    group = next(g for g in find_structure(model, (3, 32, 32)).groups if len(g.layers) > 1)
    expected = sum(
        model.get_submodule(layer).weight.detach().abs().flatten(1).sum(dim=1).double()
        for layer in group.layers
    )
    norms = np.abs(filter_weights(model, group)).sum(axis=1)
    np.testing.assert_allclose(norms, expected, rtol=1e-5)


# --- laws -----------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", BUDGETED)
def test_a_higher_threshold_never_keeps_less_and_the_highest_keeps_all(cnn, recipe):
    _, _, evidence = cnn
    options = RecipeOptions(recipe=recipe)
    values = RECIPES[recipe].thresholds(evidence, options)
    assert np.all(np.diff(values) > 0)
    few = values[:: max(1, len(values) // 60)]
    counts = [RECIPES[recipe].counts(evidence, replace(options, threshold=float(v))) for v in few]
    for less, more in pairwise(counts):
        assert all(a <= b for a, b in zip(less, more, strict=True))
    last = RECIPES[recipe].counts(evidence, replace(options, threshold=float(values[-1])))
    # Of 70 images, 69 directions have all the energy that there is.
    most = 69 if recipe == "pfa-en" else 10_000
    full = [group.group.filters for group in evidence]
    if recipe == "pfa-cost":  # halfway between these and all filters
        assert last == [math.ceil(math.sqrt(min(n, 69) * n) - 1e-9) for n in full]
    else:
        assert last == [min(n, most) for n in full]
    assert min(min(c) for c in counts) >= 1


@pytest.mark.parametrize("selection", SELECTIONS)
def test_every_selection_keeps_so_many_different_filters(cnn, selection):
    _, structure, evidence = cnn
    options = RecipeOptions(recipe="uniform", selection=selection, threshold=0.3)
    recipe = make_recipe(evidence, structure, options)
    wanted = keep_counts(evidence, options)
    for layer in recipe.layers:  # a recipe rejects indices that are not different
        assert layer.kept == wanted[layer.layer].kept
    assert (recipe.method, recipe.selection) == ("uniform", selection)
    assert type(recipe).from_json(recipe.to_json(), recipe.spectra_json()) == recipe


@pytest.mark.parametrize("selection", [name for name in SELECTIONS if name != "random"])
def test_filters_in_another_order_are_selected_in_that_order(cnn, selection):
    evidence = cnn[2][1]
    # No ties: those go by place.
    measured = {name: without_ties(array) for name, array in evidence.measured.items()}
    evidence = replace(evidence, measured=measured)
    order = np.random.default_rng(4).permutation(evidence.group.filters)
    moved = replace(
        evidence,
        correlation=evidence.correlation[np.ix_(order, order)],
        weights=evidence.weights[order],
        scales=evidence.scales[order],
        measured={name: in_order(array, order) for name, array in measured.items()},
    )
    kept = chosen(selection, evidence, 40)
    assert sorted(order[chosen(selection, moved, 40)].tolist()) == kept


def without_ties(array):
    steps = 1e-9 * (1 + np.arange(len(array)))
    return array + (steps if array.ndim == 1 else np.diag(steps))


def in_order(array, order):
    return array[order] if array.ndim == 1 else array[np.ix_(order, order)]


def test_random_widths_and_filters_are_those_of_their_draw(cnn):
    _, structure, evidence = cnn
    options = RecipeOptions(recipe="random", selection="random", threshold=0.5)
    first = make_recipe(evidence, structure, options)
    assert make_recipe(evidence, structure, options) == first
    other = make_recipe(evidence, structure, replace(options, draw=1))
    assert other.widths != first.widths
    fixed = replace(options, recipe="uniform")
    again = make_recipe(evidence, structure, replace(fixed, draw=1))
    assert again.widths == make_recipe(evidence, structure, fixed).widths
    assert again.kept != make_recipe(evidence, structure, fixed).kept


# --- through the command line ----------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "source.safetensors"
    save_file(build_network("simplecnn", (1, 8, 8), 10, seed=1).state_dict(), path)
    return path


def analyze(run_cli, weights, *options):
    status, out, err = run_cli(*ANALYZE, "--weights", weights, *options)
    assert status == 0, err
    return json.loads(out)


def test_slimming_warns_of_a_source_without_a_penalty(run_cli, weights):
    train = ("train", "--source", "digits", "--epochs", 1, "--schedule", "one-cycle")
    status, _, err = run_cli(*train, "--sparsity", 1e-3, "--out", "sparse.safetensors")
    assert status == 0, err
    assert read_card(Path("sparse.safetensors")).sparsity == 1e-3
    for path, warns in ((weights, True), ("sparse.safetensors", False)):
        *_, err = run_cli(*ANALYZE, "--method", "network-slimming", "--weights", path)
        assert (f"{path} has no record of a penalty" in err) == warns


def test_every_method_comes_to_the_footprint_of_pfa_kl(run_cli, weights):
    wanted = analyze(run_cli, weights)["footprint"]
    methods = ("pfa-cost", "fp", "fpgm", "apoz", "network-slimming", "random", "uniform")
    scored = ("taylor", "lamp", "hrank", "repr", "ccp", "kse")
    for method in (*methods, *scored):
        share = analyze(run_cli, weights, "--method", method)["footprint"]
        assert 0.9 * wanted <= share <= wanted, method
    for method in ("fp", "pfa-kl", "pfa-cost"):
        share = analyze(run_cli, weights, "--method", method, "--footprint", "0.2")["footprint"]
        assert 0.18 <= share <= 0.2, method


def test_only_the_measurements_that_a_method_reads_are_made(run_cli, weights, monkeypatch):
    made = []
    for name, measure in MEASUREMENTS.items():

        def noted(*looks, name=name, measure=measure):
            made.append(name)
            return measure(*looks)

        monkeypatch.setitem(MEASUREMENTS, name, noted)
    for options in (("--method", "fp"), ("--method", "taylor"), ("--selection", "hrank")):
        analyze(run_cli, weights, *options)
    assert made == ["loss_change", "map_rank"]


def test_how_many_and_which_are_chosen_apart(run_cli, weights):
    plain = analyze(run_cli, weights)["recipe"]
    mixed = analyze(run_cli, weights, "--recipe", "pfa-kl", "--selection", "fpgm")["recipe"]
    assert [row["kept"] for row in mixed] == [row["kept"] for row in plain]
    assert [row["kept_indices"] for row in mixed] != [row["kept_indices"] for row in plain]
    uniform = analyze(run_cli, weights, "--recipe", "uniform", "--selection", "pfa")
    assert uniform["recipe"] == analyze(run_cli, weights, "--method", "uniform")["recipe"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--method", "fpmg"], "--method: unknown value 'fpmg'; did you mean 'fpgm'"),
        (["--selection", "l2"], "--selection: unknown value 'l2'"),
        (["--recipe", "fp"], "--recipe: unknown value 'fp'"),
        (["--method", "fp", "--footprint", "pfa"], "--footprint pfa: is neither a share"),
        (["--method", "fp", "--energy", "0.9"], "--energy is an option of --method pfa-en"),
        (["--cost", "flops"], "--cost is an option of --method pfa-cost, not of pfa-kl"),
        (["--method", "pfa-cost", "--cost", "bytes"], "--cost: unknown value 'bytes'"),
        (["--min-share", "1"], "--min-share 1 is not within [0, 1); try 0.05"),
        (["--min-share", "nan"], "--min-share nan is not within [0, 1); try 0.05"),
        (["--footprint", "pfa-kl"], "--footprint pfa-kl is what --method pfa-kl has without"),
        (["--draw", "2"], "--draw has no effect"),
        (["--method", "random", "--draw", "-1"], "--draw -1 is negative"),
    ],
)
def test_a_wrong_choice_is_one_line(run_cli, options, line):
    status, _, err = run_cli(*ANALYZE, *options)
    assert status == 2
    assert err.count("\n") == 1
    assert line in err
