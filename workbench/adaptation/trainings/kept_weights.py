"""Which weights of one protocol stay in the store, as ``--keep-weights`` says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workbench.adaptation.settings import Settings
from workbench.adaptation.stages.stage_runs import StageRun
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.store.jobs import Job
from workbench.store.recorder import Recorder
from workbench.store.run_tags import DROPPED, WEIGHTS
from workbench.store.runs import StoredRun
from workbench.store.unfinished_work import Outcome
from workbench.training.protocols import TEACHER, TEACHER_SEED


class KeptWeights:
    """The best seed so far; the weights of the others are dropped, with the files of their stages.

    The best seed is the one with the lowest training loss; test images have no influence on it.

    Attributes:
        best: the run whose weights are kept; None if there is none.
    """

    def __init__(self, loaded: LoadedTask, recorder: Recorder, parent: str) -> None:
        self.best: StoredRun | None = None
        self._settings = loaded.task.settings
        self._recorder, self._parent = recorder, parent
        self._staged: dict[str, Sequence[StageRun]] = {}

    def rule(self, job: Job) -> Callable[[Outcome], bool]:
        """Decides from the outcome of a training whether to store its weights."""
        always = _keeps_all(self._settings, job)
        best_one = self._settings.record.keep_weights == "best"
        return lambda outcome: always or (best_one and self._is_better(outcome.loss))

    def settle(self, run: StoredRun, staged: Sequence[StageRun]) -> None:
        """Keep a finished run if it is the best so far, and drop the other one.

        Args:
            staged: the stages after this run.
        """
        if run.tags.get(WEIGHTS) == DROPPED:
            return
        self._staged[run.run_id] = staged
        if self._is_better(run.train_loss):
            if self.best:
                self._drop(self.best)
            self.best = run
        else:  # a stage needed them, or another process trained the seed
            self._drop(run)

    def _is_better(self, loss: float) -> bool:
        return self.best is None or loss < self.best.train_loss

    def _drop(self, run: StoredRun) -> None:
        """Drop the weights of a run of this adaptation; those of another one may be needed."""
        taught = (run.params["protocol"], run.params["seed"]) == (TEACHER, str(TEACHER_SEED))
        needed = self._settings.training.needs_full_fine and taught
        if self._settings.record.keep_weights != "best" or run.parent != self._parent or needed:
            return
        # The weights go last: a call that continues after a kill finds the rest by them.
        for stage in self._staged[run.run_id]:
            if stage.run.parent == self._parent:
                self._recorder.drop_weights(stage.run)
        self._recorder.drop_weights(run)


def _keeps_all(settings: Settings, job: Job) -> bool:
    """Whether the weights of a training are kept whatever those of the other seeds are."""
    taught = (job.params["protocol"], job.seed) == (TEACHER, TEACHER_SEED)
    return (
        # A stage or an attack needs the weights of every seed; ``settle`` drops them after it.
        bool(settings.deployment.stages)
        or bool(settings.training.attack)
        or settings.record.keep_weights == "all"
        or (settings.training.needs_full_fine and taught)
    )


def keeps_alone(settings: Settings, job: Job) -> bool:
    """Whether to keep the weights of a seed that is trained without knowing the other seeds.

    The adaptation that finds all seeds drops those that are not the best.
    """
    return settings.record.keep_weights == "best" or _keeps_all(settings, job)
