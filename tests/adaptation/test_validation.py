"""``adapt --validation`` compares networks on training images that they were not trained on."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.loaded_task import load_task
from workbench.adaptation.tasks.task import resolve
from workbench.models.processor import Processor
from workbench.store.mlflow_store import Store
from workbench.store.stored_results import stored_predictions

QUICK = (
    "adapt", "--source", "digits", "--target", "digits-0v1", "--source-epochs", "1",
    "--epochs", "1", "--batch-size", "64", "--protocols", "full-fine",
)  # fmt: skip


def loaded(**options):
    task = resolve(Settings.of(source="digits", target="digits-0v1", **options))
    return load_task(task, Processor("cpu", "fp32", 1))


def test_the_test_images_have_no_part_in_it():
    whole, divided = loaded(), loaded(validation=0.2)
    assert len(divided.train) + len(divided.test) == len(whole.train)
    pixels = {image.tobytes() for image in whole.train.pixels}
    assert {image.tobytes() for image in divided.test.pixels} <= pixels
    assert (whole.split, divided.split) == ("test", "validation")


def test_it_is_another_adaptation_whose_numbers_are_named(run_cli):
    results = {}
    for options in ((), ("--validation", "0.2")):
        status, out, err = run_cli(*QUICK, *options, "--json")
        assert status == 0, err
        results[options] = json.loads(out)
    tested, validated = results.values()
    assert tested["run_id"] != validated["run_id"]
    assert validated["settings"]["validation"] == 0.2
    runs = Store().runs(list(Store().experiments().values()), {})
    own = [run for run in runs if run.params.get("protocol") == "full-fine"]
    images = {run.params.get("validation", ""): run.evaluated("images") for run in own}
    assert images == {"": len(loaded().test), "0.2": len(loaded(validation=0.2).test)}

    status, out, err = run_cli(*QUICK, "--validation", "0.2")
    assert status == 0, err
    assert f"{images['0.2']:.0f} validation images" in out
    status, out, err = run_cli("compare")
    assert status == 0, err
    assert out.count("full-fine") == 2, "tested and validated networks are not combined"

    store, count = Store(), round(images["0.2"])
    for run in (run for run in own if "validation" in run.params):
        assert len(stored_predictions(store, run).labels) == count
    page = store.fetch(store.run(validated["run_id"]), "report.html").read_text()
    assert f"on {count} validation images" in page
    assert "test images" not in page.split("<script")[0]

    for run in runs:
        measured = {name.split("_")[0] for name in run.metrics if name.endswith("_accuracy")}
        if measured and run.tags["workbench.kind"] != "source":
            parent = results[("--validation", "0.2")]["run_id"]
            validates = "validation" in run.params or run.run_id == parent
            assert measured == ({"validation"} if validates else {"test"})


def test_runs_of_earlier_versions_have_the_names_of_tests_and_are_found(run_cli):
    status, out, err = run_cli(*QUICK, "--validation", "0.2", "--json")
    assert status == 0, err
    before = json.loads(out)
    assert before["trained"] == 1
    with closing(sqlite3.connect("mlruns/mlflow.db")) as database, database:
        for table in ("metrics", "latest_metrics"):
            database.execute(
                f"UPDATE {table} SET key = replace(key, 'validation_', 'test_') "
                "WHERE key LIKE 'validation_%'"
            )
    for path in Path("mlruns").rglob("validation_hits.json"):
        path.rename(path.with_name("test_hits.json"))
    status, out, err = run_cli(*QUICK, "--validation", "0.2", "--json")
    assert status == 0, err
    again = json.loads(out)
    assert again["trained"] == 0
    assert again["protocols"] == before["protocols"]
    assert run_cli("compare")[0] == 0


@pytest.mark.parametrize("share", ["0", "1", "-0.5"])
def test_a_share_that_is_none_is_one_line(run_cli, share):
    status, _, err = run_cli(*QUICK, "--validation", share)
    assert status == 2
    assert f"--validation {share} is not within (0, 1); try 0.2" in err
