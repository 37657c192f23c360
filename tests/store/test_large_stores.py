"""Look-ups in a store of many runs read what they need: the same runs as MLflow's search, fewer."""

import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from workbench.errors import SettingsError
from workbench.experiments import reports
from workbench.reporting import run_comparison
from workbench.reporting.run_comparison import compare
from workbench.store import leftovers, mlflow_store
from workbench.store.leftovers import find_leftovers
from workbench.store.mlflow_models import LOADER
from workbench.store.mlflow_store import Store
from workbench.store.runs import KEY, KIND, MODEL_TAG, Wanted
from workbench.store.server_runs import search
from workbench.store.sqlite_runs import add_index, query_of, read_runs, read_tags
from workbench.store.unfinished_work import open_work

DATABASE = Path("mlruns/mlflow.db")
PARAMS = {
    "source": "digits", "model": "simplecnn", "method": "none", "schedule": "paper",
    "protocol": "full-fine", "epochs": 1, "learning_rate": 0.1,
}  # fmt: skip
METRICS = {
    "test_hits": 9, "test_images": 10, "parameters": 5, "footprint": 1, "flops": 7,
    "flops_ratio": 1, "train_seconds": 2,
}  # fmt: skip


@pytest.fixture
def store():
    """A store with seven runs: four trainings for two targets, and others."""
    store = Store()
    digits, others = store.experiment("digits"), store.experiment("o'thers")
    for seed in range(4):
        tags = {KEY: f"{seed:064x}", KIND: "protocol"}
        params = {**PARAMS, "domain": "odd" if seed % 2 else "even", "seed": seed}
        run = store.start(digits, f"training {seed}", tags, params)
        store.log(run, metrics=METRICS, steps=[("train_loss", 1.0, 1), ("train_loss", 0.5, 2)])
        store.end(run, "FINISHED")
    unfinished = store.start(digits, "begun", {KEY: "b", KIND: "protocol"}, {"domain": "o'dd"})
    store.log(unfinished, metrics={"lost": float("nan"), "far": float("inf")})
    store.end(store.start(others, "adapted", {KIND: "adapt"}, {"domain": "odd"}), "FINISHED")
    deleted = store.start(others, "deleted", {KIND: "adapt"}, {"domain": "odd"})
    with store.client("written") as client:
        client.delete_run(deleted)
    return store


def every(store, **chosen):
    return Wanted(list(store.experiments().values()), **chosen)


def plain(runs):
    """Runs that can be compared: nan is not equal to itself."""
    return [str(vars(run) | {"tags": sorted(run.tags.items()), "params": sorted(run.params.items()),
                             "metrics": sorted(run.metrics.items())}) for run in runs]  # fmt: skip


def test_rows_of_sqlite_give_the_runs_of_mlflows_search(store):
    for chosen in (
        {},
        {"tags": {KIND: "protocol"}},
        {"tags": {KIND: "protocol", "mlflow.source.name": "workbench"}, "finished": True},
        {"tags": {KEY: f"{2:064x}"}},
        {"tags": {KEY: "absent"}},
        {"params": {"domain": "odd"}},
        {"params": {"domain": "o'dd"}},
        {"params": {"domain": "o'dd", "seed": "1"}},
        {"tags": {KIND: "protocol"}, "params": {"domain": "even"}, "finished": True, "limit": 1},
        {"limit": 3},
        {"finished": True, "limit": 0},
    ):
        wanted = every(store, **chosen)
        with store.client("read") as client:
            theirs = search(client, wanted)
        assert plain(read_runs(DATABASE.resolve(), wanted)) == plain(theirs), chosen


def test_a_run_without_the_wanted_tags_is_read_too(store):
    found = read_tags(DATABASE.resolve(), every(store).experiments, (KEY, "mlflow.user", KIND))
    whole = read_runs(DATABASE.resolve(), every(store))
    assert [run.run_id for run in found] == [run.run_id for run in whole]
    assert [run.tags for run in found] == [
        {name: run.tags[name] for name in (KEY, "mlflow.user", KIND) if name in run.tags}
        for run in whole
    ]
    assert {len(run.params) + len(run.metrics) for run in found} == {0}


@pytest.mark.parametrize("name", [KEY, KIND])
def test_a_look_up_by_key_or_kind_uses_the_index(store, name):
    query, values = query_of(every(store, tags={name: "x"}, finished=True))
    with closing(sqlite3.connect(DATABASE)) as database:
        steps = [row[-1] for row in database.execute(f"EXPLAIN QUERY PLAN {query}", values)]
        assert any("workbench_tags (key=? AND value=?)" in step for step in steps), steps
        # From the tags to their runs: no scan.
        assert not any(step.startswith("SCAN runs") for step in steps), steps


def test_a_store_without_the_index_gets_it_once(store):
    def names():
        with closing(sqlite3.connect(DATABASE)) as database:
            query = "SELECT name FROM sqlite_master WHERE tbl_name = 'tags' AND type = 'index'"
            return sorted(name for (name,) in database.execute(query))

    assert names().count("workbench_tags") == 1
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute("DROP INDEX workbench_tags")
    Store()
    before = names()
    add_index(DATABASE)
    assert names() == before
    assert "workbench_tags" in before


def test_a_search_on_a_server_asks_for_no_more_than_it_needs():
    asked = []

    def search_runs(*_, max_results, page_token, **__):
        asked.append(max_results)
        token = None if len(asked) == 4 else str(len(asked))
        info = SimpleNamespace(run_id="a", run_name="a", status="FINISHED", artifact_uri="",
                               experiment_id="1", start_time=0)  # fmt: skip
        data = SimpleNamespace(tags={}, params={}, metrics={})
        page = [SimpleNamespace(info=info, data=data)] * max_results

        class Page(list):
            pass

        found = Page(page)
        found.token = token
        return found

    client = SimpleNamespace(search_runs=search_runs)
    assert len(search(client, Wanted(["1"], limit=1))) == 1
    assert asked == [1]
    asked.clear()
    assert len(search(client, Wanted(["1"], limit=2500))) == 2500
    assert asked == [1000, 1000, 500]


def test_compare_reads_only_the_newest_runs_and_says_so(store):
    said = []
    rows = compare(newest=3, say=said.append)
    assert sorted((row.domain, len(row.result.hits)) for row in rows) == [("even", 1), ("odd", 2)]
    assert len(said) == 1
    assert "only the 3 newest" in said[0]
    assert "--newest" in said[0]
    said.clear()
    (row,) = compare(newest=2, target="even", say=said.append)
    assert (len(row.result.hits), said) == (2, [])
    with pytest.raises(SettingsError, match="--newest 0: must be at least 1"):
        compare(newest=0)


@pytest.fixture
def loaded(monkeypatch):
    """Number of runs that each search of the test loads."""
    numbers = []

    def counted(path, wanted):
        found = read_runs(path, wanted)
        numbers.append(len(found))
        return found

    monkeypatch.setattr(mlflow_store, "read_runs", counted)
    return numbers


def test_compare_and_report_load_the_runs_of_their_target(store, loaded):
    compare(target="even")
    assert loaded == [2, 0]  # trainings and stages
    loaded.clear()
    assert reports._newest(store, "odd").name == "adapted"
    assert loaded == [1]
    with pytest.raises(SettingsError, match="did you mean 'odd'"):
        reports._newest(store, "od")


def test_clean_loads_no_run_and_reads_no_description_of_a_model_in_use(store, loaded, monkeypatch):
    (run,) = store.runs(list(store.experiments().values()), {KEY: f"{1:064x}"})
    store.log(run.run_id, tags={MODEL_TAG: "m-used"})
    for name, run_id in (("m-used", run.run_id), ("m-kept", run.run_id), ("m-gone", "0" * 32)):
        folder = Path("mlruns/artifacts/digits/models") / name / "artifacts"
        folder.mkdir(parents=True)
        flavor = f"flavors:\n  python_function:\n    loader_module: {LOADER}\n"
        (folder / "MLmodel").write_text(f"{flavor}run_id: {run_id!r}\n")
    read = []

    def noted(folder):
        read.append(folder.name)
        return run_of_model(folder)

    run_of_model = leftovers.run_of_model
    monkeypatch.setattr(leftovers, "run_of_model", noted)
    loaded.clear()
    found = find_leftovers(None, open_work(None, None))
    assert [leftover.model for leftover in found] == ["m-gone"]
    assert sorted(read) == ["m-gone", "m-kept"]
    assert loaded == []


def test_the_default_of_the_command_is_that_of_the_function():
    from typer.main import get_command

    from workbench.cli.commands import app

    options = {option.name: option for option in get_command(app).commands["compare"].params}
    assert options["newest"].default == run_comparison.NEWEST
