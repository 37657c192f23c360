"""Correlations and spectra that are kept for reports."""

import numpy as np
import pytest

from workbench import pfa
from workbench.compression.evidence.evidence import Evidence
from workbench.compression.groups.structure import FilterGroup, ResponsePoint
from workbench.compression.recipes.correlation_record import (
    SHOWN,
    correlations_of,
    read_correlations,
    write_correlations,
)
from workbench.compression.recipes.recipes import LayerRecipe, Recipe


def measured(name, filters, kept, seed=0, dead=()):
    """Evidence and recipe of one layer, and the covariance behind them."""
    drawing = np.random.default_rng(seed)
    responses = drawing.normal(size=(400, filters)) @ drawing.normal(size=(filters, filters))
    responses[:, list(dead)] = 0.0
    covariance = np.cov(responses.T)
    spectrum = pfa.spectrum(covariance)
    evidence = Evidence(
        group=FilterGroup(name, filters, (name,), ResponsePoint(name), 1),
        spectrum=spectrum,
        correlation=pfa.correlation(covariance),
        variance=np.diagonal(covariance),
        active=filters - len(dead),
        images=400,
        weights=np.empty((filters, 0)),
    )
    layer = LayerRecipe(name, filters, kept, len(kept), evidence.active, 0.0, 1.0, tuple(spectrum))
    return evidence, Recipe("pfa-kl", 400, (layer,)), covariance


def test_the_spectrum_after_is_that_of_the_kept_filters():
    kept = (0, 3, 4, 9)
    evidence, recipe, covariance = measured("a", 12, kept)
    (found,) = correlations_of([evidence], recipe)
    wanted = pfa.spectrum(covariance[np.ix_(kept, kept)])
    assert np.allclose(found.spectrum_after, wanted, atol=1e-6)


def test_the_means_are_over_all_pairs_of_active_filters():
    evidence, recipe, _ = measured("a", 100, tuple(range(0, 100, 3)), dead=(7, 8))
    (found,) = correlations_of([evidence], recipe)
    rho, pairs = evidence.correlation, []
    for one in range(100):
        for other in range(100):
            if one != other and rho[one, one] and rho[other, other]:
                pairs.append(abs(rho[one, other]))
    assert found.mean_before == pytest.approx(np.mean(pairs))
    assert len(found.before) == SHOWN < 100


def test_keeping_everything_changes_nothing():
    evidence, recipe, _ = measured("a", 9, tuple(range(9)))
    (found,) = correlations_of([evidence], recipe)
    assert np.array_equal(found.before, found.after)
    assert found.mean_before == found.mean_after
    assert np.allclose(found.spectrum_after, evidence.spectrum, atol=1e-6)
    assert np.abs(found.before / 127 - evidence.correlation).max() <= 0.5 / 127 + 1e-9


@pytest.mark.parametrize("kept", [(0,), (5,)])
def test_one_filter_has_no_pairs(kept):
    evidence, recipe, _ = measured("a", 6, kept, dead=(5,))
    (found,) = correlations_of([evidence], recipe)
    assert found.mean_after == 0.0
    assert found.spectrum_after.tolist() == [0.0 if kept == (5,) else 1.0]


def test_a_file_is_read_as_it_was_written_and_is_small(tmp_path):
    parts = [measured(f"layer.{n}", 300, tuple(range(200)), seed=n) for n in range(3)]
    recipe = Recipe("pfa-kl", 400, tuple(recipe.layers[0] for _, recipe, _ in parts))
    layers = correlations_of([evidence for evidence, *_ in parts], recipe)
    path = tmp_path / "correlations.safetensors"
    write_correlations(layers, path)
    assert path.stat().st_size <= 3 * (2 * SHOWN**2 + 4 * 200) + 2000
    for one, other in zip(layers, read_correlations(path), strict=True):
        assert (one.layer, one.mean_before) == (other.layer, pytest.approx(other.mean_before))
        assert np.array_equal(one.after, other.after)
        assert np.array_equal(one.spectrum_after, other.spectrum_after)


@pytest.mark.parametrize("damage", ["cut", "no layers"])
def test_a_damaged_file_is_rejected(tmp_path, damage):
    path = tmp_path / "correlations.safetensors"
    evidence, recipe, _ = measured("a", 9, (0, 1))
    write_correlations(correlations_of([evidence], recipe), path)
    content = path.read_bytes()
    path.write_bytes(content[:-5] if damage == "cut" else content.replace(b"layers", b"sreyal"))
    with pytest.raises(ValueError, match=r"not a file of correlations|longer|Expecting|not a"):
        read_correlations(path)
