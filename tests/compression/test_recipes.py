"""Recipes: clamped to what is active, read back exactly."""

import json
import math

import numpy as np
import pytest
from torch import nn

from workbench.compression.evidence.evidence import collect
from workbench.compression.groups.structure import FilterGroup, ResponsePoint, Structure
from workbench.compression.recipe_choice import recipe_from_evidence as deciding
from workbench.compression.recipe_choice.recipe_from_evidence import keep_counts
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.compression.recipes.recipes import LayerRecipe, Recipe
from workbench.pfa import StreamingCovariance


def group(name, filters, blocks=1):
    return FilterGroup(name, filters, (name,), ResponsePoint(name), blocks)


def structure_for(moments, blocks=1):
    groups = tuple(group(name, seen.filters, blocks) for name, seen in moments.items())
    return Structure(groups, group("head", 2))


def make_recipe(moments, recipe, energy=None, blocks=1, **options):
    structure = structure_for(moments, blocks)
    chosen = RecipeOptions(recipe, threshold=energy, **options)
    return deciding.make_recipe(collect(nn.Module(), moments, structure), structure, chosen)


def moments(responses):
    seen = StreamingCovariance(responses.shape[1])
    seen.update(responses)
    return seen


def responses(active, dead, samples=200, seed=0):
    """``dead`` silent filters, then ``active`` independent ones."""
    rng = np.random.default_rng(seed)
    return np.hstack([np.full((samples, dead), 0.5), rng.normal(size=(samples, active))])


def test_inactive_filters_count_in_the_width_and_are_removed_first():
    (layer,) = make_recipe({"conv": moments(responses(6, 2))}, "pfa-kl").layers
    assert (layer.filters, layer.active) == (8, 6)
    assert set(layer.kept_indices) <= set(range(2, 8))


def test_no_more_filters_are_kept_than_are_active():
    (layer,) = make_recipe({"conv": moments(responses(7, 1))}, "pfa-kl").layers
    assert layer.wanted == 8  # H = ln 7, ceil(8 ln 7 / ln 8) = 8
    assert layer.kept == 7
    assert 0 not in layer.kept_indices


def test_a_dead_layer_keeps_one_filter_and_is_named():
    recipe = make_recipe(
        {"dead": moments(np.ones((10, 4))), "alive": moments(responses(4, 0))}, "pfa-kl"
    )
    assert recipe.layers[0].kept == 1
    assert recipe.dead_layers == ("dead",)
    assert recipe.layers[0].divergence == pytest.approx(math.log(4))


def test_a_layer_of_one_filter_keeps_it():
    recipe = make_recipe({"conv": moments(responses(1, 0))}, "pfa-kl")
    assert recipe.widths == (1,)


def test_fewer_images_than_filters_keep_at_most_the_rank():
    recipe = make_recipe({"conv": moments(responses(64, 0, samples=5))}, "pfa-en", 1.0)
    assert recipe.widths == (4,)


def test_energy_is_honoured_and_reported():
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(500, 30)) * np.linspace(3, 0.1, 30)
    (low,) = make_recipe({"conv": moments(matrix)}, "pfa-en", 0.8).layers
    (high,) = make_recipe({"conv": moments(matrix)}, "pfa-en", 0.99).layers
    assert low.kept < high.kept
    assert low.energy >= 0.8
    assert high.energy >= 0.99


def test_a_grouped_convolution_gets_as_many_of_each_block():
    matrix = responses(24, 0) * np.linspace(4, 0.1, 24)
    plain = make_recipe({"conv": moments(matrix)}, "pfa-en", 0.8).layers[0]
    (layer,) = make_recipe({"conv": moments(matrix)}, "pfa-en", 0.8, blocks=4).layers
    assert layer.wanted == plain.kept
    assert layer.kept == 4 * math.ceil(plain.kept / 4)
    assert np.bincount(np.array(layer.kept_indices) // 6).tolist() == [layer.kept // 4] * 4


@pytest.mark.parametrize("multiple", [1, 4, 8, 64])
def test_widths_are_rounded_up_to_a_multiple_within_the_layer(multiple):
    matrix = responses(27, 3) * np.linspace(4, 0.1, 30)
    plain = make_recipe({"conv": moments(matrix)}, "pfa-kl").layers[0]
    (layer,) = make_recipe({"conv": moments(matrix)}, "pfa-kl", multiple_of=multiple).layers
    assert layer.kept == min(30, multiple * math.ceil(plain.kept / multiple))
    assert layer.wanted == plain.wanted


def test_counts_alone_are_those_of_the_recipe():
    seen = {"a": moments(responses(9, 2)), "b": moments(responses(5, 0))}
    structure = structure_for(seen)
    counts = keep_counts(collect(nn.Module(), seen, structure), RecipeOptions())
    assert tuple(c.kept for c in counts.values()) == make_recipe(seen, "pfa-kl").widths


def test_json_gives_the_recipe_back_exactly():
    recipe = make_recipe({"a": moments(responses(5, 1)), "b": moments(responses(3, 0))}, "pfa-kl")
    text = recipe.to_json()
    assert Recipe.from_json(text, recipe.spectra_json()) == recipe
    assert Recipe.counts(json.loads(text)) == tuple((r.filters, r.kept) for r in recipe.layers)
    row = json.loads(text)["layers"][0]
    assert row["kept"] == len(row["kept_indices"]) < row["filters"]


def test_what_is_no_recipe_is_rejected():
    with pytest.raises(ValueError, match="not a recipe"):
        Recipe.from_json('{"layers": [{}]}', "{}")


@pytest.mark.parametrize("kept", [(), (1, 0), (0, 0), (4,), (-1,)])
def test_indices_that_cannot_be_kept_are_rejected(kept):
    with pytest.raises(ValueError, match="kept indices"):
        LayerRecipe("conv", 4, kept, 1, 4, 0.0, 1.0, ())


WRONG_ROWS = {
    "an index outside": ("kept_indices", [0, 6], "a kept index is 6"),
    "an index that is no number": ("kept_indices", ["0"], "a kept index is '0'"),
    "no index": ("kept_indices", [], "kept_indices has 0 items"),
    "no filters": ("filters", None, "filters is null"),
    "more filters than eigenvalues": ("filters", 7, "spectrum has 6 items, not 7"),
    "a truth": ("wanted", True, "wanted is True"),
    "an energy that is text": ("energy", "1", "energy is '1'"),
    "an infinite divergence": ("divergence", float("inf"), "holds Infinity"),
    "more active than filters": ("active", 7, "active is 7"),
    "a name that is a list": ("layer", [], "a layer's name is a list"),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_rows_that_cannot_be_are_rejected(case):
    recipe = make_recipe({"a": moments(responses(5, 1))}, "pfa-kl")
    name, value, said = WRONG_ROWS[case]
    saved = json.loads(recipe.to_json())
    saved["layers"][0][name] = value
    with pytest.raises(ValueError, match=said):
        Recipe.from_json(json.dumps(saved), recipe.spectra_json())


@pytest.mark.parametrize(
    "spectra", ["{}", '{"a": [1]}', '{"a": 1}', "[]", '{"a": [NaN]}', "[" * 10**5]
)
def test_spectra_that_do_not_fit_are_rejected(spectra):
    recipe = make_recipe({"a": moments(responses(5, 1))}, "pfa-kl")
    with pytest.raises(ValueError, match=r"spectr|NaN|nested"):
        Recipe.from_json(recipe.to_json(), spectra)
