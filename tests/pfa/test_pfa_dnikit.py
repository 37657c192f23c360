"""Keep counts agree with Apple's dnikit 2.0.0; every difference has its reason.

What dnikit answered stands in ``dnikit-2.0.0.json`` (made by ``record_dnikit.py``), so dnikit
need not be installed.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from matrices import cases

from workbench import pfa

RECORD = json.loads((Path(__file__).parent / "dnikit-2.0.0.json").read_text())
#: Covariances closer than this give the same counts on all these matrices.
EXACT = 1e-5


@pytest.fixture(scope="module")
def pairs():
    """(case, dnikit's row, our spectrum) of all matrices."""
    found = []
    for case, row in zip(cases(), RECORD["rows"], strict=True):
        moments = pfa.StreamingCovariance(case.filters)
        moments.update(case.responses())
        found.append((case, row, pfa.spectrum(moments.covariance)))
    return found


def test_the_record_is_of_these_matrices(pairs):
    assert len(pairs) == 200
    assert [row["number"] for _, row, _ in pairs] == [case.number for case, _, _ in pairs]
    assert {case.filters for case, _, _ in pairs} >= {8, 1024}
    assert min(case.samples for case, _, _ in pairs) >= 20


def test_dnikit_answers_where_it_has_as_many_images_as_filters(pairs):
    for case, row, spectrum in pairs:
        assert (row["kl"] is None) == (case.samples < case.filters)
        if row["kl"] is None:  # we answer all the same, with at most the rank
            assert 1 <= pfa.energy_keep_count(spectrum, 1.0) < case.samples


def test_its_covariance_is_lost_where_the_mean_is_large(pairs):
    for case, row, _ in pairs:
        if row["error"] is not None:
            assert (row["error"] > EXACT) == (case.kind in ("large-mean", "huge-mean"))


def test_where_its_covariance_is_lost_ours_are_the_counts_of_two_passes(pairs):
    for case, row, spectrum in pairs:
        if row["error"] is not None and row["error"] > EXACT:
            exact = np.cov(case.responses().astype(np.float64), rowvar=False)
            twice = pfa.spectrum(exact)
            assert pfa.kl_keep_count(spectrum) == pfa.kl_keep_count(twice)
            for energy in RECORD["energies"]:
                assert pfa.energy_keep_count(spectrum, energy) == pfa.energy_keep_count(
                    twice, energy
                )


def test_counts_agree_wherever_its_covariance_is_exact(pairs):
    compared = 0
    for case, row, spectrum in pairs:
        if row["error"] is not None and row["error"] <= EXACT:
            compared += 1
            ours = [pfa.energy_keep_count(spectrum, energy) for energy in RECORD["energies"]]
            assert (case, pfa.kl_keep_count(spectrum), ours) == (case, row["kl"], row["energy"])
    assert compared == 125
