"""The recipe of an analysis as a file for ``--recipe-file``."""

from __future__ import annotations

from pathlib import Path

from workbench import __version__
from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.tasks.task import Task
from workbench.compression.recipes.recipe_files import recipe_yaml
from workbench.data.whole_files import write_text
from workbench.errors import DiskError
from workbench.reporting.recipe_text import size_text


def write_recipe(path: Path, task: Task, analysis: Analysis) -> None:
    """Write the kept filters of every layer, in YAML with comments that say where they come from.

    Raises:
        DiskError: when the file cannot be written.
    """
    recipe = analysis.recipe
    if path.suffix == ".json":
        text = recipe.to_json() + "\n"
    else:
        budget = f" {task.budget}" if task.budget else ""
        text = recipe_yaml(
            recipe,
            [
                f"{task.model} trained on {task.source.name}, for the target {task.domain.name}.",
                f"Method {recipe.label}{budget}, responses to {recipe.images} images.",
                size_text(analysis.full, analysis.compressed),
                f"Written by workbench {__version__}. Use it with --recipe-file; 'keep' lists the "
                "filters that stay.",
            ],
        )
    try:
        write_text(path, text)
    except OSError as error:
        raise DiskError(f"--out {path}: cannot be written ({error.strerror})") from None
