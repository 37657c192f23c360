"""Cells as JSON: strict reading, and ``workbench cell`` in one process."""

import json

import pytest

from workbench.errors import SettingsError
from workbench.experiments.engines.cells import Cell, read_cell
from workbench.experiments.engines.engine_settings import EngineSettings, processors

OPTIONS = {"source": "digits", "target": "digits-0v1", "source_epochs": 1, "epochs": 1,
           "schedule": "one-cycle", "batch_size": 64}  # fmt: skip
TRIAL = {"share": 0.5, "method": "uniform", "protocol": "pfa-fine", "epochs": 1, "cost": "flops",
         "runtime": "torch"}  # fmt: skip


def test_a_cell_survives_the_journey_through_json():
    cell = Cell("training", {**OPTIONS, "only": ["a", "b"], "lr": 0.1}, "pfa-fine", 3,
                parent="a1b2", key="00ff", data={"train": "x"},
                processor={"device": "cpu", "precision": "fp32", "threads": 1})  # fmt: skip
    assert read_cell(cell.to_json(), "here") == cell
    trial = Cell("trial", OPTIONS, seed=1, trial=TRIAL)
    assert read_cell(trial.to_json(), "here") == trial


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"kind": "trainig"}, "unknown kind 'trainig'; did you mean 'training'?"),
        ({"kind": ["training"]}, "unknown kind a list"),
        ({"sead": 1}, "unknown field 'sead'; did you mean 'seed'?"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"seed": "1"}, "seed is '1'"),
        ({"protocol": "pfa-fin"}, "unknown protocol 'pfa-fin'; did you mean 'pfa-fine'?"),
        ({"protocol": ["pfa-fine"]}, "unknown protocol a list"),
        ({"protocol": ""}, "unknown protocol ''"),
        ({"options": {**OPTIONS, "epoch": 1}}, "unknown option 'epoch'; did you mean 'epochs'?"),
        ({"options": {**OPTIONS, "epochs": 1.5}}, "epochs is 1.5, which has the wrong type"),
        ({"options": {**OPTIONS, "epochs": True}}, "epochs is True, which has the wrong type"),
        ({"options": {**OPTIONS, "only": [1]}}, "only is a list, which has the wrong type"),
        ({"options": {"source": "digits"}}, "options: has no 'target'"),
        ({"options": []}, "options is not a mapping"),
        ({"data": {"tests": "x"}}, "data: unknown field 'tests'; did you mean 'test'?"),
        ({"processor": {"threads": 0}}, "processor: threads is 0"),
        ({"parent": "../x"}, "parent is '../x', not the id of a run"),
        ({"trial": TRIAL}, "'trial' belongs to a cell of kind 'trial'"),
    ],
)  # fmt: skip
def test_a_wrong_cell_is_one_line_a_mistake(change, part):
    cell = {"kind": "training", "protocol": "pfa-fine", "options": OPTIONS, **change}
    with pytest.raises(SettingsError) as caught:
        read_cell(json.dumps(cell), "cell.json")
    assert any(part in line for line in caught.value.problems), caught.value.problems
    assert all(line.startswith("cell.json: ") for line in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is not a cell in JSON"),
        ("[]", "must be a mapping"),
        ('{"kind": "source", "kind": "source"}', "'kind' is given twice"),
        ('{"kind": NaN}', "holds NaN"),
        ("[" * 100_000, "is not a cell in JSON"),
        (b"\xff", "is not a cell in JSON"),
        ('{"kind": "trial", "options": {}, "trial": {"share": 2}}', "trial has no 'method'"),
    ],
)
def test_text_that_is_no_cell_is_rejected(text, part):
    with pytest.raises(SettingsError) as caught:
        read_cell(text, "stdin")
    assert any(part in line for line in caught.value.problems), caught.value.problems


def run_cell(run_cli, path, **changes):
    path.write_text(json.dumps({"kind": "source", "options": OPTIONS, **changes}))
    status, out, err = run_cli("cell", path)
    return status, json.loads(out), err


def test_a_cell_is_done_once_and_checks_its_machine(run_cli, tmp_path):
    path = tmp_path / "cell.json"
    status, first, err = run_cell(run_cli, path)
    assert status == 0, err
    assert (first["kind"], first["new"], first["metrics"]["test_images"] > 0) == (
        "source", True, True,
    )  # fmt: skip
    status, again, _ = run_cell(run_cli, path, key=first["key"])
    assert (status, again["new"], again["run_id"]) == (0, False, first["run_id"])
    for wrong, part in (
        ({"key": "0" * 64}, "use the same version of the workbench"),
        ({"data": {"train": "other"}}, "the train images of digits-0v1 (digits) are others here"),
        ({"processor": {"threads": 99}}, "not with None None, 99 threads"),
    ):
        status, out, err = run_cell(run_cli, path, **wrong)
        assert (status, out["error"] in ("SettingsError", "DataError")) == (2, True)
        assert part in err.splitlines()[-1], err
        assert len(out["problems"]) == 1


def test_a_trial_trains_its_candidate_and_finds_it_again(run_cli, tmp_path):
    options = {**OPTIONS, "validation": 0.2}
    path = tmp_path / "cell.json"
    status, first, err = run_cell(run_cli, path, kind="trial", options=options, trial=TRIAL)
    assert status == 0, err
    assert first["metrics"]["cost_flops"] > 0
    status, again, _ = run_cell(
        run_cli, path, kind="trial", options=options, trial=TRIAL, key=first["key"]
    )
    assert (status, again["new"], again["run_id"]) == (0, False, first["run_id"])


def test_kinds_that_do_not_fit_the_options_are_one_line(run_cli, tmp_path):
    for changes, part in (
        ({"kind": "repair"}, "no --repair-epochs"),
        ({"kind": "teacher"}, "need no trained teacher"),
        ({"kind": "training", "protocol": "pfa-distill"}, "is not among those of the options"),
    ):
        status, out, err = run_cell(run_cli, tmp_path / "cell.json", **changes)
        assert status == 2, err
        assert part in out["problems"][0]


def test_a_missing_file_is_one_line(run_cli):
    status, out, err = run_cli("cell", "nothing.json")
    assert status == 2
    assert err.strip() == "workbench: nothing.json: cannot be read (No such file or directory)"
    assert json.loads(out)["problems"]


def test_wrong_engine_options_are_reported_together():
    with pytest.raises(SettingsError) as caught:
        EngineSettings.of(engine="locl", workers=0, cpus_per_cell=0, gpus_per_cell=1.5)
    text = "\n".join(caught.value.problems)
    for part in ("did you mean 'local'?", "--workers 0", "--cpus-per-cell 0", "--gpus-per-cell"):
        assert part in text
    with pytest.raises(SettingsError, match="--workers has no effect without --engine"):
        EngineSettings.of(workers=2)
    with pytest.raises(SettingsError, match="--engine-address has no effect"):
        EngineSettings.of(engine="local", engine_address="auto")
    assert EngineSettings.of(engine=None, workers=None) is None


def test_the_processors_are_divided_among_the_workers():
    for workers in (None, 1, 2, 3):
        found = EngineSettings.of(engine="local", workers=workers)
        assert found.threads * found.local_workers <= max(processors(), found.local_workers)
        assert found.local_workers == (workers or processors())
    assert EngineSettings.of(engine="local", cpus_per_cell=1).local_workers == processors()
    assert EngineSettings.of(engine="local").gpus("cuda") == 0
    assert EngineSettings(engine="ray").gpus("cuda") == 1
    assert EngineSettings(engine="slurm", gpus_per_cell=0.25).whole_gpus("cuda") == 1
