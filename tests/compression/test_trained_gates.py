"""Widths and filters from the scores of trained gates."""

from dataclasses import replace

import numpy as np
import pytest

from workbench.compression.evidence.evidence import Evidence
from workbench.compression.evidence.score_files import read_scores, write_scores
from workbench.compression.groups.structure import FilterGroup, ResponsePoint
from workbench.compression.method_names import GATES, METHODS, trained_gates
from workbench.compression.methods import RECIPES, SELECTIONS, global_ranking
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.training.gates import GATE_METHODS

SCORES = {"a": [0.5, -1.0, 3.0, 2.0], "b": [-2.0, -0.1, 0.0], "c": [1.0, 4.0]}


@pytest.fixture
def layers():
    """Evidence with the scores of one method."""

    def make(method, scores=SCORES):
        return [
            Evidence(
                FilterGroup(name, len(own), (name,), ResponsePoint(name)),
                np.full(len(own), 1 / len(own)), np.eye(len(own)), np.ones(len(own)), len(own), 9,
                np.ones((len(own), 1)), measured={method: np.array(own, dtype=float)},
            )
            for name, own in scores.items()
        ]  # fmt: skip

    return make


@pytest.mark.parametrize("method", GATES)
def test_without_a_budget_open_gates_stay_and_at_least_one_of_each_layer(layers, method):
    assert RECIPES[method].counts(layers(method), RecipeOptions()) == [3, 1, 2]


def test_with_a_budget_the_filters_of_all_layers_are_ranked_together(layers):
    found = layers("vib")
    values = global_ranking.thresholds(found, RecipeOptions())
    assert np.allclose(values, np.arange(1, 10) / 9)
    counts = [RECIPES["vib"].counts(found, RecipeOptions(threshold=v)) for v in values]
    # Descending: 4 (c), 3 (a), 2 (a), 1 (c), .5 (a), 0 (b), -.1 (b), -1 (a), -2 (b).
    assert counts == [
        [1, 1, 1], [1, 1, 1], [2, 1, 1], [2, 1, 2], [3, 1, 2], [3, 1, 2], [3, 2, 2], [4, 2, 2],
        [4, 3, 2],
    ]  # fmt: skip


def test_closed_masks_are_not_kept_to_fill_a_budget(layers):
    masks = {name: [max(each, 0.0) for each in own] for name, own in SCORES.items()}
    assert RECIPES["gal"].counts(layers("gal", masks), RecipeOptions(threshold=1.0)) == [3, 1, 2]
    assert RECIPES["gal"].counts(layers("gal", masks), RecipeOptions(threshold=3 / 9)) == [2, 1, 1]


@pytest.mark.parametrize("method", GATES)
def test_the_filters_with_the_largest_scores_stay(layers, method):
    found = layers(method)
    for group, expected in zip(found, ([2, 3], [2, 1], [1, 0]), strict=True):
        block = np.arange(group.group.filters)
        assert SELECTIONS[method](group, block, 2, RecipeOptions()).tolist() == expected
    order = np.array([3, 0, 2, 1])
    moved = replace(found[0], measured={method: found[0].measured[method][order]})
    kept = SELECTIONS[method](moved, np.arange(4), 2, RecipeOptions())
    assert sorted(order[kept].tolist()) == [2, 3]


def test_the_names_of_gates_are_those_of_their_trainings():
    assert tuple(GATE_METHODS) == GATES
    assert set(GATES) <= METHODS.keys()
    assert trained_gates("pfa-kl", "gal") == ["gal"]
    assert trained_gates("vib", "vib") == ["vib"]
    assert trained_gates("pfa-cost", "apoz") == []


def test_scores_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "gates.safetensors"
    scores = {name: np.array(own) for name, own in SCORES.items()}
    write_scores(scores, path)
    found = read_scores(path)
    assert found.keys() == scores.keys()
    assert all(np.array_equal(found[name], own) for name, own in scores.items())
    for wrong in (np.array([1.0, np.nan]), np.ones((2, 2)), np.ones(2, dtype=np.float32)):
        write_scores({"a": wrong}, path)
        with pytest.raises(ValueError, match="a: its scores are not one finite number"):
            read_scores(path)
    path.write_bytes(b"none")
    with pytest.raises(ValueError, match="not a file of scores"):
        read_scores(path)
