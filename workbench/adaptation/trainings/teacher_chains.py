"""Networks trained one after the other until pfa-distill has its teacher (method card).

Idea: a teacher that is not much better than its student teaches it more than a far better one. So
the students of one generation teach those of the next (born-again networks), and a network of
intermediate size teaches between the full and the compressed one (teacher assistant).
Formula: teacher -> assistant (``--assistant``) -> generation 1 -> ... -> generation N
(``--generations N``), each trained with the objective of pfa-distill. The networks of the last
generation are the result. The assistant is PFA-En's network at the geometric mean of the
footprints of the full and the compressed network, trained with seed 0. Generation g below N is
trained once, with seed g - 1, and teaches all seeds of the next one; generation 1 is the network
that pfa-distill trains with seed 0 without this option.
Cost: one training for each network in the chain; each is recorded and reused.
When it does not help: after two or three generations the gains end, and the published ones are
below one point. Published chains start each generation from random weights; here each starts from
the source's, so its students differ less.

With ``--distill-weight 1`` and temperature 1, the chain is label refinery.

Furlanello et al., "Born Again Neural Networks", ICML 2018 (arXiv 1805.04770); Bagherinezhad et al.,
"Label Refinery", 2018 (arXiv 1805.02641); Mirzadeh et al., "Improved Knowledge Distillation via
Teacher Assistant", AAAI 2020 (arXiv 1902.03393).
"""

from __future__ import annotations

import math
from dataclasses import replace

from workbench.adaptation.analysis.analysis import analyse, find_analysis
from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.plans.run_keys import protocol_key
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.source_network import SourceNetwork
from workbench.adaptation.trainings.teachers import TrainedTeacher
from workbench.adaptation.trainings.training_jobs import protocol_job
from workbench.compression.recipes.recipe_settings import RecipeSettings
from workbench.models.weight_files import read_weights
from workbench.store.jobs import Job
from workbench.store.recorder import Recorder
from workbench.store.run_tags import DROPPED, FINGERPRINT, WEIGHTS
from workbench.store.runs import StoredRun
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.distillation_options import (
    ASSISTANT,
    MUTUAL,
    SOURCE,
    STUDENT,
    generation_seed,
)
from workbench.training.protocols import PROTOCOLS, TEACHER, TEACHER_SEED

_DISTILLED = PROTOCOLS["pfa-distill"]


def train_teacher(
    loaded: LoadedTask,
    source: SourceNetwork,
    analysis: Analysis,
    recorder: Recorder,
    parent: str | None,
) -> TrainedTeacher:
    """The teacher of the last generation; networks that are not recorded yet are trained.

    Args:
        parent: id of the parent of new runs.
    """
    training = loaded.task.settings.training
    if training.objective == MUTUAL:
        return TrainedTeacher(MUTUAL, source)

    def taught(subject: LoadedTask, seed: int, by: TrainedTeacher, how: Analysis) -> SourceNetwork:
        job = protocol_job(subject, _DISTILLED, seed, source, how, by)
        return _trained(job, recorder, parent)

    weights = source
    if training.needs_full_fine:
        weights = full_fine(loaded, source, analysis, recorder, parent)
    teacher = TrainedTeacher(training.teacher, weights)
    if training.assistant:
        subject = assistant_task(loaded, analysis)
        middle = analyse(subject, source, recorder, parent)
        weights = taught(subject, TEACHER_SEED, teacher, middle)
        teacher = TrainedTeacher(ASSISTANT, weights, middle.recipe)
    for number in range(1, training.generations):
        weights = taught(loaded, generation_seed(number), teacher, analysis)
        teacher = TrainedTeacher(STUDENT, weights, analysis.recipe, number + 1)
    return teacher


def full_fine(
    loaded: LoadedTask,
    source: SourceNetwork,
    analysis: Analysis,
    recorder: Recorder,
    parent: str | None,
) -> SourceNetwork:
    """The trained full network that is the teacher of pfa-distill."""
    job = protocol_job(loaded, PROTOCOLS[TEACHER], TEACHER_SEED, source, analysis)
    return _trained(job, recorder, parent)


def _trained(job: Job, recorder: Recorder, parent: str | None) -> SourceNetwork:
    """A trained network, whose weights are kept; trained again if they were not."""
    run, _ = replace(recorder, fresh=False).train(job, parent, lambda outcome: True)
    if run.tags.get(WEIGHTS) == DROPPED:
        recorder.display.say(
            f"{job.params['protocol']}, seed {job.seed}: its weights were not kept; it is trained "
            "again as the teacher"
        )
        run, _ = replace(recorder, fresh=True).train(job, parent, lambda outcome: True)
    path = recorder.store.fetch(run, WEIGHTS_FILE)
    assert path is not None  # the recorder returns complete runs only
    return SourceNetwork(read_weights(path), run.run_id)


def assistant_task(loaded: LoadedTask, analysis: Analysis) -> LoadedTask:
    """The task of the teacher assistant: an adaptation with pfa-distill as any other."""
    share = analysis.compressed.parameters / analysis.full.parameters
    task = loaded.task
    recipe = RecipeSettings.of(
        method="pfa-en",
        footprint=round(math.sqrt(share), 6),
        multiple_of=task.settings.recipe.multiple_of,
        # A method that factorises names layers by these options, and the assistant filter groups.
        only=() if task.settings.recipe.factorises else task.settings.recipe.only,
        skip=() if task.settings.recipe.factorises else task.settings.recipe.skip,
        compensate=False,
    )
    training, asked = (
        replace(
            each.training,
            protocols=(_DISTILLED.name,),
            seeds=1,
            first_seed=TEACHER_SEED,
            generations=1,
            assistant=False,
            repair_epochs=0,
        )
        for each in (task.settings, task.asked)
    )
    task = replace(
        task,
        recipe_file=None,
        settings=replace(task.settings, recipe=recipe, training=training),
        asked=replace(task.asked, recipe=recipe, training=asked),
    )
    return replace(loaded, task=task, source_images=None)


def find_teacher(
    loaded: LoadedTask, weights: str, analysis: Analysis, recorder: Recorder, generation: int
) -> tuple[str, str] | None:
    """Fingerprint and kind of the teacher of a generation; None if it is not recorded.

    Args:
        weights: fingerprint of the source weights.
    """
    training = loaded.task.settings.training
    if training.objective == MUTUAL:
        return weights, MUTUAL
    if training.assistant or generation > 1:
        run = find_link(loaded, weights, analysis, recorder, generation - 1)
        kind = STUDENT if generation > 1 else ASSISTANT
        return (run.tags[FINGERPRINT], kind) if run else None
    if training.teacher == SOURCE:
        return weights, SOURCE
    run = recorder.find(protocol_key(loaded, PROTOCOLS[TEACHER], TEACHER_SEED, weights, None))
    return (run.tags[FINGERPRINT], training.teacher) if run else None


def find_link(
    loaded: LoadedTask, weights: str, analysis: Analysis, recorder: Recorder, number: int
) -> StoredRun | None:
    """The recorded network of a generation that teaches the next one; 0 means the assistant."""
    seed = generation_seed(number) if number else TEACHER_SEED
    found: Analysis | None = analysis
    if not number:
        loaded = assistant_task(loaded, analysis)
        recorded = find_analysis(loaded, weights, recorder)
        found = recorded[1] if recorded else None
    if found is None:
        return None
    teacher = find_teacher(loaded, weights, found, recorder, max(1, number))
    if teacher is None:
        return None
    return recorder.find(protocol_key(loaded, _DISTILLED, seed, weights, found, *teacher))
