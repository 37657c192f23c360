"""Find a recorded result, or compute it, store it safely and log it.

The order makes every step repeatable. The state of a training is in the work folder from before
its run is logged to MLflow until the run is FINISHED. So nothing is lost when the process is
killed or the tracking server fails, and finished work is not repeated.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from workbench import __version__
from workbench.errors import LostStoreError, StoreError, WorkbenchError
from workbench.models.processor import Processor, machine_name
from workbench.models.weight_files import read_weights
from workbench.store.claims import ClaimLostError, claimed
from workbench.store.code_version import code_commit
from workbench.store.jobs import Job
from workbench.store.keys import file_hash, weights_fingerprint
from workbench.store.live_metrics import LiveMetrics, epoch_metrics
from workbench.store.mlflow_models import Described, drop_model, log_model
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import (
    COMMIT,
    DROPPED,
    FILE,
    FINGERPRINT,
    HASH,
    KEPT,
    KEY,
    KIND,
    MACHINE,
    OWNER,
    PROCESSES,
    PYTHON,
    VERSION,
    WEIGHTS,
)
from workbench.store.runs import FAILED, FINISHED, INTERRUPTED, KILLED, RUNNING, StoredRun
from workbench.store.shared_stores import warn_once
from workbench.store.stored_results import (
    HITS_FILE,
    VALIDATION_HITS_FILE,
    has_artifact,
    has_options,
    hits_json,
)
from workbench.store.unfinished_work import WEIGHTS_FILE, Outcome, Work, disk_errors, open_work
from workbench.store.whole_runs import is_whole
from workbench.training.checkpoints import Epoch
from workbench.training.evaluation import evaluate
from workbench.training.loop import fit
from workbench.training.processes import share
from workbench.training.progress import Display


@dataclass(frozen=True)
class Recorder:
    """Runs trainings and records their results.

    Attributes:
        experiment: id of the MLflow experiment.
        fresh: repeat work that is already recorded.
    """

    store: Store
    experiment: str
    work: Work
    processor: Processor
    display: Display
    fresh: bool = False

    def find(self, key: str) -> StoredRun | None:
        """The run that holds the result of this work, or None.

        The run must be FINISHED and not deleted. Its file (weights, or a recipe) must exist and
        match the recorded hash, or have been dropped on purpose.
        """
        runs = self.store.runs([self.experiment], {KEY: key}, finished=True)
        # If a training was done twice, prefer the run that still has its weights.
        runs.sort(key=lambda run: run.tags.get(WEIGHTS) == DROPPED)
        return next((run for run in runs if is_whole(self.store, run)), None)

    def train(
        self, job: Job, parent: str | None, keep: Callable[[Outcome], bool]
    ) -> tuple[StoredRun, bool]:
        """The finished run of a training, and whether it was trained in this call.

        Args:
            parent: id of the parent of a new run.
            keep: decides from the outcome whether the weights are kept in the store.

        Raises:
            TrainingError: when the training breaks down; its run is then FAILED.
            StoreError: when the store fails; the trained network stays in the work folder.
        """
        done = self._find_trained(job)
        if done:
            return done, False
        say = self.display.say
        try:
            with self.work.lock(
                job.key, lambda: say(f"{job.title}: another process is training it; waiting")
            ):
                done = self._find_trained(job)
                return (done, False) if done else (self._train(job, parent, keep), True)
        except ClaimLostError as lost:
            say(f"{job.title}: {lost.machine} is training it; waiting")
            lost.wait()
        return replace(self, fresh=False).train(job, parent, keep)

    def _train(self, job: Job, parent: str | None, keep: Callable[[Outcome], bool]) -> StoredRun:
        """Train and record; the caller holds the key's lock."""
        if self.fresh:
            self.work.remove(job.key)
        run_id = self.open(job.key, job.kind, job.title, job.params, parent)
        with self.closing(run_id), claimed(self.store, self.experiment, job.key, run_id) as held:
            self.work.claim(job.key, self.store.address)
            self.store.log_inputs(run_id, job.inputs)
            outcome = self.work.outcome(job.key) or self._fit(job, run_id, held.check)
            held.settle()
            self._record(job, run_id, outcome, keep(outcome))
        self.work.remove(job.key)
        return self.store.run(run_id)

    def _find_trained(self, job: Job) -> StoredRun | None:
        """The finished run of a training, its texts repaired; None if it must be trained."""
        done = None if self.fresh else self.find(job.key)
        if done:
            self._mend_texts(job, done)
        return done

    def open(
        self, key: str, kind: str, title: str, params: Mapping[str, object], parent: str | None
    ) -> str:
        """Reopen the interrupted run of this work, or start one, and return its id.

        The caller holds the key's lock, so a run of this owner that is still RUNNING has no
        process. Runs of other owners (another machine, another work folder) are not changed.
        """
        runs = self.store.runs([self.experiment], {KEY: key, OWNER: self.work.owner})
        cut_off = [run for run in runs if run.status != FINISHED]
        own = [run for run in cut_off if run.parent == parent and not self.fresh]
        for run in cut_off:
            if run.status == RUNNING and run not in own[:1]:
                self.store.end(run.run_id, KILLED, "its process ended before the work was done")
        if own:
            self.store.reopen(own[0], params)
            return own[0].run_id
        tags = {
            KEY: key,
            KIND: kind,
            OWNER: self.work.owner,
            VERSION: __version__,
            PYTHON: platform.python_version(),
            MACHINE: machine_name(self.processor.device),
            **({PROCESSES: str(count)} if (count := share().count) > 1 else {}),
            **({COMMIT: commit} if (commit := code_commit()) else {}),
        }
        return self.store.start(self.experiment, title, tags, params, parent=parent)

    def open_parent(
        self, key: str, title: str, params: Mapping[str, object], kind: str = "adapt"
    ) -> tuple[str, bool]:
        """The existing or a new run of an adaptation or a search, and whether it is FINISHED.

        The caller holds the key's lock.
        """
        runs = [] if self.fresh else self.store.runs([self.experiment], {KEY: key}, finished=True)
        if runs:
            return runs[0].run_id, True
        return self.open(key, kind, title, params, None), False

    @contextmanager
    def closing(self, run_id: str) -> Iterator[None]:
        """End a run as FINISHED, KILLED or FAILED when the block ends."""
        try:
            with disk_errors(self.work.folder):
                yield
            self.store.end(run_id, FINISHED)
        except (KeyboardInterrupt, SystemExit):
            self._end(run_id, KILLED, INTERRUPTED)
            raise
        except (LostStoreError, ClaimLostError):  # nothing to record it in
            raise
        except BaseException as error:
            self._end(run_id, FAILED, f"{type(error).__name__}: {error}")
            raise

    def drop_weights(self, run: StoredRun) -> None:
        """Delete a run's weights, and record that this was on purpose."""
        self.store.log(run.run_id, tags={WEIGHTS: DROPPED})
        self.store.drop(run, run.tags.get(FILE, WEIGHTS_FILE))
        drop_model(self.store, run)

    def _end(self, run_id: str, status: str, reason: str) -> None:
        try:
            self.store.end(run_id, status, reason)
        except LostStoreError:
            pass  # the first failure is the one to report, and has the same cause
        except WorkbenchError as error:  # the first failure is the one to report
            self.display.say(f"warning: {error}")

    def _mend_texts(self, job: Job, run: StoredRun) -> None:
        """Write damaged or missing texts of a training again; the job holds their content."""
        for name, text in job.artifacts.items():
            same = has_artifact if name.endswith(".json") else has_options
            if not same(self.store, run, name, text):
                self.store.attach_text(run.run_id, name, text)

    def _fit(self, job: Job, run_id: str, check: Callable[[], None]) -> Outcome:
        """Train, evaluate once, and write the outcome to the work folder.

        Args:
            check: called after each step; raises if another process does the work.
        """
        model = job.make_model()
        live = LiveMetrics(self.store, run_id, self.display)
        with self.display.track(job.title, job.plan.epochs, lambda: job.work(model)) as advance:

            def on_epoch(epoch: Epoch) -> None:
                live.add(epoch)
                advance(epoch.number, f"loss {epoch.loss:.3f}")

            def on_step(epoch: int, step: int, steps: int) -> None:
                check()
                if step < steps:
                    advance(epoch - 1 + step / steps, f"epoch {epoch}, step {step} of {steps}")

            progress = fit(
                model,
                job.train,
                job.source,
                job.plan,
                seed=job.seed,
                processor=self.processor,
                teacher=job.make_teacher() if job.make_teacher else None,
                checkpoint=self.work.checkpoint(job.key, job.checkpoint_every),
                on_epoch=on_epoch,
                on_step=on_step,
            )
        scores = job.scores(model) if job.scores else None
        done = job.finish(model)
        found = evaluate(done, job.test, job.source, self.processor)
        outcome = Outcome.of(found, progress.seconds, progress.epochs)
        state, card = dict(done.state_dict()), job.card.metadata()
        self.work.finish(job.key, outcome, state, card, found.predictions, scores)
        return outcome

    def _record(self, job: Job, run_id: str, outcome: Outcome, keep: bool) -> None:
        """Write everything that a training has made to its run."""
        weights = self.work.weights(job.key)
        tags = {
            WEIGHTS: KEPT if keep else DROPPED,
            HASH: file_hash(weights),
            FINGERPRINT: weights_fingerprint(read_weights(weights)),
        }
        metrics = {**_metrics(job, outcome), "file_bytes": weights.stat().st_size}
        try:
            logged = self.store.logged_steps(run_id, "train_loss")
            steps = epoch_metrics(outcome.epochs, logged)
            self.store.log(run_id, metrics=metrics, steps=steps, tags=tags)
            self._attach(job, run_id, outcome)
            if keep:
                known = Described(job.card, job.params, metrics)
                log_model(self.store, self.experiment, run_id, weights, known)
        except LostStoreError:
            raise
        except StoreError as error:
            raise StoreError(
                *error.problems,
                f"the training itself is safe in {weights.parent}: run the same command again "
                "once the store answers; nothing is trained again",
            ) from error

    def _attach(self, job: Job, run_id: str, outcome: Outcome) -> None:
        """Write the files of a training beside its network: texts, hits, predictions, scores."""
        for name, text in job.artifacts.items():
            self.store.attach_text(run_id, name, text)
        if outcome.correct is not None:
            digest = next(each.digest for each in job.inputs if each.context == job.split)
            name = HITS_FILE if job.split == "test" else VALIDATION_HITS_FILE
            self.store.attach_text(run_id, name, hits_json(outcome.correct, digest))
        predictions = self.work.predictions(job.key)
        if predictions and job.kind != "trial":
            self.store.attach(run_id, predictions)
        if job.scores:
            self.store.attach(run_id, self.work.scores(job.key))


def _metrics(job: Job, outcome: Outcome) -> dict[str, float]:
    """The metrics of a training: costs of its network, accuracy, time."""
    metrics = {
        **job.metrics,
        f"{job.split}_accuracy": outcome.hits / outcome.images,
        f"{job.split}_hits": outcome.hits,
        f"{job.split}_images": outcome.images,
        "train_seconds": outcome.train_seconds,
    }
    if outcome.top_hits is not None:
        metrics[f"{job.split}_top5_hits"] = outcome.top_hits
    return metrics


def open_recorder(
    experiment: str,
    processor: Processor,
    display: Display,
    tracking_uri: str | None,
    output: Path | None,
    fresh: bool,
) -> Recorder:
    """A recorder whose store and work folder are checked to be writable.

    A SQLite store on a network file system is reported in one line, once in a process.
    """
    work = open_work(output, tracking_uri)
    work.check()
    store = Store(tracking_uri)
    number = store.experiment(experiment)
    work.prepare()
    warn_once(tracking_uri, display.say)
    return Recorder(store, number, work, processor, display, fresh)
