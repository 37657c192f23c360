"""Thresholds of exits: laws, and a slow transcription of the rule."""

import numpy as np
import pytest

from workbench.deployment.exit_thresholds import (
    _QS,
    ExitCosts,
    all_exits,
    judged,
    leaving,
    thresholds_of,
    within_budget,
    within_tolerance,
)

COSTS = ExitCosts(np.array([0.25, 0.5, 0.8, 1.0]), np.array([0.01, 0.02, 0.03]))


def made_up(images=300, seed=0):
    """Later exits are surer and better; a sure exit is more often right."""
    rng = np.random.default_rng(seed)
    hardness = rng.uniform(0, 1, images)
    depth = np.array([0.2, 0.4, 0.6, 0.8])[:, None]
    confidences = np.clip(1 - 0.6 * hardness * (1 - depth) + rng.normal(0, 0.05, (4, images)), 0, 1)
    correct = rng.uniform(0, 1, (4, images)) < 1 - 0.5 * hardness * (1 - depth)
    return confidences[:3], correct


def naive_thresholds(confidences, q):
    """Image by image, as the rule is written."""
    exits, images = confidences.shape
    total = sum(q**k for k in range(1, exits + 2))
    left, thresholds = list(range(images)), []
    for k in range(1, exits + 1):
        wanted = int(images * q**k / total + 1e-9)
        order = sorted(left, key=lambda image: -confidences[k - 1][image])
        if wanted >= len(order):
            thresholds.append(0.0)
        elif wanted == 0:
            thresholds.append(np.inf)
        else:
            thresholds.append(confidences[k - 1][order[wanted - 1]])
        left = [image for image in left if confidences[k - 1][image] < thresholds[-1]]
    return thresholds


@pytest.mark.parametrize("q", [0.01, 0.3, 0.9, 1.0, 1.7, 20.0])
def test_thresholds_are_those_of_the_rule(q):
    confidences, _ = made_up()
    assert thresholds_of(confidences, q).tolist() == naive_thresholds(confidences, q)


def test_the_ends():
    confidences, correct = made_up()
    first, last = (thresholds_of(confidences, q) for q in (0.0, np.inf))
    assert first[0] == 0
    assert (leaving(confidences, first) == 0).all()
    assert (last == np.inf).all()
    assert (leaving(confidences, last) == 3).all()
    found = judged(confidences, correct, last, COSTS)
    assert (found.flops, found.shares) == (1.0, (0, 0, 0, 1))
    assert found.accuracy == correct[3].mean()
    assert judged(confidences, correct, first, COSTS).flops == pytest.approx(0.26)


def test_the_wanted_shares_leave_without_ties():
    confidences, _ = made_up(700)
    confidences -= np.random.default_rng(1).uniform(0, 1e-6, confidences.shape) + 1e-6
    q = 0.7
    shares = np.bincount(leaving(confidences, thresholds_of(confidences, q)), minlength=4) / 700
    wanted = q ** np.arange(1, 5) / (q ** np.arange(1, 5)).sum()
    assert shares == pytest.approx(wanted, abs=2 / 700)


def test_ties_leave_together():
    confidences = np.ones((2, 10))
    thresholds = thresholds_of(confidences, 1.0)
    assert (leaving(confidences, thresholds) == 0).all()


def test_the_order_of_images_changes_nothing():
    confidences, _ = made_up()
    order = np.random.default_rng(2).permutation(300)
    for q in (0.2, 1.0, 3.0):
        assert (thresholds_of(confidences, q) == thresholds_of(confidences[:, order], q)).all()


def test_costs_are_those_of_each_image():
    confidences, correct = made_up()
    thresholds = np.array([0.9, np.inf, 0.8])
    found = judged(confidences, correct, thresholds, COSTS)
    flops, hits, shares = 0.0, 0, [0] * 4
    for image in range(300):
        own, place = 0.0, 3
        for k in range(3):
            if np.isfinite(thresholds[k]):
                own += COSTS.heads[k]
                if confidences[k, image] >= thresholds[k]:
                    place = k
                    break
        flops += own + COSTS.depths[place]
        hits += correct[place, image]
        shares[place] += 1
    assert found.flops == pytest.approx(flops / 300)
    assert found.accuracy == pytest.approx(hits / 300)
    assert found.shares == pytest.approx([each / 300 for each in shares])
    assert shares[1] == 0


def test_a_budget_is_kept_and_a_larger_one_is_not_worse():
    confidences, correct = made_up()
    choices = all_exits(confidences, correct, COSTS)
    assert len(choices) > 50
    assert len(choices) <= len(_QS)
    found = [within_budget(choices, share) for share in (0.3, 0.5, 0.7, 0.9, 1.1)]
    assert [each.flops <= share + 1e-9 for each, share in
            zip(found, (0.3, 0.5, 0.7, 0.9, 1.1), strict=True)] == [True] * 5  # fmt: skip
    accuracies = [each.accuracy for each in found]
    assert accuracies == sorted(accuracies)
    assert within_budget(choices, 0.2) is None


def test_a_tolerance_is_kept_and_a_larger_one_costs_less():
    confidences, correct = made_up()
    choices, last = all_exits(confidences, correct, COSTS), correct[3].mean()
    found = [within_tolerance(choices, last, points) for points in (0, 1, 3, 100)]
    for each, points in zip(found, (0, 1, 3, 100), strict=True):
        assert each.accuracy >= last - points / 100 - 1e-9
    flops = [each.flops for each in found]
    assert flops == sorted(flops, reverse=True)
    assert flops[0] > flops[-1] == min(each.flops for each in choices)
