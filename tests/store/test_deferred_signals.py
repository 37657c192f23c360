"""An interrupt at any moment of a call leaves the store whole and writable."""

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from filelock import FileLock
from processes import take_interrupts

from workbench.store import deferred_signals
from workbench.store.deferred_signals import deferred
from workbench.store.mlflow_store import Store
from workbench.store.runs import KILLED


@pytest.fixture(autouse=True)
def _interrupts():
    take_interrupts()  # the handlers of before come back in conftest.py


@contextmanager
def interrupt_at(number):
    """Send SIGINT at the n-th call of a Python function in the block."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        if event == "call":
            calls += 1
            if calls == number:
                sys.setprofile(None)
                os.kill(os.getpid(), signal.SIGINT)

    sys.setprofile(count)
    try:
        yield lambda: calls
    finally:
        sys.setprofile(None)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store whose first, slower calls have been made; its experiment is 0."""
    monkeypatch.setattr(deferred_signals, "_LONGEST", 60.0)  # however slow the machine is
    store = Store(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    store.end(store.start("0", "first", {}, {}), KILLED, "no reason")
    return store


def moments_of(action):
    """Numbers of about 200 calls of Python functions, evenly over an action."""
    action()  # the first time takes more calls
    with interrupt_at(0) as calls:
        action()
    return range(1, calls(), calls() // 200)


def test_a_transaction_is_whole_and_its_locks_are_released(store, tmp_path):
    run_id = store.start("0", "run", {}, {})
    steps = [("train_loss", 1.0, number) for number in range(5)]
    moments = moments_of(lambda: store.log(run_id, steps=steps, tags={"seen": "0"}))
    kept, written = {}, 0  # a notebook keeps the frames of its last exception, too
    for number in moments:
        try:
            with interrupt_at(number):
                store.log(run_id, steps=steps, tags={"seen": str(number)})
        except KeyboardInterrupt as error:
            kept[number] = error
        written += store.run(run_id).tags["seen"] == str(number)
        FileLock(f"{tmp_path}/mlruns/mlflow.db.lock").acquire(timeout=0).lock.release()
        store.log(run_id, tags={"after": str(number)})  # fails if SQLite's lock was not released
    assert [*kept] == [*moments][: len(kept)], "an interrupt was lost"
    assert len(kept) > 0.7 * len(moments)
    assert written > 0.8 * len(moments), "calls were cut off"


def test_no_run_is_left_running_that_nobody_knows(store):
    moments = moments_of(lambda: store.start("0", "known", {}, {"lr": 0.1}))
    statuses = []
    for number in moments:
        with suppress(KeyboardInterrupt), interrupt_at(number):
            store.start("0", f"at {number}", {}, {"lr": 0.1})
            break  # it takes fewer calls than the one that was counted
        found = [run for run in store.runs(["0"], {}) if run.name == f"at {number}"]
        statuses += [run.status for run in found]
    assert set(statuses) == {KILLED}
    assert len(statuses) > 0.7 * len(moments)

    known = next(run for run in store.runs(["0"], {}) if run.name == "known")
    moments = moments_of(lambda: store.reopen(known, {"lr": 0.1}))
    store.end(known.run_id, KILLED)
    cut_off = 0
    for number in moments:
        with suppress(KeyboardInterrupt), interrupt_at(number):
            store.reopen(known, {"lr": 0.1})
            break
        cut_off += 1
        assert store.run(known.run_id).status == KILLED, number
    assert cut_off > 0.7 * len(moments)


def test_a_signal_waits_for_the_end_of_the_block_and_for_the_outermost_one():
    done = []

    def work():
        with deferred():
            with deferred():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("inner")
            done.append("outer")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_does_not_wait_for_a_call_that_does_not_end():
    done = []

    def work():
        with deferred():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("begun")
            time.sleep(20)
            done.append("ended")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["begun"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_after_an_interrupt_the_next_one_does_not_wait():
    done = []

    def work():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            with deferred():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("ended")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not done


def test_all_handlers_come_back_if_a_restored_one_raises_at_once():
    def stop(*_):
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, stop)

    for number in range(1, 12):
        with suppress(SystemExit), deferred():
            calls = 0

            def count(frame, event, _argument, number=number):
                nonlocal calls
                calls += event in ("call", "c_call")
                if calls == number:
                    sys.setprofile(None)
                    os.kill(os.getpid(), signal.SIGTERM)

            sys.setprofile(count)
        sys.setprofile(None)
        assert signal.getsignal(signal.SIGTERM) is stop, number
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, number
        timers = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
        assert all(each.finished.is_set() for each in timers), "it would send the signal again"


def test_handlers_that_are_no_functions_are_left_alone():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with deferred():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_may_use_the_store(store):
    failures = []

    def work():
        try:
            store.end(store.start("0", "thread", {}, {}), KILLED)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures
