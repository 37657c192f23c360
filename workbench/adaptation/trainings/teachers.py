"""The teacher of a distilled network, and the labels and classifier of its student.

A teacher that knows all classes of the source teaches a student that has them, too: the labels
are mapped to the source's classes, and after the training the student's classifier is cut to the
target's classes. The logits of these classes do not change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.tasks.loaded_task import LoadedTask, head_rows
from workbench.adaptation.tasks.source_network import SourceNetwork, source_structure
from workbench.adaptation.tasks.task import Task
from workbench.adaptation.trainings.initial_networks import make_network, watched_network
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.recipes.recipes import Recipe
from workbench.data.image_batches import relabelled
from workbench.models.networks import build_network
from workbench.models.weight_files import put_weights
from workbench.store.jobs import Job
from workbench.training.distillation import Teacher
from workbench.training.distillation_options import ALL_CLASSES, BOTH, FULL_FINE, MUTUAL, SOURCE
from workbench.training.mean_teacher import MeanTeacher
from workbench.training.mutual_learning import MutualLearning, Peers
from workbench.training.objectives import OBJECTIVES, FeatureLoss
from workbench.training.objectives.matched_layers import MatchedLayer, match_layers
from workbench.training.protocols import PROTOCOLS, TEACHER, TEACHER_SEED

#: A protocol whose network has the recipe's filters of the source.
_COMPRESSED = PROTOCOLS["pfa-fine"]


@dataclass(frozen=True)
class TrainedTeacher:
    """What teaches a distilled network.

    Attributes:
        kind: a name in ``training.distillation_options``: a teacher, or "mutual".
        weights: the trained network; for "both", that of full-fine, and for "mutual" the source.
        recipe: the filters of a compressed teacher; None for a full one.
        generation: number of the network that it teaches, from 1.
    """

    kind: str
    weights: SourceNetwork
    recipe: Recipe | None = None
    generation: int = 1

    @property
    def knows_all_classes(self) -> bool:
        """Whether it teaches all classes of the source."""
        return self.kind in ALL_CLASSES

    def params(self) -> dict[str, object]:
        """MLflow parameters of its student, as far as they differ from those of full-fine."""
        params: dict[str, object] = {}
        if self.kind not in (FULL_FINE, MUTUAL):
            params["teacher"] = self.kind
        if self.generation > 1:
            params["generation"] = self.generation
        return params


def taught_job(
    job: Job, loaded: LoadedTask, source: SourceNetwork, analysis: Analysis, teacher: TrainedTeacher
) -> Job:
    """The training of a compressed network with its teacher.

    Args:
        job: the training without a teacher; its network has the classes that the teacher knows.
    """
    if teacher.kind == MUTUAL:
        full = watched_network(
            loaded, lambda: make_network(loaded, PROTOCOLS[TEACHER], job.seed, source, None)
        )
        return replace(
            job,
            make_model=lambda: Peers([job.make_model(), full()]),
            make_teacher=MutualLearning,
            finish=lambda peers: peers.get_submodule("networks.0"),
        )
    job = replace(job, make_teacher=_teacher_of(loaded, source, analysis, teacher))
    if not teacher.knows_all_classes:
        return job
    return replace(
        job,
        train=relabelled(job.train, loaded.class_rows),
        finish=lambda network: rebuild(network, head_rows(loaded), source_structure(loaded.task)),
    )


def _teacher_of(
    loaded: LoadedTask, source: SourceNetwork, analysis: Analysis, teacher: TrainedTeacher
) -> Callable[[], Teacher]:
    """A function that makes the teacher."""
    training = loaded.task.settings.training
    features = OBJECTIVES[training.objective]

    def make() -> Teacher:
        layers: tuple[MatchedLayer, ...] = ()
        if features:
            layers = _matched(loaded.task, features, analysis.recipe, teacher.recipe)
        network = _network_of(loaded, source, teacher)
        return Teacher(network, training.temperature, training.distill_weight, features, layers)

    return make


def _network_of(loaded: LoadedTask, source: SourceNetwork, teacher: TrainedTeacher) -> nn.Module:
    """The teacher's network, with a watch on its layers."""
    whole = watched_network(loaded, lambda: source.build(loaded.task))
    if teacher.kind == SOURCE:
        return whole()
    protocol = _COMPRESSED if teacher.recipe else PROTOCOLS[TEACHER]

    if teacher.recipe and teacher.recipe.factorises:  # its weights are put into it below
        protocol = PROTOCOLS["pfa-scratch"]

    def trained() -> nn.Module:
        network = make_network(loaded, protocol, TEACHER_SEED, source, teacher.recipe)
        put_weights(network, teacher.weights.tensors, teacher.weights.origin)
        return network

    own = watched_network(loaded, trained)()
    if teacher.kind != BOTH:
        return own
    temperature = loaded.task.settings.training.temperature
    return MeanTeacher(whole(), own, loaded.class_rows, temperature)


def _matched(
    task: Task, features: FeatureLoss, ours: Recipe | None, theirs: Recipe | None
) -> tuple[MatchedLayer, ...]:
    """The layers at which a student and its teacher are compared; None means all filters."""
    network = build_network(task.model, task.source.shape, len(task.source.classes))
    kept = (ours.kept if ours else None, theirs.kept if theirs else None)
    return match_layers(
        features.reads,
        network,
        source_structure(task),
        task.source.shape,
        kept if features.by_channel else None,
    )


def check_objective(task: Task) -> None:
    """Check that the network has the layers that the objective compares.

    Raises:
        NetworkError: when it has none.
    """
    training = task.settings.training
    features = OBJECTIVES.get(training.objective)
    if training.distils and features:
        _matched(task, features, None, None)
