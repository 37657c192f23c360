"""The compensated network, from which a repair, pfa-source, pfa-fine and pfa-distill start.

It is computed at most once per process, when the analysis is measured or a training needs it. It
is not stored, because it takes two passes over the target's images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

from torch import nn

from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.source_network import SourceNetwork, source_structure
from workbench.compression.compensation.compensation import Array, Compensated, compensate
from workbench.compression.compensation.compensation_report import CompensationReport
from workbench.compression.groups.watched_layers import watching
from workbench.compression.recipes.recipes import Recipe
from workbench.errors import DamagedRunError
from workbench.store.recorder import Recorder
from workbench.store.runs import StoredRun
from workbench.store.stored_results import COMPENSATION_FILE, read_artifact
from workbench.training.progress import Display

Start = Callable[[], nn.Module]


def compensated_start(
    loaded: LoadedTask,
    source: SourceNetwork,
    recipe: Recipe,
    display: Display,
    grams: dict[str, tuple[Array, Array]] | None = None,
) -> tuple[Start, Callable[[], CompensationReport]]:
    """Functions that make a copy of the compensated network, and that report what was done.

    It has all classes of the source.

    Args:
        recipe: the filters to keep.
        display: shows the progress.
        grams: measurements that recipes of the same network and images share.
    """

    @cache
    def made() -> Compensated:
        task, structure = loaded.task, source_structure(loaded.task)
        full = source.build_whole(task)
        title = f"compensation · {task.domain.name}"
        with (
            watching(full, structure.path),
            display.track(title, len(loaded.train)) as advance,
        ):
            return compensate(
                full,
                recipe.kept,
                structure,
                loaded.train,
                task.source,
                loaded.processor.torch_device,
                lambda seen: advance(seen, "images"),
                grams,
            )

    return lambda: copy.deepcopy(made().network), lambda: made().report


def stored_compensation(recorder: Recorder, run: StoredRun) -> CompensationReport | None:
    """The report of an analysis; None if it has none, or it is damaged."""
    try:
        make = CompensationReport.from_plain
        return read_artifact(recorder.store, run, COMPENSATION_FILE, make)
    except DamagedRunError:
        return None
