"""Metrics of a training that is under way."""

from __future__ import annotations

import time
from collections.abc import Container, Sequence

from workbench.errors import LostStoreError, StoreError
from workbench.store.machine_use import MachineUse
from workbench.store.mlflow_store import Store
from workbench.training.checkpoints import Epoch
from workbench.training.progress import Display


class LiveMetrics:
    """Sends epochs and the use of the machine to MLflow, at most every few seconds.

    A store that does not answer must not stop a training. Epochs that could not be sent are sent
    with the outcome.
    """

    def __init__(self, store: Store, run_id: str, display: Display) -> None:
        self._store, self._run_id, self._display = store, run_id, display
        self._waiting: list[Epoch] = []
        self._use = MachineUse()
        self._next = 0.0
        self._logged: Container[int] | None = None

    def add(self, epoch: Epoch) -> None:
        self._waiting.append(epoch)
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 5.0
        try:
            if self._logged is None:
                self._logged = self._store.logged_steps(self._run_id, "train_loss")
            use = [(name, value, epoch.number) for name, value in self._use.sample().items()]
            steps = epoch_metrics(self._waiting, self._logged)
            self._store.log(self._run_id, steps=[*steps, *use])
            self._waiting.clear()
        except LostStoreError:  # it will not answer again
            raise
        except StoreError as error:
            self._next = time.monotonic() + 60.0
            self._display.say(f"warning: {error} (the training continues)")


def epoch_metrics(epochs: Sequence[Epoch], logged: Container[int]) -> list[tuple[str, float, int]]:
    """Loss and learning rate of the epochs that are not yet ``logged``, as MLflow steps."""
    steps: list[tuple[str, float, int]] = []
    for epoch in epochs:
        if epoch.number not in logged:
            steps.append(("train_loss", epoch.loss, epoch.number))
            steps.append(("lr", epoch.learning_rate, epoch.number))
    return steps
