"""Other divergences and maps: closed forms, laws, and a slow transcription."""

import math

import numpy as np
import pytest
from naive import wasserstein_to_flat

from workbench import pfa


def spectra(count=40):
    rng = np.random.default_rng(5)
    for n in rng.integers(2, 60, count):
        values = rng.dirichlet(np.full(n, 10.0 ** rng.uniform(-2, 1)))
        yield values / values.sum()


@pytest.mark.parametrize("name", pfa.DIVERGENCES)
@pytest.mark.parametrize("n", [2, 3, 64])
def test_flat_is_0_and_one_direction_is_1(name, n):
    assert pfa.divergence_ratio(np.full(n, 1 / n), name) == pytest.approx(0, abs=1e-12)
    assert pfa.divergence_ratio(np.eye(n)[n // 2], name) == pytest.approx(1)


def test_closed_forms_of_half_the_filters():
    """Flat over half of n filters, nothing in the rest."""
    n = 16
    half = np.repeat([2 / n, 0], n // 2)
    assert pfa.divergence_ratio(half, "kl") == pytest.approx(math.log(2) / math.log(n))
    assert pfa.divergence_ratio(half, "chi2") == pytest.approx(1 / (n - 1))
    # The sums run ahead of k / n by k / n up to the middle, then fall back: n / 4 in all.
    assert pfa.divergence_ratio(half, "wasserstein") == pytest.approx(n / 4 / ((n - 1) / 2))


def test_wasserstein_is_the_earth_movers_distance():
    for spectrum in spectra():
        expected = wasserstein_to_flat(spectrum) / ((len(spectrum) - 1) / 2)
        assert pfa.divergence_ratio(spectrum, "wasserstein") == pytest.approx(expected)


@pytest.mark.parametrize("name", pfa.DIVERGENCES)
def test_the_order_of_the_filters_changes_nothing(name):
    rng = np.random.default_rng(0)
    for spectrum in spectra():
        mixed = pfa.divergence_ratio(rng.permutation(spectrum), name)
        assert mixed == pytest.approx(pfa.divergence_ratio(spectrum, name))


def test_the_defaults_are_pfa_kl():
    for spectrum in (*spectra(), np.zeros(5), np.ones(1)):
        assert pfa.divergence_keep_count(spectrum) == pfa.kl_keep_count(spectrum)


@pytest.mark.parametrize("divergence", pfa.DIVERGENCES)
def test_maps_keep_more_or_fewer(divergence):
    for spectrum in spectra():
        fewer, linear, more = (
            pfa.divergence_keep_count(spectrum, divergence, name)
            for name in ("square", "linear", "sqrt")
        )
        assert 1 <= fewer <= linear <= more <= len(spectrum)


@pytest.mark.parametrize("name", pfa.MAPS)
def test_maps_fall_from_1_to_0(name):
    values = [pfa.MAPS[name](ratio) for ratio in np.linspace(0, 1, 11)]
    assert (values[0], values[-1]) == (1, 0)
    assert values == sorted(values, reverse=True)


def test_a_silent_layer_keeps_one():
    for name in pfa.DIVERGENCES:
        assert pfa.divergence_keep_count(np.zeros(7), name) == 1
