"""Two machines with one store and no common lock files: the older claim wins."""

import threading
from dataclasses import replace

import pytest

from workbench.adaptation.preparation import prepare
from workbench.adaptation.trainings.source_training import job_of_source
from workbench.errors import MissingRunError
from workbench.store import claims
from workbench.store.claims import Claim, ClaimLostError, claimed
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import CLAIM, KEY
from workbench.store.runs import FINISHED, KILLED
from workbench.store.unfinished_work import Work
from workbench.training.progress import Display

OPTIONS = {"source": "digits", "target": "digits-0v1", "source_epochs": 2, "epochs": 1,
           "schedule": "one-cycle", "batch_size": 64}  # fmt: skip


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(Store, "is_shared", True)
    monkeypatch.setattr(claims, "_LOOK_EVERY", 0.05)
    return Store()


def started(store, number, key="k"):
    return store.start(number, "run", {KEY: key}, {})


def test_the_newer_claim_is_deleted_and_waits_for_the_older(store):
    number = store.experiment("digits")
    one, two = started(store, number), started(store, number)
    Claim(store, number, "k", one, taken=1000).look_and_check()
    with pytest.raises(ClaimLostError) as lost, claimed(store, number, "k", two):
        pytest.fail("the newer claim was allowed to work")
    assert [run.run_id for run in store.runs([number], {KEY: "k"})] == [one]
    threading.Timer(0.3, lambda: store.end(one, FINISHED)).start()
    lost.value.wait()
    assert store.run(one).status == FINISHED


def test_the_order_does_not_depend_on_who_looks_first(store):
    number = store.experiment("digits")
    one, two = started(store, number), started(store, number)
    newer = Claim(store, number, "k", one, taken=2000)
    newer.look_and_check()
    Claim(store, number, "k", two, taken=1000).look_and_check()
    newer.look()  # as its heartbeat does
    with pytest.raises(ClaimLostError) as lost:
        newer.check()
    assert lost.value.older.run_id == two


def test_other_work_ended_runs_and_runs_without_a_claim_do_not_count(store):
    number = store.experiment("digits")
    other, ended, old, own = (started(store, number, key) for key in ("other", "k", "k", "k"))
    for run_id, key in ((other, "other"), (ended, "k")):
        Claim(store, number, key, run_id, taken=1).look_and_check()
    store.end(ended, KILLED)
    Claim(store, number, "k", own).look_and_check()
    assert CLAIM not in store.run(old).tags


def test_a_claim_without_a_heartbeat_is_dead_after_a_while(store, monkeypatch):
    monkeypatch.setattr(claims, "DEAD_AFTER", 0.3)
    number = store.experiment("digits")
    one, two = started(store, number), started(store, number)
    Claim(store, number, "k", one, taken=1000).look_and_check()  # and never again
    with pytest.raises(ClaimLostError) as lost, claimed(store, number, "k", two):
        pass
    lost.value.wait()
    store.log(one, tags={CLAIM: "1000 5.000"})  # years old: no difference of clocks
    Claim(store, number, "k", started(store, number)).look_and_check()


def test_a_local_store_needs_no_claims():
    store = Store()
    number = store.experiment("digits")
    run_id = started(store, number)
    with claimed(store, number, "k", run_id) as held:
        held.check()
        held.settle()
    assert CLAIM not in store.run(run_id).tags


def test_two_machines_train_a_network_once(store, tmp_path):
    prepared = prepare(OPTIONS, Display())
    job = job_of_source(prepared.call.task, prepared.call.processor, Display())
    recorders = [
        replace(prepared.recorder, work=Work(tmp_path / name, tmp_path / name / ".locks"))
        for name in ("one", "two")
    ]
    for recorder in recorders:
        recorder.work.prepare()
    results = {}

    def train(place):
        results[place] = recorders[place].train(job, None, lambda outcome: True)

    threads = [threading.Thread(target=train, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(new for _, new in results.values()) == [False, True]
    assert results[0][0].run_id == results[1][0].run_id
    (run,) = store.runs([prepared.recorder.experiment], {KEY: job.key})
    assert run.status == FINISHED
    with pytest.raises(MissingRunError):
        store.run("gone")
