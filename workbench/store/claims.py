"""Claims decide which of several machines does a piece of work, if they share only a store.

A process claims a key with the tag ``CLAIM`` of its run: the time of the claim, and a heartbeat
that a thread renews. If two live runs have claimed one key, the older claim wins. The process with
the newer one stops, deletes its run, waits and reuses the result. Clocks of machines differ, so a
claim is dead only when its heartbeat has not changed for a minute on the observer's own clock.

A SQLite store needs no claims: its lock files reach every process that can use it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from workbench.errors import MissingRunError, StoreError
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import CLAIM, KEY, MACHINE
from workbench.store.runs import RUNNING, StoredRun

BEAT_EVERY = 15.0  # seconds between two heartbeats
DEAD_AFTER = 60.0  # seconds without a new heartbeat
_LONG_DEAD = 600.0  # age in seconds of a heartbeat that no difference of clocks explains
_LOOK_EVERY = 2.0  # seconds between two looks at a run that is waited for


@dataclass
class _Pulse:
    """Which claims are alive, from what this process has seen of their heartbeats."""

    seen: dict[str, tuple[str, float]] = field(default_factory=dict)

    def is_alive(self, run: StoredRun) -> bool:
        """Whether a run is RUNNING and its heartbeat still changes, as far as it is known."""
        text = run.tags.get(CLAIM, "")
        if run.status != RUNNING or not text:
            return False
        now = time.monotonic()
        before, since = self.seen.get(run.run_id, ("", now))
        if before != text:
            self.seen[run.run_id] = (text, now)
            return time.time() - _numbers(text)[1] < _LONG_DEAD
        return now - since < DEAD_AFTER


class ClaimLostError(Exception):
    """An older run does the same work.

    Attributes:
        older: the other run.
    """

    def __init__(self, store: Store, older: StoredRun, pulse: _Pulse) -> None:
        super().__init__(f"run {older.run_id} does the same work")
        self.older, self._store, self._pulse = older, store, pulse

    @property
    def machine(self) -> str:
        """The machine of the other run."""
        return self.older.tags.get(MACHINE, "another machine")

    def wait(self) -> None:
        """Wait until the other run has ended, or its process has died."""
        run = self.older
        while self._pulse.is_alive(run):
            time.sleep(_LOOK_EVERY)
            try:
                run = self._store.run(run.run_id)
            except MissingRunError:
                return
            except StoreError:  # it may answer again
                continue


@dataclass
class Claim:
    """The claim of one run on the work with one key.

    Attributes:
        taken: time of the claim in ms since 1970; with the run's id, it decides who is older.
    """

    store: Store
    experiment: str
    key: str
    run_id: str
    taken: int = field(default_factory=lambda: int(time.time() * 1000))
    _pulse: _Pulse = field(default_factory=_Pulse)
    _older: StoredRun | None = None
    _end: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Renew the heartbeat and look for older claims.

        Raises:
            StoreError: when the store does not answer.
        """
        self.store.log(self.run_id, tags={CLAIM: f"{self.taken} {time.time():.3f}"})
        for run in self.store.runs([self.experiment], {KEY: self.key}):
            if run.run_id == self.run_id or not self._pulse.is_alive(run):
                continue
            if (_numbers(run.tags[CLAIM])[0], run.run_id) < (self.taken, self.run_id):
                self._older = run

    def check(self) -> None:
        """Raise ``ClaimLostError`` if an older run does the same work."""
        if self._older:
            raise ClaimLostError(self.store, self._older, self._pulse)

    def look_and_check(self) -> None:
        """Do both."""
        self.look()
        self.check()

    def beat(self) -> None:
        """Look every few seconds until ``stop``; a store that does not answer is asked again."""
        while not self._end.wait(BEAT_EVERY):
            try:
                self.look()
            except StoreError:
                continue

    def stop(self) -> None:
        """End the heartbeat."""
        self._end.set()


@dataclass(frozen=True)
class Held:
    """A claim as the work sees it.

    Attributes:
        check: raises ``ClaimLostError`` once an older claim is known; costs nothing.
        settle: looks once more before the result is recorded, and raises it then.
    """

    check: Callable[[], None] = lambda: None
    settle: Callable[[], None] = lambda: None


@contextmanager
def claimed(store: Store, experiment: str, key: str, run_id: str) -> Iterator[Held]:
    """Claim the work with a key for a run while the block is executed.

    Raises:
        ClaimLostError: when an older run does the work; this run is then deleted.
    """
    if not store.is_shared:
        yield Held()
        return
    claim = Claim(store, experiment, key, run_id)
    try:
        claim.look_and_check()
        threading.Thread(target=claim.beat, daemon=True).start()
        yield Held(claim.check, claim.look_and_check)
    except ClaimLostError:
        claim.stop()
        store.delete(run_id)
        raise
    finally:
        claim.stop()


def _numbers(text: str) -> tuple[float, float]:
    """Time of a claim in ms and of its last heartbeat in s; zeros for a damaged tag."""
    try:
        taken, beat = text.split()
        return float(taken), float(beat)
    except ValueError:
        return 0.0, 0.0
