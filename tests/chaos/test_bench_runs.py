"""What the chaos tests read from a store shows a lost, a doubled and a repeated run."""

from bench_runs import Record

from workbench.store.mlflow_store import Store
from workbench.store.run_tags import KEY, KIND
from workbench.store.runs import FINISHED, KILLED


def test_a_store_without_a_fault_has_nothing_to_tell():
    store, number = _store()
    _training(store, number, "one", [1, 2])
    assert Record.of(store, [number], 2) == Record(["one"], [], [], [])


def test_unfinished_doubled_and_repeated_work_is_seen():
    store, number = _store()
    store.end(_training(store, number, "cut off", [1, 2]), KILLED)
    _training(store, number, "first", [1, 2], key="same")
    store.delete(_training(store, number, "second", [1, 2], key="same"))
    _training(store, number, "again", [1, 2, 2])
    _training(store, number, "short", [1])
    found = Record.of(store, [number], 2)
    assert found.unfinished == ["cut off: KILLED"]
    assert found.twice == ["first"]
    assert sorted(found.wrong_epochs) == ["again: epochs [1, 2, 2]", "short: epochs [1]"]


def _store():
    store = Store()
    return store, store.experiment("digits")


def _training(store, number, name, epochs, key=None):
    run_id = store.start(number, name, {KEY: key or name, KIND: "protocol"}, {})
    losses = [("train_loss", 1.0 + place, step) for place, step in enumerate(epochs)]
    store.log(run_id, metrics={"train_seconds": 1.0}, steps=losses)
    store.end(run_id, FINISHED)
    return run_id
