"""The recorded training of gates before the analysis, and the networks that it gives later steps.

The gates are trained in the network that full-fine starts from. The analysis measures the responses
of the source network as for every other method, and reads the scores of the gates in addition.
pfa-fine and pfa-source start from the kept filters of the network with trained gates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from torch import nn

from workbench.adaptation.analysis.analysis import analyse, measure_analysis
from workbench.adaptation.analysis_result import Analysis, cost_metrics
from workbench.adaptation.options.recorded_options import adaptation_options, recorded_inputs
from workbench.adaptation.plans.protocol_plans import gate_plan, plan_params
from workbench.adaptation.plans.run_keys import gate_penalty, gates_key
from workbench.adaptation.tasks.loaded_task import LoadedTask, subject_inputs, validation_parts
from workbench.adaptation.tasks.source_network import SourceNetwork, source_structure
from workbench.adaptation.tasks.task import Task
from workbench.adaptation.trainings.initial_networks import make_network, watched_network
from workbench.compression.costs.budget_limits import BUDGETS
from workbench.compression.costs.costs import count_costs
from workbench.compression.evidence.evidence import Array
from workbench.compression.groups.rebuild import rebuild
from workbench.errors import SettingsError, TrainingError, counted
from workbench.models.weight_files import Card, put_weights, read_weights
from workbench.store.jobs import Job
from workbench.store.recorder import Recorder
from workbench.store.stored_results import OPTIONS_FILE, stored_scores
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.gates import GATE_METHODS
from workbench.training.gates.gate_training import GateTraining, gated
from workbench.training.gates.gated_network import GatedNetwork
from workbench.training.plans import Plan, batch_sizes
from workbench.training.processes import share
from workbench.training.protocols import PROTOCOLS

_CHECKPOINT = 60.0  # seconds between two checkpoints
#: Options that adaptations with the same gates may have in common: all budgets share them.
_SHARED: dict[str, Any] = {
    **dict.fromkeys(BUDGETS), "protocols": ("pfa-fine",), "seeds": 1, "first_seed": 0,
}  # fmt: skip


@dataclass(frozen=True)
class TrainedGates:
    """A finished training of gates.

    Attributes:
        network: makes the full network with the target's classes and the gates in its weights.
        scores: shape (n,) for each filter group: above 0 for open gates.
    """

    network: Callable[[], nn.Module]
    scores: Mapping[str, Array]


def train_gates(
    loaded: LoadedTask, source: SourceNetwork, recorder: Recorder, parent: str | None
) -> TrainedGates:
    """Train the gates, or find their recorded run.

    Args:
        parent: id of the parent of a new run.

    Raises:
        SettingsError: under torchrun, with more than one process.
        TrainingError: when the loss is no longer a finite number.
    """
    job = gates_job(loaded, source)
    try:
        run, new = recorder.train(job, parent, lambda outcome: True)
    except TrainingError as error:
        raise TrainingError(_with_remedies(str(error), loaded.task)) from None
    if new:
        epochs, name = job.plan.epochs, loaded.task.gates
        recorder.display.say(
            f"{name}: trained gates for {counted(epochs, 'epoch')} of the full network"
        )
    path = recorder.store.fetch(run, WEIGHTS_FILE)
    assert path is not None  # the recorder returns complete runs only

    def network() -> nn.Module:
        plain = make_network(loaded, PROTOCOLS["full-fine"], 0, source, None)
        put_weights(plain, read_weights(path), job.title)
        return plain

    return TrainedGates(network, stored_scores(recorder.store, run))


def _with_remedies(error: str, task: Task) -> str:
    """The line about a loss that is no number, with the options that this training depends on."""
    if task.settings.training.fine_lr:
        error = error.replace("--lr", "--fine-lr")
    if not GATE_METHODS[task.gates].penalised_loss:
        return error
    return f"{error} or a lower --gate-penalty (now {gate_penalty(task):g})"


def gates_job(loaded: LoadedTask, source: SourceNetwork) -> Job:
    """The training of the full network with gates, on the target's images.

    Raises:
        SettingsError: under torchrun, with more than one process.
    """
    task, plan = loaded.task, gate_plan(loaded)
    if share().count > 1:
        raise SettingsError(
            f"--method {task.settings.recipe.method}: gates are trained in one process; run the "
            "command without torchrun"
        )
    method, structure = GATE_METHODS[task.gates], source_structure(task)
    classes, shape = task.domain.classes, task.source.shape
    start = watched_network(
        loaded, lambda: make_network(loaded, PROTOCOLS["full-fine"], 0, source, None)
    )
    costs = count_costs(start(), shape)
    steps = plan.epochs * len(batch_sizes(len(loaded.train), plan.batch_size))
    return Job(
        key=gates_key(loaded, source.fingerprint),
        kind="gates",
        title=f"{task.gates} gates · {task.domain.name}",
        params=_params(loaded, source.fingerprint, plan),
        metrics=cost_metrics(costs, costs),
        artifacts={OPTIONS_FILE: adaptation_options(task, **_SHARED), **recorded_inputs(task)},
        inputs=subject_inputs(loaded),
        card=Card.of(task.model, task.source, classes, images=task.domain.source),
        make_model=lambda: gated(start(), structure, shape, method, len(classes), seed=0),
        make_teacher=lambda: GateTraining(
            method, gate_penalty(task), steps, start() if method.compares else None
        ),
        finish=_finish,
        scores=_scores,
        plan=plan,
        seed=0,
        train=loaded.train,
        test=loaded.test,
        source=task.source,
        checkpoint_every=_CHECKPOINT,
        split=loaded.split,
    )


def _params(loaded: LoadedTask, weights: str, plan: Plan) -> dict[str, Any]:
    """The parameters that the run shows."""
    task = loaded.task
    return {
        "domain": task.domain.name,
        "source": task.source.name,
        "model": task.model,
        "method": task.gates,
        "protocol": "gates",
        "seed": 0,
        "head": task.settings.training.head,
        "gate_penalty": gate_penalty(task),
        "source_weights": weights[:12],
        "data": loaded.data["train"][:12],
        **validation_parts(task),
        **plan_params(plan, loaded.processor),
    }


def _finish(network: nn.Module) -> nn.Module:
    assert isinstance(network, GatedNetwork)
    return network.fold()


def _scores(network: nn.Module) -> dict[str, Array]:
    assert isinstance(network, GatedNetwork)
    return {name: scores.double().numpy() for name, scores in network.scores().items()}


def analyse_with_gates(
    loaded: LoadedTask, source: SourceNetwork, recorder: Recorder, parent: str | None
) -> Analysis:
    """Find the recorded analysis, or train the gates and analyse; the arguments as above.

    With ``--fresh``, gates that this command has trained are not trained again.
    """
    reusing = replace(recorder, fresh=False)
    trained = cache(partial(train_gates, loaded, source, reusing, parent))
    analysis = analyse(
        loaded,
        source,
        recorder,
        parent,
        measure=lambda: measure_analysis(
            loaded, source, recorder.display, {loaded.task.gates: trained().scores}
        ),
    )

    @cache
    def small() -> nn.Module:
        full, structure = trained().network(), source_structure(loaded.task)
        return rebuild(full, analysis.recipe.kept, structure)

    return replace(analysis, start=lambda: copy.deepcopy(small()))
