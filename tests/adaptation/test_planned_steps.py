"""The plan of an adaptation, a bench and a search as a program sees it: JSON lines."""

import json

import pytest

SHORT = (
    "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle",
    "--source-epochs", "1", "--epochs", "2", "--batch-size", "64",
)  # fmt: skip
ADAPT = ("adapt", *SHORT, "--protocols", "full-fine,pfa-fine", "--seeds", "2")
OTHERS = {
    "bench": ("bench", *SHORT, "--methods", "uniform", "--footprints", "0.4"),
    "shrink": ("shrink", *SHORT, "--recipes", "uniform", "--budgets", "0.4", "--rungs", "1"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One folder, so that the source network is trained once."""
    return tmp_path_factory.mktemp("planned")


@pytest.fixture
def follow(run_cli, shared, monkeypatch):
    """Run a command and read its progress."""
    monkeypatch.chdir(shared)

    def run(*words):
        path = shared / "progress.jsonl"
        path.unlink(missing_ok=True)
        monkeypatch.setenv("WORKBENCH_PROGRESS_FILE", str(path))
        status, _, err = run_cli(*words, "-q")
        assert status == 0, err
        found = [json.loads(line) for line in path.read_text().splitlines()]
        done = [each["done"] for each in found]
        assert done == sorted(done)
        assert done[-1] == 1.0
        lefts = [each["seconds_left"] for each in found]
        assert all(left is None or left >= 0 for left in lefts)
        return found

    return run


def test_recorded_steps_of_an_adaptation_count_as_done(follow):
    first = follow(*ADAPT)
    assert first[0]["done"] == 0.0
    titles = list(dict.fromkeys(each["step"] for each in first))
    order = ["source · digits · simplecnn", "analysis · digits-0v1"]
    order += [f"{name}-fine · digits-0v1 · seed {n}" for name in ("full", "pfa") for n in (0, 1)]
    assert [title for title in titles if title in order] == order
    again = follow(*ADAPT)
    assert again[0]["done"] > 0.7, "only the verdict is left"
    more = follow(*ADAPT, "--protocols", "full-fine,pfa-fine,full-scratch")
    assert 0.3 < more[0]["done"] < again[0]["done"] - 0.1, "full-scratch is left"


@pytest.mark.parametrize("name", OTHERS)
def test_one_plan_covers_the_whole_command(follow, name):
    found = follow(*OTHERS[name])
    last = [each["done"] for each in found if each["step"].startswith("pfa-fine · digits-0v1")]
    assert last
    assert max(last) < 1.0, "the end of an earlier adaptation is not that of the command"


@pytest.mark.slow
def test_cells_of_an_engine_are_a_part_of_the_plan(follow):
    """Only the driver writes the file: the cells are one step, and ``adapt`` only concludes."""
    words = (*ADAPT, "--lr", "0.02", "--engine", "local", "--workers", "1")
    found = follow(*words, "--cpus-per-cell", "1")
    cells = [each["done"] for each in found if each["step"] == "cells (local)"]
    assert len(set(cells)) >= 5, "an analysis, and four trainings"
    assert cells[0] < 0.5, "the source network may be recorded"
    assert cells[-1] > 0.7, "only the verdict is left"
    trainings = ("source · digits ·", "full-fine ·", "pfa-fine ·")
    assert not [each for each in found if each["step"].startswith(trainings)]
