"""Accuracies of a trained network under attack, added to the metrics of its run (``--attack``).

They are not part of the training's key. They are added to a recorded training without repeating it,
if its weights were kept.
"""

from __future__ import annotations

from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.compression.narrow_networks import load_network
from workbench.models.weight_files import read_card
from workbench.store.recorder import Recorder
from workbench.store.run_tags import DROPPED, KEY, WEIGHTS
from workbench.store.runs import StoredRun
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.attack_names import FGSM, PGD, attack_metric
from workbench.training.attacks import attack_accuracies
from workbench.training.time_left import STAGE


def with_attacks(loaded: LoadedTask, run: StoredRun, recorder: Recorder) -> StoredRun:
    """The run with the metrics of ``--attack``; what is missing is measured and recorded.

    A run whose weights were not kept stays as it is.
    """
    asked = loaded.task.settings.training.epsilons
    missing = [
        epsilon
        for epsilon in asked
        if not {attack_metric(name, epsilon) for name in (FGSM, PGD)} <= run.metrics.keys()
    ]
    if not missing or run.tags.get(WEIGHTS) == DROPPED:
        return run
    weights = recorder.store.fetch(run, WEIGHTS_FILE)
    if weights is None:
        return run
    title = f"attack · {run.name}"
    waiting = f"{title}: another process measures it; waiting"
    with (
        recorder.work.lock(run.tags[KEY], lambda: recorder.display.say(waiting)),
        recorder.display.track(title, len(loaded.test), kind=STAGE) as advance,
    ):
        network = load_network(weights, read_card(weights).model)
        found = attack_accuracies(
            network,
            loaded.test,
            loaded.task.source,
            loaded.processor,
            missing,
            on_batch=lambda done: advance(done, "images"),
        )
        recorder.store.log(run.run_id, metrics=found)
    return recorder.store.run(run.run_id)
