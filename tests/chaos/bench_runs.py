"""A small bench on digits as a process, and what it has recorded."""

import csv
import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from processes import take_interrupts
from safetensors.torch import save_file

from workbench.cli import main
from workbench.experiments.engines.engine_settings import SLURM, EngineSettings
from workbench.experiments.engines.engine_table import open_engine
from workbench.models.networks import build_network
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import KEY, KIND
from workbench.store.runs import FINISHED

#: Columns of a row that depend on the moment, not on the training.
MOMENT = ("latency_ms", "train_seconds", "run_id", "date", "commit")
#: Epochs, methods and seeds. A training of the long bench takes seconds, so that faults hit it.
LONG = (8, "--methods", "uniform", "--seeds", 2)
SHORT = (3, "--methods", "uniform")
ON_ENGINE = ("--cpus-per-cell", 1)
_SECONDS = 900  # after which a command counts as hanging


@dataclass
class Bench:
    """A bench in a folder of its own.

    Attributes:
        folder: working directory of the command.
        size: ``LONG`` or ``SHORT``.
        options: of the engine and the store.
        tracking_uri: of the store; None for the one in the folder.
    """

    folder: Path
    size: tuple
    options: tuple = ()
    tracking_uri: str | None = None
    messages: list[str] = field(default_factory=list)

    @property
    def words(self):
        """The command, without ``workbench``."""
        uri = ("--tracking-uri", self.tracking_uri) if self.tracking_uri else ()
        return (
            "bench", "--source", "digits", "--model", "simplecnn", "--weights", self._weights(),
            "--target", "digits-3v8", "--footprints", "0.4", "--epochs", *self.size, "--schedule",
            "one-cycle", "--batch-size", 16, *self.options, *uri,
        )  # fmt: skip

    def _weights(self):
        weights = self.folder.parent / "source.safetensors"
        if not weights.exists():
            save_file(build_network("simplecnn", (1, 8, 8), 10, seed=1).state_dict(), weights)
        return weights

    @contextmanager
    def running(self):
        """Start the command; the block may end it. Afterwards it has ended."""
        self.folder.mkdir(exist_ok=True)
        driver = subprocess.Popen(
            [sys.executable, "-m", "workbench", *map(str, self.words)],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"},
            preexec_fn=take_interrupts,
        )
        reader = threading.Thread(target=lambda: self.messages.extend(driver.stderr))
        reader.start()
        try:
            yield driver
            driver.wait(_SECONDS)
        finally:
            driver.kill()
            driver.wait()
            reader.join()
            driver.stderr.close()

    def run(self):
        """Run the command to its end and return its exit status."""
        with self.running() as driver:
            driver.wait(_SECONDS)
        return driver.returncode

    def run_here(self):
        """Run the command in this process, with one thread as its cells have; its exit status."""
        self.folder.mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["workbench", *map(str, self.words)])
            one_thread = open_engine(EngineSettings(engine="local", cpus_per_cell=1), {})
            with one_thread, pytest.raises(SystemExit) as ended:
                main()
        return ended.value.code

    def rows(self):
        """The rows of the results, without the columns of the moment."""
        with (self.folder / "docs/results/data/cells.csv").open(newline="") as file:
            found = list(csv.DictReader(file))
        return [{name: row[name] for name in row if name not in MOMENT} for row in found]

    def record(self):
        """What the store has of the bench."""
        store = Store(self.tracking_uri or f"sqlite:///{self.folder}/mlruns/mlflow.db")
        return Record.of(store, list(store.experiments().values()), self.size[0])

    def leftovers(self):
        """Files of unfinished work, which nothing needs later; submitit keeps its own."""
        work = self.folder / "mlruns/work"
        return sorted(
            str(path.relative_to(work))
            for path in work.rglob("*")
            if path.is_file() and not {".locks", SLURM} & set(path.parts)
        )


@dataclass(frozen=True)
class Record:
    """The runs of a store.

    Attributes:
        names: of the runs that are not in the trash, sorted.
        unfinished: names of those that are not FINISHED.
        twice: names of runs with the same key as another finished one, also in the trash.
        wrong_epochs: trainings whose losses are not one for each epoch.
    """

    names: list[str]
    unfinished: list[str]
    twice: list[str]
    wrong_epochs: list[str]

    @classmethod
    def of(cls, store, experiments, epochs):
        """The record of a store in which every training has this number of epochs."""
        runs = store.runs(experiments, {})
        trained = [run for run in runs if run.tags[KIND] == "protocol" and _seconds(run) > 0]
        with store.client("read") as client:
            deleted = client.search_runs(experiments, run_view_type=ViewType.DELETED_ONLY)
            losses = {
                run.run_id: client.get_metric_history(run.run_id, "train_loss") for run in trained
            }
        keys = Counter(run.tags.get(KEY) for run in runs if run.status == FINISHED)
        keys.update(r.data.tags.get(KEY) for r in deleted if r.info.status == FINISHED)
        wanted = [*range(1, epochs + 1)]
        return cls(
            sorted(run.name for run in runs),
            [f"{run.name}: {run.status}" for run in runs if run.status != FINISHED],
            [run.name for run in runs if keys[run.tags.get(KEY)] > 1],
            [
                f"{run.name}: epochs {steps}"
                for run in trained
                if (steps := sorted(point.step for point in losses[run.run_id])) != wanted
            ],
        )


def _seconds(run):
    return run.metrics.get("train_seconds", 0.0)
