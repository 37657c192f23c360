"""The finished share and the time left of a plan: laws of the pure functions, and a simulation."""

import random

import pytest

from workbench.training import overall_progress
from workbench.training.overall_progress import Overall
from workbench.training.time_left import (
    ANALYSIS,
    LEAST_SECONDS,
    STAGE,
    TRAINING,
    Level,
    Pace,
    PlannedStep,
    done_share,
    left_words,
    seconds_left,
    training_work,
)

SPEED = 40.0  # work per second
CONSTANT = {TRAINING: Pace(50 * SPEED, 50.0)}


def steps_of(*works):
    return tuple(PlannedStep(f"step {n}", {TRAINING: work}) for n, work in enumerate(works))


def states(draw, steps):
    """The states of a plan from its beginning to its end, at random points."""
    for finished, step in enumerate(steps):
        for share in sorted(draw.random() for _ in range(4)):
            current = {kind: share * work for kind, work in step.work.items()}
            yield Level(steps, finished, current)
    yield Level(steps, len(steps))


@pytest.mark.parametrize("seed", range(5))
def test_the_finished_share_grows_from_0_to_1(seed):
    draw = random.Random(seed)
    steps = tuple(
        PlannedStep("", {TRAINING: draw.random(), STAGE: draw.random()}, draw.choice([0.0, 0.5]))
        for _ in range(6)
    )
    shares = [done_share([level]) for level in states(draw, steps)]
    assert shares == sorted(shares)
    assert shares[0] >= 0
    assert shares[-1] == pytest.approx(1.0)
    assert all(share <= 1 for share in shares)


@pytest.mark.parametrize("seed", range(5))
def test_the_time_left_is_exact_at_a_constant_speed(seed):
    draw = random.Random(seed)
    steps = steps_of(*(1000 * draw.random() for _ in range(6)))
    whole = sum(step.to_do for step in steps)
    for level in states(draw, steps):
        left = (1 - done_share([level])) * whole
        assert seconds_left([level], CONSTANT) == pytest.approx(left / SPEED, abs=1e-9)


def test_shares_are_weighted_by_work():
    assert done_share([Level(steps_of(9.0, 1.0), 1)]) == pytest.approx(0.9)
    assert done_share([Level(steps_of(1.0, 9.0), 1)]) == pytest.approx(0.1)
    assert training_work(1e9, 100, 8) == pytest.approx(2 * training_work(1e9, 100, 4))
    assert training_work(1e9, 100, 0) > 0, "an untrained network is evaluated"


def test_recorded_work_is_done_and_needs_no_time():
    steps = (PlannedStep("a", {}, 30.0), PlannedStep("b", {TRAINING: 10.0}))
    assert done_share([Level(steps)]) == pytest.approx(0.75)
    assert seconds_left([Level(steps)], CONSTANT) == pytest.approx(10 / SPEED)
    assert done_share([Level((PlannedStep("a", {}, 30.0),))]) == 1.0


def test_more_work_than_planned_is_not_more_than_the_step():
    level = Level(steps_of(10.0, 10.0), 0, {TRAINING: 99.0})
    assert done_share([level]) == pytest.approx(0.5)
    assert seconds_left([level], CONSTANT) == pytest.approx(10 / SPEED)


def test_a_plan_inside_a_step_refines_it():
    outer, inner = Level(steps_of(100.0, 300.0), 1), Level(steps_of(10.0, 20.0), 1)
    assert done_share([outer, inner]) == pytest.approx((100 + 300 / 3) / 400)
    # The inner plan knows better how much work the step has.
    assert seconds_left([outer, inner], CONSTANT) == pytest.approx(20 / SPEED)
    last = Level(outer.steps, 0)
    assert seconds_left([last, inner], CONSTANT) == pytest.approx((20 + 300) / SPEED)


def test_an_unknown_pace_is_not_guessed():
    level = Level((PlannedStep("", {TRAINING: 1.0, STAGE: 1.0}),))
    assert seconds_left([level], {}) is None
    assert seconds_left([level], {ANALYSIS: Pace(1.0, 60.0)}) is None
    assert seconds_left([level], {STAGE: Pace(1.0, 60.0)}) is None
    assert seconds_left([level], {TRAINING: Pace(1.0, 0.9 * LEAST_SECONDS)}) is None
    assert seconds_left([level], {TRAINING: Pace(1.0, 2.0)}) == pytest.approx(4.0)
    own = {TRAINING: Pace(1.0, 2.0), STAGE: Pace(1.0, 5.0)}
    assert seconds_left([level], own) == pytest.approx(7.0)


def test_an_empty_plan_is_done():
    assert done_share([Level(())]) == 1.0
    assert seconds_left([Level(())], {}) == 0.0
    nothing = (PlannedStep("a", {}), PlannedStep("b", {}))
    assert [done_share([Level(nothing, n)]) for n in range(3)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, ""), (0.2, ""), (200.0, "about 3 min 20 s left")]
)
def test_a_time_left_of_nothing_is_not_shown(seconds, words):
    assert left_words(seconds) == words


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test moves."""
    now = [100.0]
    monkeypatch.setattr(overall_progress.time, "monotonic", lambda: now[0])
    return now


def train(overall, clock, work, epochs=4):
    """Execute a task at the constant speed; yield after each report."""
    task = overall.begin_task("a training", epochs, work, TRAINING)
    for epoch in range(1, epochs + 1):
        clock[0] += work / epochs / SPEED
        overall.report(task, epoch)
        yield
    overall.end_task(task, failed=False)
    yield


def test_a_whole_run_at_constant_speed_is_estimated_exactly(clock):
    works = [400.0, 80.0, 1200.0, 40.0]
    overall, done, seen = Overall(), 0.0, []
    overall.push([*steps_of(*works), PlannedStep("recorded", {}, 280.0)])
    for work in works:
        overall.begin_step()
        began = done
        for _ in train(overall, clock, work):
            done = (clock[0] - 100.0) * SPEED
            seen.append(overall.done)
            assert overall.done == pytest.approx((done + 280) / 2000)
            assert overall.seconds_left == pytest.approx((1720 - done) / SPEED, abs=1e-9)
        assert done == pytest.approx(began + work)
        overall.end_step()
    overall.begin_step()
    overall.end_step()
    assert seen == sorted(seen)
    assert overall.done == pytest.approx(1.0)


def test_a_resumed_training_is_measured_from_where_it_began(clock):
    overall = Overall()
    overall.push(steps_of(1000.0))
    overall.begin_step()
    task = overall.begin_task("a training", 10, 1000.0, TRAINING)
    clock[0] += 3  # reading the checkpoint
    overall.report(task, 6.0)
    assert overall.done == pytest.approx(0.6)
    assert overall.seconds_left is None
    clock[0] += 100 / SPEED
    overall.report(task, 7.0)
    assert overall.seconds_left == pytest.approx(300 / SPEED)


def test_a_revised_plan_takes_nothing_back(clock):
    overall = Overall()
    overall.push(steps_of(100.0, 100.0))
    overall.begin_step()
    list(train(overall, clock, 100.0))
    overall.end_step()
    assert overall.done == pytest.approx(0.5)
    overall.revise(steps_of(100.0, 900.0))
    assert overall.done == pytest.approx(0.5)
    assert overall.seconds_left == pytest.approx(900 / SPEED)


def test_a_step_is_not_over_while_a_task_of_it_runs(clock):
    """The last step takes longer than planned: the time left does not drop to zero."""
    overall = Overall()
    overall.push(steps_of(400.0))
    overall.begin_step()
    for _ in range(3):  # three trainings instead of one
        training = train(overall, clock, 400.0)
        for epochs_left in (3, 2, 1):
            next(training)
            assert overall.seconds_left == pytest.approx(epochs_left * 100 / SPEED)
        list(training)


def test_a_failed_task_is_not_done(clock):
    overall = Overall()
    overall.push(steps_of(100.0))
    overall.begin_step()
    task = overall.begin_task("a training", 4, 100.0, TRAINING)
    clock[0] += 10
    overall.end_task(task, failed=True)
    assert overall.done == 0.0
    assert overall.seconds_left is None


def test_time_between_tasks_belongs_to_the_pace_of_finished_steps(clock):
    overall = Overall()
    overall.push(steps_of(100.0, 100.0))
    overall.begin_step()
    list(train(overall, clock, 100.0))
    clock[0] += 100 / SPEED  # evaluating and recording take as long again
    overall.end_step()
    assert overall.seconds_left == pytest.approx(200 / SPEED)


def test_a_limit_shortens_the_time_left_until_it_has_passed(clock):
    overall = Overall()
    overall.push(steps_of(100_000.0))
    overall.limit(60.0)
    overall.begin_step()
    assert overall.seconds_left == pytest.approx(60.0)
    task = overall.begin_task("a training", 100, 100_000.0, TRAINING)
    clock[0] += 25.0
    overall.report(task, 1)
    assert overall.seconds_left == pytest.approx(35.0)
    clock[0] += 75.0
    overall.report(task, 4)
    assert overall.seconds_left == pytest.approx(2400.0)
