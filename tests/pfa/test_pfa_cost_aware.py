"""Cost-aware PFA: laws, a slow transcription, and a search of all widths of three layers."""

import itertools
import math

import naive
import numpy as np
import pytest

from workbench.pfa import log_energy_gains, worth_keep_count, worth_thresholds

EDGES = [[1.0], [1.0, 0.0], [0.5, 0.5], [0.0, 0.0, 0.0], [0.7, 0.3 - 1e-15, 1e-15]]


def spectra(seed, widths=(1, 2, 5, 9, 30)):
    rng = np.random.default_rng(seed)
    return [np.sort(rng.dirichlet(np.full(n, 0.3)))[::-1] for n in widths]


@pytest.mark.parametrize("shares", [*map(np.array, EDGES), *spectra(0), *spectra(1)])
def test_counts_are_those_of_the_formula(shares):
    for price, threshold in itertools.product((0.0, 1e-6, 0.3, 4.0), (0.0, 1e-3, 1.0, 77.0, 1e9)):
        expected = naive.worth_keep_count(shares.tolist(), price, threshold)
        assert worth_keep_count(shares, price, threshold) == expected


@pytest.mark.parametrize("shares", spectra(2))
def test_gains_fall_and_add_up_to_the_energy(shares):
    gains = log_energy_gains(shares)
    assert np.all(np.diff(gains) <= 0)
    assert np.all(gains >= 0)
    assert gains.sum() == pytest.approx(-math.log(shares[0]), abs=1e-9)


@pytest.mark.parametrize("shares", spectra(3))
def test_a_count_changes_at_its_thresholds_only(shares):
    values = np.unique(worth_thresholds(shares, 0.2))
    values = values[np.isfinite(values)]
    counts = [worth_keep_count(shares, 0.2, value) for value in values]
    assert len(set(counts)) == len(counts)
    assert counts == sorted(counts)
    for value, count in zip(values, counts, strict=True):
        assert worth_keep_count(shares, 0.2, value * (1 - 1e-9)) < count
        assert worth_keep_count(shares, 0.2, value * (1 + 1e-9)) >= count


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_finds_what_trying_all_widths_finds(seed):
    """Three layers: the best of the Lagrangian, and of all networks of at most that cost."""
    rng = np.random.default_rng(seed)
    layers, prices = spectra(seed, (3, 5, 6)), rng.uniform(0.1, 2, 3)
    every = np.array(list(itertools.product(*(range(1, len(layer) + 1) for layer in layers))))
    energies = [np.log(np.cumsum(layer)) for layer in layers]
    kept = sum(energy[every[:, place] - 1] for place, energy in enumerate(energies))
    costs = every @ prices
    for threshold in np.geomspace(0.05, 1000, 25):
        counts = [
            worth_keep_count(layer, price, threshold)
            for layer, price in zip(layers, prices, strict=True)
        ]
        place = int(np.flatnonzero((every == counts).all(axis=1))[0])
        lagrangian = kept - costs / threshold
        assert lagrangian[place] == pytest.approx(lagrangian.max(), abs=1e-12)
        affordable = costs <= costs[place] + 1e-12
        assert kept[place] == pytest.approx(kept[affordable].max(), abs=1e-12)


@pytest.mark.parametrize("shares", spectra(4))
def test_only_the_ratio_of_price_and_threshold_matters(shares):
    for threshold in (0.01, 0.5, 3.0):
        count = worth_keep_count(shares, 0.125, threshold)
        assert worth_keep_count(shares, 0.125 * 1024, threshold * 1024) == count
        assert worth_keep_count(shares[::-1], 0.125, threshold) == count  # any order
        assert worth_keep_count(shares, 0.25, threshold) <= count


def test_a_free_filter_is_kept_if_it_has_energy():
    assert worth_keep_count([0.6, 0.4, 0.0], 0.0, 0.0) == 2
    assert worth_keep_count([0.0, 0.0], 0.0, 5.0) == 1
    assert worth_keep_count([1.0], 0.0, 5.0) == 1


@pytest.mark.parametrize(("price", "threshold"), [(-1, 1), (np.nan, 1), (np.inf, 1), (1, -1)])
def test_a_wrong_number_is_rejected(price, threshold):
    with pytest.raises(ValueError, match="at least 0"):
        worth_keep_count([0.5, 0.5], price, threshold)
