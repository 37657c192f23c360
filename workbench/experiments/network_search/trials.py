"""Trials: candidates trained on a part of the training images and evaluated on the rest.

Every trial is a run in the store with a key, so a finished trial is never repeated. The test
images are not used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from workbench.adaptation.analysis.analysis import decide, gather
from workbench.adaptation.analysis.budget_latency import latency_in, write_for
from workbench.adaptation.analysis.compensated_start import compensated_start
from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.preparation import Prepared
from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.loaded_task import LoadedTask, head_rows
from workbench.adaptation.tasks.source_network import SourceNetwork, source_structure
from workbench.adaptation.tasks.task import resolve
from workbench.adaptation.trainings.training_jobs import protocol_job
from workbench.compression.costs.costs import count_costs, measure_latencies
from workbench.compression.evidence.evidence import Evidence
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.method_names import METHODS, reads
from workbench.compression.recipes.recipe_settings import ONNX, ONNX_INT8
from workbench.errors import SettingsError, counted
from workbench.experiments.network_search.candidates import Candidate
from workbench.experiments.network_search.search_settings import SearchSettings
from workbench.store.jobs import Job
from workbench.store.keys import key_of
from workbench.store.runs import StoredRun
from workbench.training.protocols import PROTOCOLS
from workbench.training.time_left import training_work

_ROUNDS = 40  # timed passes of a candidate


@dataclass(frozen=True)
class Trial:
    """One finished training of a candidate.

    Attributes:
        hits, images: number of validation images that are classified correctly, and of all.
        cost: cost of the network, in the unit of the search.
        seconds: of the training.
        new: whether this call trained it.
    """

    candidate: Candidate
    epochs: int
    seed: int
    run_id: str
    hits: int
    images: int
    parameters: int
    flops: int
    cost: float
    seconds: float
    new: bool

    @property
    def accuracy(self) -> float:
        """Accuracy on the validation images, in [0, 1]."""
        return self.hits / self.images


#: A trial: the candidate, the epochs and the seed.
Wish = tuple[Candidate, int, int]


class Runner(Protocol):
    """What trials need of ``trial_cells.TrialRunner``."""

    def run(self, trials: Trials, wishes: Sequence[Wish]) -> None:
        """Run the missing ones of these trials in other processes."""


@dataclass
class Trials:
    """Trains candidates, or finds them in the store.

    Attributes:
        prepared: the target's images, divided with ``--validation``, and the store.
        source: the source network.
        options: options of ``adapt`` that all candidates share, without epochs.
        search: what the search's cost is.
        parent: id of the search's run; None without one.
        runner: runs several trials at once in other processes; None trains them one by one here.
    """

    prepared: Prepared
    source: SourceNetwork
    options: dict[str, Any]
    search: SearchSettings
    parent: str | None
    runner: Runner | None = None
    _made: dict[Candidate, Analysis] = field(default_factory=dict)
    _grams: dict[str, Any] = field(default_factory=dict)
    _costs: dict[tuple[int, ...], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loaded = self.prepared.loaded
        self._network: nn.Module | None = None
        self._evidence: Sequence[Evidence] = ()

    def is_recorded(self, candidate: Candidate, epochs: int, seed: int) -> bool:
        """Whether ``train`` finds the trial in the store instead of training."""
        return self._look_up(candidate, epochs, seed)[1] is not None

    def ahead(self, wishes: Sequence[Wish], check: Callable[[], None]) -> None:
        """Run trials that will be needed on the engine; without one, ``train`` does it later.

        Args:
            check: called before trials begin; raises when no time is left.
        """
        if self.runner:
            check()
            self.runner.run(self, wishes)

    def key(self, candidate: Candidate, epochs: int, seed: int) -> str:
        """Key of a trial's run."""
        return self._look_up(candidate, epochs, seed)[0].key

    def train(self, candidate: Candidate, epochs: int, seed: int) -> Trial:
        """Train a candidate, or find its recorded training."""
        recorder, name = self.prepared.recorder, self._cost_name
        analysis = self.analysis(candidate)
        job, done = self._look_up(candidate, epochs, seed)
        # Networks of the same widths have one cost, whatever their weights.
        widths = analysis.recipe.widths if candidate.method else ()
        if widths not in self._costs:
            known = done.metrics.get(name) if done else None
            self._costs[widths] = self._cost(candidate, analysis) if known is None else known
        cost = self._costs[widths]
        if done and name not in done.metrics:  # it was recorded by a search with another cost
            recorder.store.log(done.run_id, metrics={name: cost})
        job = replace(job, metrics={**job.metrics, name: cost})
        run, new = recorder.train(job, self.parent, lambda outcome: False)
        costs = analysis.costs(PROTOCOLS[candidate.protocol])
        return Trial(
            candidate,
            epochs,
            seed,
            run.run_id,
            round(run.metrics["validation_hits"]),
            round(run.metrics["validation_images"]),
            costs.parameters,
            costs.flops,
            cost,
            run.metrics["train_seconds"],
            new,
        )

    def work(self, candidate: Candidate, epochs: int) -> float:
        """Work of a trial in FLOPs, for the estimate of the time left."""
        costs = self.analysis(candidate).costs(PROTOCOLS[candidate.protocol])
        return training_work(costs.flops, len(self.loaded.train), epochs)

    def analysis(self, candidate: Candidate) -> Analysis:
        """The recipe and the costs of a candidate; the responses are measured once for all.

        Raises:
            SettingsError: when no network is within the candidate's budget.
        """
        if candidate not in self._made:
            loaded = self._loaded(candidate, 1)
            full, structure, shape = self._full(), source_structure(loaded.task), self._shape
            recipe, _ = decide(loaded, full, structure, self._evidence)
            small = rebuild(full, recipe.kept, structure)
            analysis = Analysis(recipe, count_costs(full, shape), count_costs(small, shape))
            if loaded.task.settings.recipe.compensate:  # when a training needs it
                display = self.prepared.recorder.display
                start, _ = compensated_start(loaded, self.source, recipe, display, self._grams)
                analysis = replace(analysis, prepared=start)
            self._made[candidate] = analysis
        return self._made[candidate]

    def possible(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates that can be built, one of each set of widths.

        The smallest recipes of two methods, or at two budgets, may be the same network.
        """
        found: dict[tuple[str, tuple[int, ...]], Candidate] = {}
        for each in candidates:
            candidate = replace(each, selection=self.options.get("selection") or "")
            try:
                recipe = self.analysis(candidate).recipe
            except SettingsError as error:
                self.prepared.recorder.display.say(f"{candidate.label} is left out: {error}")
                continue
            found.setdefault((recipe.selection, recipe.widths), candidate)
        return list(found.values())

    @property
    def _cost_name(self) -> str:
        """Name of the metric with the cost; another search may have measured another cost."""
        measured = self.search.cost in ("latency", "bytes")
        return f"cost_{self.search.cost}" + (f"_{self.search.runtime}" if measured else "")

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.loaded.task.source.shape

    def _full(self) -> nn.Module:
        """The full network with the target's classes; measures the responses at the first call."""
        if self._network is None:
            task = self.loaded.task
            structure = source_structure(task)
            network = rebuild(self.source.build(task), head_rows(self.loaded), structure)
            title = f"analysis · {task.domain.name}"
            display = self.prepared.recorder.display
            every = (METHODS[name] for name in self.search.recipes)
            also_read = reads(*(part for each in every for part in (each.recipe, each.selection)))
            self._evidence = gather(
                self.loaded, network, structure, display, title, also_read=also_read
            )
            self._network = network
        return self._network

    def _look_up(
        self, candidate: Candidate, epochs: int, seed: int
    ) -> tuple[Job, StoredRun | None]:
        """A trial's job, and its finished run; None if it must be trained."""
        recorder, loaded = self.prepared.recorder, self._loaded(candidate, epochs)
        job = self._job(candidate, loaded, self.analysis(candidate), seed)
        return job, None if recorder.fresh else recorder.find(job.key)

    def _loaded(self, candidate: Candidate, epochs: int) -> LoadedTask:
        own = candidate.options(self.search.budget)
        length = {"epochs": epochs} if epochs else {}
        task = resolve(Settings.of(**{**self.options, **own, **length}))
        return replace(self.loaded, task=task)

    def _job(self, candidate: Candidate, loaded: LoadedTask, analysis: Analysis, seed: int) -> Job:
        job = protocol_job(loaded, PROTOCOLS[candidate.protocol], seed, self.source, analysis)
        return replace(
            job,
            key=key_of("trial", {"training": job.key}),
            kind="trial",
            title=f"{candidate.label} · {counted(job.plan.epochs, 'epoch')} · seed {seed}",
            params={**job.params, "share": candidate.share},
        )

    def _cost(self, candidate: Candidate, analysis: Analysis) -> float:
        """The cost of a candidate's network; latencies and the bytes of files are measured."""
        costs = analysis.costs(PROTOCOLS[candidate.protocol])
        if self.search.cost in ("flops", "params"):
            return float(costs.flops if self.search.cost == "flops" else costs.parameters)
        network = self._full()
        structure = source_structure(self.loaded.task)
        kept = analysis.recipe.kept if candidate.method else {}
        network = rebuild(network, kept, structure)
        widths = analysis.recipe.widths if candidate.method else ()
        loaded, runtime = self._loaded(candidate, 1), self.search.runtime
        if self.search.cost == "bytes":
            return float(_file_bytes(network, loaded, widths, runtime))
        latency = latency_in(loaded, runtime)
        if latency is not None:
            return latency(network, widths, _ROUNDS)
        device = loaded.processor.torch_device
        return measure_latencies([network], self._shape, device, rounds=_ROUNDS)[0]


def _file_bytes(
    network: nn.Module, loaded: LoadedTask, widths: tuple[int, ...], runtime: str
) -> int:
    """Bytes of the network's file for a runtime; for torch, of its float32 values."""
    if runtime not in (ONNX, ONNX_INT8):
        values = (*network.parameters(), *network.buffers())
        return sum(value.numel() * value.element_size() for value in values)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        write_for(loaded, runtime, network, widths, path)
        return path.stat().st_size
