"""The knapsack against brute force, with ties, without losses, and without a solution."""

from itertools import product

import numpy as np
import pytest

from workbench.deployment.quantisation.knapsack import choose


def brute_force(sizes, losses, budget):
    """The smallest loss, and the smallest size with it; None when nothing fits."""
    found = [
        (
            sum(row[i] for row, i in zip(losses, choice, strict=True)),
            sum(row[i] for row, i in zip(sizes, choice, strict=True)),
        )
        for choice in product(*(range(len(row)) for row in sizes))
    ]
    return min((pair for pair in found if pair[1] <= budget), default=None)


def totals(sizes, losses, choice):
    return (
        sum(row[i] for row, i in zip(losses, choice, strict=True)),
        sum(row[i] for row, i in zip(sizes, choice, strict=True)),
    )


def test_the_choice_is_the_best_of_all():
    rng = np.random.default_rng(0)
    infeasible = 0
    for case in range(300):
        options = rng.integers(1, 5, rng.integers(1, 6))
        # Few different sizes and losses, so that many are equal, and whole losses, so that sums
        # are exact.
        sizes = [rng.integers(0, 3 + case % 20, n).tolist() for n in options]
        losses = [rng.integers(0, 2 + case % 7, n).tolist() for n in options]
        budget = int(rng.integers(0, 1 + sum(map(max, sizes))))
        wanted, choice = brute_force(sizes, losses, budget), choose(sizes, losses, budget)
        if wanted is None:
            infeasible += 1
            assert choice is None
        else:
            assert totals(sizes, losses, choice) == wanted
    assert 20 < infeasible < 250


def test_real_losses_give_the_same_choice():
    rng = np.random.default_rng(1)
    for _ in range(50):
        sizes = rng.integers(1, 100, (5, 3)).tolist()
        losses = rng.exponential(size=(5, 3)).tolist()
        budget = int(np.mean(sizes) * 5)
        wanted = brute_force(sizes, losses, budget)
        found = totals(sizes, losses, choose(sizes, losses, budget))
        assert found == pytest.approx(wanted)


def test_a_larger_budget_never_costs_more():
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 1000, (12, 3)).tolist()
    losses = rng.exponential(size=(12, 3)).tolist()
    least, most = sum(map(min, sizes)), sum(map(max, sizes))
    found = [
        totals(sizes, losses, choose(sizes, losses, budget))[0]
        for budget in range(least, most + 1, 97)
    ]
    assert found == sorted(found, reverse=True)
    assert choose(sizes, losses, least - 1) is None


@pytest.mark.parametrize("most_states", [1, 2, 7, 40])
def test_with_few_states_the_choice_still_fits(most_states):
    rng = np.random.default_rng(3)
    for _ in range(40):
        sizes = rng.integers(1, 10**9, (8, 3)).tolist()
        losses = rng.exponential(size=(8, 3)).tolist()
        least = sum(map(min, sizes))
        for budget in (least, least + 1, int(least * 1.3)):
            choice = choose(sizes, losses, budget, most_states=most_states)
            assert totals(sizes, losses, choice)[1] <= budget


def test_few_states_cost_little():
    rng = np.random.default_rng(4)
    sizes = np.sort(rng.integers(1, 10**6, (20, 3)))[:, ::-1].tolist()
    losses = np.sort(rng.exponential(size=(20, 3))).tolist()
    budget = int(np.mean(sizes) * 20)
    best, found = (
        totals(sizes, losses, choose(sizes, losses, budget, most_states=most))[0]
        for most in (1 << 20, 1 << 12)
    )
    assert best <= found < 1.02 * best


def test_no_items_need_no_choice():
    assert choose([], [], 0) == ()
    assert choose([], [], -1) is None


@pytest.mark.parametrize(
    ("sizes", "losses", "message"),
    [
        ([[1], []], [[1], []], "needs options"),
        ([[1, 2]], [[1]], "needs options"),
        ([[1]], [[1], [2]], "needs options"),
        ([[-1]], [[1]], "size is negative"),
        ([[1]], [[float("nan")]], "loss is not finite"),
    ],
)
def test_wrong_items_are_rejected(sizes, losses, message):
    with pytest.raises(ValueError, match=message):
        choose(sizes, losses, 10)
