"""One trial of a scenario: a bench with faults, the same command again, and what is then there."""

import os
import random
import threading
import time
from dataclasses import dataclass, field, replace

from bench_runs import Bench

#: Seed of all faults; the same seed repeats a failing trial as far as the machine allows.
SEED = int(os.environ.get("CHAOS_SEED", "1"))


@dataclass
class Trial:
    """What a scenario did to a bench, and how it came out.

    Attributes:
        name: of the scenario.
        injected: the faults, in order.
        first, again: exit statuses of the disturbed command and of the same command again;
            the latter is 0 if it was not needed.
        runs: number of runs of the undisturbed bench.
        lost: runs that are missing or not finished, and rows that differ.
        twice: runs and epochs that were recorded twice.
        messages: of both commands.
        seconds: duration.
    """

    name: str
    injected: list[str] = field(default_factory=list)
    first: int = -1
    again: int = 0
    runs: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def survived(self):
        """Whether everything is there once, with the numbers of an undisturbed bench."""
        return self.injected and not (self.again or self.lost or self.twice or self._tracebacks)

    @property
    def _tracebacks(self):
        return [line for line in self.messages if line.startswith("Traceback")]

    def check(self):
        """Assert that it survived."""
        told = "".join([*(f"{line}\n" for line in (*self.lost, *self.twice)), *self.messages[-60:]])
        assert self.injected, f"no fault was injected\n{told}"
        assert not self._tracebacks, told
        assert self.again == 0, told
        assert (self.lost, self.twice) == ([], []), told


def disturb(name, open_scene, undisturbed, *, here=False):
    """Run a bench with the faults of a scenario, then the same command again, and compare.

    Args:
        undisturbed: the bench without faults; the other one is made beside it.
        here: run the command in this process and without an engine the second time; this is faster.
    """
    folder = undisturbed.folder.with_name("".join(c if c.isalnum() else "-" for c in name))
    trial, start = Trial(name), time.monotonic()
    drawing = random.Random(f"{name} {SEED}")
    with open_scene(folder) as scene:
        bench = Bench(folder, undisturbed.size, scene.options, scene.tracking_uri)
        trial.first = _run_with_faults(bench, scene.faults, drawing, trial.injected)
        if trial.first != 0:
            trial.again = replace(bench, options=()).run_here() if here else bench.run()
        _compare(bench, undisturbed, trial)
        trial.messages = bench.messages
    trial.seconds = time.monotonic() - start
    return trial


def _run_with_faults(bench, faults, drawing, injected):
    ended = threading.Event()
    broken = []

    def inject(driver):
        try:
            for fault in faults:
                injected.extend(fault(bench, driver, drawing, ended))
        except BaseException as error:
            broken.append(error)
            raise

    with bench.running() as driver:
        thread = threading.Thread(target=inject, args=(driver,))
        thread.start()
        try:
            driver.wait(900)
        finally:
            ended.set()
            thread.join()
    assert not broken, broken
    return driver.returncode


def _compare(bench, undisturbed, trial):
    wanted, found = undisturbed.record(), bench.record()
    trial.runs = len(wanted.names)
    trial.lost += found.unfinished
    trial.lost += [f"missing: {name}" for name in wanted.names if name not in found.names]
    trial.twice += found.twice + found.wrong_epochs
    if len(found.names) > len(wanted.names):
        trial.twice.append(f"{len(found.names)} runs instead of {len(wanted.names)}")
    trial.lost += [f"left over: {name}" for name in bench.leftovers()]
    if not trial.again:
        ours, theirs = bench.rows(), undisturbed.rows()
        trial.lost += [f"another row: {row}" for row in ours if row not in theirs]
        trial.lost += [f"no such row: {row}" for row in theirs if row not in ours]
