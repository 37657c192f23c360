"""The search for the cheapest sufficient network: laws, and runs with a fake trainer."""

import math
from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest

from workbench.errors import SettingsError
from workbench.experiments.network_search import pareto_chart
from workbench.experiments.network_search.candidates import FULL, SOURCE, Candidate, between
from workbench.experiments.network_search.pareto_chart import ChartPoint
from workbench.experiments.network_search.search import Clock, find
from workbench.experiments.network_search.search_forecast import Plan
from workbench.experiments.network_search.search_result import entries_of, gap
from workbench.experiments.network_search.search_settings import SearchSettings, seconds_of
from workbench.experiments.network_search.shrink import checked_options
from workbench.experiments.network_search.successive_halving import (
    Rated,
    fronts,
    plan_rungs,
    survivors,
)
from workbench.experiments.network_search.trials import Trial

IMAGES = 1000
NOW = Clock(math.inf)


def rated(*pairs):
    return [Rated(place, cost, accuracy) for place, (cost, accuracy) in enumerate(pairs)]


def naive_front(points):
    """Front numbers by definition: 1 + the longest chain of candidates above."""

    def above(one, two):
        better = two.cost <= one.cost and two.accuracy >= one.accuracy
        return better and (two.cost, two.accuracy) != (one.cost, one.accuracy)

    def number(point):
        return 1 + max((number(other) for other in points if above(point, other)), default=0)

    return {point.candidate: number(point) for point in points}


def test_fronts_are_those_of_the_definition():
    drawing = np.random.default_rng(0)
    for _ in range(50):
        points = rated(*drawing.integers(1, 6, (9, 2)).tolist())
        found = {e.candidate: n for n, front in enumerate(fronts(points), 1) for e in front}
        assert found == naive_front(points)


def test_fronts_do_not_depend_on_the_order():
    points = rated((1, 0.5), (2, 0.6), (2, 0.4), (3, 0.6))
    expected = [{e.candidate for e in front} for front in fronts(points)]
    for order in permutations(points):
        assert [{e.candidate for e in front} for front in fronts(order)] == expected


def test_survivors_come_from_the_best_fronts_and_are_closest_to_the_wanted_accuracy():
    points = rated((1, 0.5), (2, 0.7), (4, 0.9), (5, 0.88), (3, 0.6))
    assert [e.candidate for e in survivors(points, 2, 0.72)] == [1, 2]
    assert [e.candidate for e in survivors(points, 4, 0.72)] == [1, 2, 0, 4]
    assert len(survivors(points, 9, 0.72)) == 5


def test_a_tie_goes_to_the_cheaper_candidate():
    points = rated((1, 0.5), (2, 0.7))
    assert [e.candidate for e in survivors(points, 1, 0.6)] == [0]


@pytest.mark.parametrize(
    ("candidates", "epochs", "rungs"), [*product((1, 2, 9, 18), (1, 3, 15), (1, 3))]
)
def test_rungs_double_in_length_and_halve_in_number(candidates, epochs, rungs):
    planned = plan_rungs(candidates, epochs, rungs)
    assert planned[-1].epochs == epochs
    assert all(a.epochs < b.epochs <= 2 * a.epochs for a, b in pairwise(planned))
    sizes = [candidates, *(rung.keep for rung in planned)]
    assert all(b == math.ceil(a / 2) for a, b in pairwise(sizes))
    assert 1 <= len(planned) <= rungs


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("30M", 1800), ("2h", 7200), ("0m", None),
     ("-1m", None), ("m", None), ("1d", None)],
)  # fmt: skip
def test_durations(text, seconds):
    assert seconds_of(text) == seconds


def test_wrong_options_of_a_search_are_reported_together():
    wrong = SearchSettings.of(
        cost="watts", time="soon", recipes="pfa-cots", budgets="0.1,0.1,2", validation=1,
        rungs=0, runtime="onnx",
    )  # fmt: skip
    text = "\n".join(wrong.problems())
    for part in (
        "--cost",
        "--time soon",
        "pfa-cost",
        "--budgets 2",
        "twice",
        "--validation",
        "--rungs",
    ):
        assert part in text, part
    assert SearchSettings.of(cost="flops", runtime="onnx").problems()
    with pytest.raises(SettingsError, match="--budgets x"):
        SearchSettings.of(budgets="0.1,x")


@pytest.mark.parametrize(
    ("given", "selection"),
    [({}, "fp"), ({"selection": "ccp"}, "ccp"), ({"recipes": "pfa-kl,fpgm"}, None)],
)
def test_named_recipes_of_a_search_keep_their_own_filters(given, selection):
    _, options = checked_options({"source": "digits", "target": "digits-3v8", **given})
    assert options.get("selection") == selection


def test_between_is_the_middle_of_a_logarithmic_scale():
    assert between(0.01, 0.04) == 0.02
    assert 0.1 < between(0.1, 0.2) < 0.2


class Trainer:
    """A fake: the accuracy of a candidate is a function of its share, the epochs and the seed."""

    def __init__(self, quality, source=0.0, noise=0.0):
        self.quality, self.source, self.noise, self.calls = quality, source, noise, []
        self.announced = []

    def train(self, candidate, epochs, seed):
        self.calls.append((candidate, epochs, seed))
        if candidate == SOURCE:
            accuracy = self.source
        elif candidate == FULL:
            accuracy = 0.95
        else:
            short = 0.02 if epochs < 8 else 0.0
            accuracy = self.quality(candidate.method, candidate.share) - short
            accuracy += self.noise * (1 if seed else -1)
        hits = round(IMAGES * accuracy)
        size = round(1e6 * candidate.share)
        return Trial(candidate, epochs, seed, "run", hits, IMAGES, size, size, size, 10.0, True)

    def is_recorded(self, candidate, epochs, seed):
        return False

    def ahead(self, wishes, check):
        self.announced += wishes

    def possible(self, candidates):
        return list(candidates)


def quality(method, share):
    """Sufficient (0.94) from a share of 0.06 with pfa-kl, and from 0.15 with uniform."""
    needed = {"pfa-kl": 0.06, "uniform": 0.15}[method]
    return min(0.95, 0.94 + 0.05 * math.log(share / needed))


SEARCH = SearchSettings(recipes=("pfa-kl", "uniform"))
PLAN = Plan(epochs=8, seeds=(0, 1), tolerance=0.01, seen=True)


def test_trials_that_can_run_at_the_same_time_are_announced_and_needed():
    trainer = Trainer(quality)
    find(trainer, SEARCH, PLAN, NOW)
    assert len(trainer.announced) > len(trainer.calls) / 2
    assert set(trainer.announced) <= set(trainer.calls)
    assert len(set(trainer.announced)) == len(trainer.announced)


def test_the_search_finds_the_cheapest_sufficient_network():
    trainer = Trainer(quality)
    found = find(trainer, SEARCH, PLAN, NOW)
    assert found.complete
    assert found.chosen.method == "pfa-kl"
    assert 0.059 <= found.chosen.share <= 0.06 * 1.3
    assert found.wanted == pytest.approx(0.94)
    assert len(trainer.calls) == len(set(trainer.calls)), "a trial was repeated"
    long = [call for call in trainer.calls if call[1] == 8 and call[0].method]
    assert len({call[0] for call in long}) < 12, "most candidates need short trainings only"


def test_all_seeds_decide():
    trainer = Trainer(lambda method, share: quality(method, share), noise=0.005)
    found = find(trainer, SEARCH, PLAN, NOW)
    own = [t for t in found.trials if t.candidate == found.chosen and t.epochs == 8]
    assert {t.seed for t in own} == {0, 1}
    assert gap(found.trials, found.chosen, 8)[0] >= -0.01 - 1e-9


def test_without_a_sufficient_network_the_full_one_is_chosen():
    trainer = Trainer(lambda method, share: 0.5 + share / 10)
    found = find(trainer, SEARCH, PLAN, NOW)
    assert found.complete
    assert found.chosen == FULL
    assert max(call[0].share for call in trainer.calls if call[0].method) == 0.8


def test_large_budgets_that_short_trainings_discard_are_tried_in_the_end():
    def late(method, share):
        return 0.95 if share >= 0.35 else 0.9 - share / 100  # the smallest seem best

    found = find(Trainer(late), SEARCH, PLAN, NOW)
    assert found.chosen.share == pytest.approx(0.35, rel=0.3)
    assert found.chosen.share >= 0.35


def test_where_all_are_sufficient_the_search_goes_on_below_the_smallest_budget():
    found = find(Trainer(lambda method, share: 0.95), SEARCH, PLAN, NOW)
    assert found.chosen.share < min(SEARCH.budgets)


def test_a_source_that_has_not_seen_the_images_must_be_reached_too():
    # 0.948 is reached by neither recipe below a share of 0.06 * e ** 0.16.
    seen = find(Trainer(quality, source=0.958), SEARCH, PLAN, NOW)
    unseen = find(Trainer(quality, source=0.958), SEARCH, Plan(8, (0, 1), 0.01, seen=False), NOW)
    assert seen.chosen.share < unseen.chosen.share
    assert unseen.wanted == pytest.approx(0.948)


@pytest.mark.parametrize("allowed", [1, 5, 16, 20])
def test_a_search_out_of_time_returns_the_best_so_far(allowed):
    trainer, clock = Trainer(quality), NowAndThen(allowed)
    found = find(trainer, SEARCH, PLAN, clock)
    assert not found.complete
    assert len(trainer.calls) == allowed
    assert found.chosen == FULL or found.chosen in {call[0] for call in trainer.calls}
    assert found.entries == entries_of(found.trials)
    assert found.front or not found.trials


class NowAndThen(Clock):
    """A clock that allows a number of trials."""

    def __init__(self, allowed):
        super().__init__(math.inf)
        self.allowed = allowed

    def check(self):
        self.allowed -= 1
        self.seconds = math.inf if self.allowed >= 0 else 0
        super().check()


def test_entries_have_the_longest_trainings_of_each_candidate():
    found = find(Trainer(quality), SEARCH, PLAN, NOW)
    assert [e.cost for e in found.entries] == sorted(e.cost for e in found.entries)
    for entry in found.entries:
        same = [t for t in found.trials if t.candidate == entry.candidate]
        assert entry.epochs == max(t.epochs for t in same)
        assert len({t.candidate for t in entry.trials}) == 1
    assert SOURCE not in {e.candidate for e in found.front}


def test_candidates_have_names():
    assert Candidate(0.1, "pfa-kl").label == "pfa-kl at 10 %"
    assert FULL.label == "full-fine"
    assert Candidate(0.1, "pfa-cost", selection="fp").label == "pfa-cost + fp at 10 %"
    assert Candidate(0.1, "uniform", selection="fp").label == "fp at 10 %"
    assert Candidate(0.1, "fp", selection="fp") == Candidate(0.1, "fp")


def test_labels_of_the_chart_do_not_overlap(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(pareto_chart, "save_figure", lambda figure, path: figures.append(figure))
    costs = (0.01, 0.2, 0.3, 0.45, 0.5, 0.55, 0.8, 1)
    points = [
        ChartPoint(1e8 * cost, 0.97 + cost / 50, 0.95, 1, f"pfa-cost at {cost:.0%}", front=True)
        for cost in costs
    ]
    pareto_chart.pareto_chart(
        points, tmp_path / "chart.png", title="S2", unit="FLOPs", accuracy="%", wanted=0.98
    )
    texts = figures[0].axes[0].texts
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == len(costs) + 1  # and the needed accuracy
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    assert all(box.x0 >= 0 and box.x1 <= figures[0].bbox.x1 for box in boxes)
