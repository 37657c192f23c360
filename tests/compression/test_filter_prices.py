"""Prices of filters and smallest shares: by building the networks, and through the command line."""

import json
import math
from dataclasses import replace

import naive
import numpy as np
import pytest
from safetensors.torch import save_file

from workbench.compression.costs.costs import count_costs
from workbench.compression.costs.filter_prices import filter_prices
from workbench.compression.evidence.evidence import Evidence, FilterPrice
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.structure import FilterGroup, ResponsePoint
from workbench.compression.groups.tracing import find_structure
from workbench.compression.method_names import FACTORISATIONS, METHODS, SELECTIONS, method_label
from workbench.compression.method_names import RECIPES as RECIPE_NAMES
from workbench.compression.methods import RECIPES
from workbench.compression.recipe_choice.recipe_from_evidence import keep_counts
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.compression.recipes.recipe_settings import RecipeSettings
from workbench.models.networks import build_network
from workbench.pfa import worth_thresholds

ANALYZE = ("analyze", "--source", "digits", "--target", "digits-3v8", "--json")


def made(name, spectrum, price, active=None, full=None, blocks=1):
    group = FilterGroup(name, len(spectrum), (name,), ResponsePoint(name), blocks)
    active = len(spectrum) if active is None else active
    rest = {"correlation": np.eye(len(spectrum)), "variance": np.ones(len(spectrum))}
    rest |= {"images": 9, "weights": np.empty((0, 0))}
    return Evidence(
        group, np.array(spectrum), active=active, price=price, full_filters=full, **rest
    )


def flat(name, filters, parameters=1.0, flops=1.0, **more):
    return made(name, np.full(filters, 1 / filters), FilterPrice(parameters, flops), **more)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("simplecnn", (1, 8, 8)),
        ("resnet56", (3, 16, 16)),
        pytest.param("torchvision:resnext50_32x4d", (3, 32, 32), marks=pytest.mark.slow),
        pytest.param("torchvision:densenet121", (3, 32, 32), marks=pytest.mark.slow),
    ],
)
def test_a_price_is_what_the_network_without_a_filter_saves(name, shape):
    model = build_network(name, shape, 4)
    structure = find_structure(model, shape)
    prices, full = filter_prices(model, structure, shape), count_costs(model, shape)
    for group in structure.groups[:: max(1, len(structure.groups) // 4)]:
        kept = {g.name: g.first(g.filters) for g in structure.groups}
        kept[group.name] = group.first(group.filters - group.blocks)
        small, price = count_costs(rebuild(model, kept, structure), shape), prices[group.name]
        assert price.parameters * group.blocks == full.parameters - small.parameters > 0
        assert price.flops * group.blocks == full.flops - small.flops > 0


def test_of_two_equal_layers_the_cheaper_one_keeps_more():
    spectrum = 0.5 ** np.arange(1, 13)
    spectrum /= spectrum.sum()
    pair = (
        made("cheap", spectrum, FilterPrice(1, 8)), made("dear", spectrum, FilterPrice(8, 1)),
    )  # fmt: skip
    for cost, order in (("params", 1), ("flops", -1)):
        options = RecipeOptions(recipe="pfa-cost", cost=cost)
        for threshold in RECIPES["pfa-cost"].thresholds(pair, options)[1:]:
            cheap, dear = RECIPES["pfa-cost"].counts(pair, replace(options, threshold=threshold))
            assert order * (cheap - dear) >= 0
    # Prices in another unit change neither the counts nor the thresholds.
    scaled = [replace(e, price=FilterPrice(e.price.parameters * 64, 64)) for e in pair]
    options = RecipeOptions(recipe="pfa-cost", cost="params")
    values = RECIPES["pfa-cost"].thresholds(pair, options)
    assert np.array_equal(RECIPES["pfa-cost"].thresholds(scaled, options), values)


def test_networks_without_a_choice():
    options = RecipeOptions(recipe="pfa-cost")
    for evidence, share in (
        ([flat("one", 1)], 1),
        ([made("dead", [0, 0], FilterPrice(1, 1))], 0.5),
    ):
        assert RECIPES["pfa-cost"].thresholds(evidence, options).tolist() == sorted({share, 1.0})
        assert RECIPES["pfa-cost"].counts(evidence, replace(options, threshold=share)) == [1]
    free = [made("free", [0.5, 0.5, 0.0], FilterPrice(0, 0))]
    assert RECIPES["pfa-cost"].counts(free, replace(options, threshold=1.0)) == [3]


def test_widths_are_the_geometric_means_of_the_definition():
    drawing = np.random.default_rng(3)
    layers = []
    for number, filters in enumerate((3, 7, 12)):
        spectrum = np.sort(drawing.dirichlet(np.full(filters, 0.3)))[::-1]
        layers.append(made(f"{number}", spectrum, FilterPrice(1, float(drawing.integers(1, 9)))))
    total = sum(each.price.flops * each.group.filters for each in layers)
    prices = [each.price.flops / total for each in layers]
    options = RecipeOptions(recipe="pfa-cost", cost="flops")
    levels = sorted({0.0, *(t for e, p in zip(layers, prices, strict=True)
                            for t in worth_thresholds(e.spectrum, p))})  # fmt: skip
    for share in RECIPES["pfa-cost"].thresholds(layers, options):
        worth = [1, 1, 1]
        for level in levels:  # the largest widths that cost at most the share
            wider = [naive.worth_keep_count(e.spectrum, p, level * (1 + 1e-12))
                     for e, p in zip(layers, prices, strict=True)]  # fmt: skip
            if np.dot(wider, prices) <= share * (1 + 1e-9):
                worth = wider
        expected = [
            min(e.group.filters, max(1, math.ceil(math.sqrt(w * share * e.group.filters) - 1e-9)))
            for e, w in zip(layers, worth, strict=True)
        ]
        found = RECIPES["pfa-cost"].counts(layers, replace(options, threshold=share))
        assert found == expected, share


@pytest.mark.parametrize("recipe", ["pfa-kl", "pfa-cost", "uniform"])
def test_the_smallest_share_is_always_kept(recipe):
    one = made("a", [1.0, *[0.0] * 19], FilterPrice(1, 1))
    options = RecipeOptions(recipe=recipe, threshold=1e-9)
    assert keep_counts([one], options)["a"].kept == 1
    least = replace(options, min_share=0.15)
    count = keep_counts([one], least)["a"]
    assert (count.wanted, count.kept) == (3, 3)
    # In a later step of iterative PFA it is a share of the full network, and never all filters.
    assert keep_counts([replace(one, full_filters=60)], least)["a"].kept == 9
    assert keep_counts([replace(one, full_filters=600)], least)["a"].kept == 20
    if RECIPES[recipe].active_only:  # inactive filters are not kept to fill a share
        assert keep_counts([replace(one, active=2)], least)["a"].kept == 2


def test_a_factor_on_the_counts_of_pfa_kl():
    evidence = [flat("flat", 10), made("half", [0.5, 0.5, *[0.0] * 6], None)]
    options = RecipeOptions(recipe="pfa-kl")
    own = RECIPES["pfa-kl"].counts(evidence, options)
    assert own == [10, 3]
    factors = RECIPES["pfa-kl"].thresholds(evidence, options)
    assert set(factors) == {*(np.arange(1, 11) / 10), *(np.arange(1, 9) / 3)}
    for factor, expected in ((1.0, own), (0.5, [5, 2]), (1e-9, [1, 1]), (8 / 3, [10, 8])):
        assert RECIPES["pfa-kl"].counts(evidence, replace(options, threshold=factor)) == expected


@pytest.mark.parametrize(
    ("given", "cost"),
    [
        ({}, "params"), ({"footprint": 0.2}, "params"), ({"params": 9}, "params"),
        ({"flops": 0.2}, "flops"), ({"latency_ms": 1.0}, "flops"),
        ({"footprint": 0.2, "cost": "flops"}, "flops"),
    ],
)  # fmt: skip
def test_a_filter_is_weighed_against_what_the_budget_limits(given, cost):
    whole = RecipeSettings.of(method="pfa-cost", **given).with_defaults()
    assert (whole.cost, whole.min_share) == (cost, 0.05)
    assert whole.chosen()["cost"] == cost  # in keys, so another default is another run
    other = RecipeSettings.of(method="fp", min_share=0.0).with_defaults()
    assert other.chosen() == {"footprint": "pfa-kl"}


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({"flops": 0.1}, ("pfa-cost", "fp")),
        ({"footprint": "0.1"}, ("pfa-cost", "fp")),
        ({"params": "9k", "selection": "ccp"}, ("pfa-cost", "ccp")),
        ({"latency_ms": 1.0, "selection": "pfa"}, ("pfa-cost", None)),
        ({"flops": 0.1, "method": "pfa-cost"}, ("pfa-cost", None)),  # a method has its own choice
        ({"flops": 0.1, "recipe": "pfa-cost"}, ("pfa-cost", None)),
        ({"flops": 0.1, "recipe": "uniform"}, ("uniform", None)),
        ({"footprint": "pfa-kl"}, ("pfa-kl", None)),
        ({}, ("pfa-kl", None)),
    ],
)
def test_a_budget_alone_chooses_widths_by_cost_and_filters_by_their_norms(given, chosen):
    settings = RecipeSettings.of(**given)
    assert (settings.method, settings.selection) == chosen
    assert RecipeSettings.of(**vars(settings)) == settings  # no second choice


def test_a_recipe_has_the_label_of_its_settings():
    for recipe in (*METHODS, *RECIPE_NAMES):
        own = METHODS[recipe].recipe if recipe in METHODS else recipe
        for selection in ("pfa",) if recipe in FACTORISATIONS else SELECTIONS:
            settings = RecipeSettings.of(recipe=own, selection=selection)
            assert method_label(own, selection) == settings.label
    assert method_label("pfa-cost", "fp") == "pfa-cost + fp"
    assert method_label("uniform", "fp") == "fp"
    assert [method_label("file", name) for name in ("pfa", "fp")] == ["file", "file + fp"]


@pytest.mark.parametrize("method", ["taylor", "lamp", "repr", "gal"])
def test_rankings_over_all_layers_keep_a_share_of_each_layer(method):
    def share(**given):
        return RecipeSettings.of(method=method, **given).with_defaults().min_share

    assert share(flops=0.1) == 0.2
    assert share(flops=0.1, selection="fp") == 0.2
    assert share(flops=0.1, min_share=0.0) == 0.0
    assert share() == (None if method == "gal" else 0.2)  # the budget is PFA-KL's footprint
    only_the_choice = RecipeSettings.of(recipe="uniform", selection=method, flops=0.1)
    assert only_the_choice.with_defaults().min_share is None


@pytest.mark.parametrize("method", ["taylor", "lamp", "repr", "gal"])
def test_a_smallest_share_of_0_is_recorded_like_runs_before_there_was_one(method):
    def recorded(share, name=method):
        settings = RecipeSettings.of(method=name, flops=0.1, min_share=share)
        return settings.with_defaults().chosen()

    assert recorded(0.0) == {"flops": 0.1}
    assert recorded(0.2) == recorded(None) == {"flops": 0.1, "min_share": 0.2}
    assert recorded(0.0, "pfa-cost") == {"flops": 0.1, "cost": "flops", "min_share": 0.0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "source.safetensors"
    save_file(build_network("simplecnn", (1, 8, 8), 10, seed=1).state_dict(), path)
    return path


def analyze(run_cli, weights, *options):
    status, out, err = run_cli(*ANALYZE, "--weights", weights, *options)
    assert status == 0, err
    return json.loads(out), err


@pytest.mark.parametrize("method", ["pfa-kl", "pfa-cost"])
def test_a_larger_budget_never_keeps_fewer_filters(run_cli, weights, method):
    before = [0] * 4
    for share in (0.05, 0.2, 0.6, 1):
        found, err = analyze(run_cli, weights, "--method", method, "--flops", share)
        widths = [row["kept"] for row in found["recipe"]]
        assert 0.8 * share <= found["flops_ratio"] <= share or share == 1
        assert all(a <= b for a, b in zip(before, widths, strict=False))
        before = widths
        name = "a factor" if method == "pfa-kl" else "a threshold"
        assert f"--flops {share}: {method} at {name} of " in err


def test_costs_and_smallest_shares_change_the_widths(run_cli, weights):
    given = ("--method", "pfa-cost", "--footprint", 0.1)
    rows = {
        options: [row["kept"] for row in analyze(run_cli, weights, *given, *options)[0]["recipe"]]
        for options in ((), ("--cost", "flops"), ("--min-share", 0.25), ("--cost", "params"))
    }
    assert rows[()] == rows["--cost", "params"] != rows["--cost", "flops"]
    filters = [row["filters"] for row in analyze(run_cli, weights)[0]["recipe"]]
    assert all(4 * k >= n for k, n in zip(rows["--min-share", 0.25], filters, strict=True))
    for method in ("taylor", "repr"):
        small = ("--method", method, "--flops", 0.1)
        floor = [row["kept"] for row in analyze(run_cli, weights, *small)[0]["recipe"]]
        assert all(5 * k >= n for k, n in zip(floor, filters, strict=True)), method
        free = analyze(run_cli, weights, *small, "--min-share", 0)[0]["recipe"]
        assert any(5 * row["kept"] < row["filters"] for row in free), method
    status, _, err = run_cli(*ANALYZE, "--weights", weights, *given, "--min-share", 0.9)
    assert status == 2
    assert "no network is that small" in err
    assert "(--min-share 0.9; a smaller share allows less)" in err


def test_no_counts_lie_between_two_thresholds():
    drawing = np.random.default_rng(4)
    layers = [made("half dead", [0.5, 0.5, *[0.0] * 6], FilterPrice(1, 1)), flat("flat", 12)]
    for number, filters in enumerate((5, 9)):
        spectrum = np.sort(drawing.dirichlet(np.full(filters, 0.3)))[::-1]
        layers.append(made(f"{number}", spectrum, FilterPrice(1, float(drawing.integers(1, 9)))))
    options = RecipeOptions(recipe="pfa-cost", cost="flops")

    def counts(share):
        return tuple(RECIPES["pfa-cost"].counts(layers, replace(options, threshold=share)))

    values = RECIPES["pfa-cost"].thresholds(layers, options)
    known = {counts(share) for share in values}
    assert {counts(share) for share in np.linspace(values[0], 1, 3000)} <= known
