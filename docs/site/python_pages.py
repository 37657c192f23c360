"""MkDocs hook: the Python reference, from the docstrings of the public names."""

from generated_entries import put_pages
from mkdocs.structure.files import File, Files

import workbench
from workbench import pfa

OPTIONS = "python/options.md"
_SETTINGS = "workbench.adaptation.settings"
#: Pages by their path: title, introduction, and the objects whose docstrings they show.
PAGES: dict[str, tuple[str, str, list[str]]] = {
    "python/index.md": (
        "Functions",
        "`import workbench` loads neither torch nor MLflow; each function loads what it needs. "
        "The keywords of `adapt`, `analyze` and `shrink` are the [options](options.md), their "
        "results are on [another page](results.md), and all errors have "
        "[one base class](errors.md).",
        [f"workbench.{name}" for name in workbench.__all__ if name != "pfa"],
    ),
    OPTIONS: (
        "Options",
        "The keywords of `adapt` and `analyze`, in groups. They have the names and the defaults "
        "of the options of the command line.",
        [
            f"{_SETTINGS}.DomainSettings",
            "workbench.compression.recipes.recipe_settings.RecipeSettings",
            "workbench.training.settings.TrainingSettings",
            "workbench.deployment.settings.DeploymentSettings",
            "workbench.store.settings.RecordSettings",
            "workbench.experiments.network_search.search_settings.SearchSettings",
        ],
    ),
    "python/results.md": (
        "Results",
        "What the functions return.",
        [
            "workbench.reporting.results.Adaptation",
            "workbench.reporting.results.Verdict",
            "workbench.reporting.results.ProtocolResult",
            "workbench.compression.recipes.recipes.Recipe",
            "workbench.compression.recipes.recipes.LayerRecipe",
            "workbench.experiments.network_search.search_result.Search",
            "workbench.experiments.network_search.search_result.Found",
            "workbench.experiments.network_search.search_result.Entry",
            "workbench.deployment.export.Exported",
            "workbench.deployment.predict.Prediction",
        ],
    ),
    "python/pfa.md": (
        "The mathematics: workbench.pfa",
        "Pure functions of NumPy arrays in float64.",
        [f"workbench.pfa.{name}" for name in pfa.__all__],
    ),
    "python/errors.md": ("Errors", "", ["workbench.errors"]),
}
#: Entry of the navigation in mkdocs.yml that this hook replaces by the pages.
PLACE = "python/"


def on_config(config):
    """Put the pages into the navigation."""
    put_pages(config.nav, PLACE, list(PAGES))
    return config


def on_files(files: Files, config) -> Files:
    """Add the pages."""
    for place, (title, introduction, objects) in PAGES.items():
        # The methods of the groups of options are for the workbench itself.
        options = "\n    options:\n      members: false" if place == OPTIONS else ""
        blocks = "\n\n".join(f"::: {name}{options}" for name in objects)
        content = f"# {title}\n\n{introduction}\n\n{blocks}\n"
        files.append(File.generated(config, place, content=content))
    return files
