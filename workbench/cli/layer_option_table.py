"""Options for single layers: which are compressed, and how their readers are corrected."""

from __future__ import annotations

from pathlib import Path

from workbench.cli.one_option import Option
from workbench.compression.method_names import MIN_SHARES
from workbench.compression.recipes.recipe_settings import RecipeSettings

_PANEL = "Single layers"
_SHARES = ", ".join(
    f"{share:g} for {'/'.join(name for name, own in MIN_SHARES.items() if own == share)}"
    for share in sorted(set(MIN_SHARES.values()))
)

LAYERS: dict[str, Option] = {
    "recipe_file": Option(
        Path | None,
        _PANEL,
        "YAML or JSON file with the number of filters or the kept filters of each layer, instead "
        "of a method and a budget; 'workbench analyze --out' writes one.",
    ),
    "only": Option(
        str,
        _PANEL,
        "Compress only these layers, comma-separated names or globs such as 'features.4*'.",
        "",
    ),
    "skip": Option(
        str,
        _PANEL,
        "Do not compress these layers, comma-separated names or globs.",
        "",
    ),
    "min_share": Option(
        float | None,
        _PANEL,
        "Share of each layer's filters that is always kept, in [0, 1). (default with a budget: "
        f"{_SHARES}, else 0)",
    ),
    "compensate": Option(
        bool,
        _PANEL,
        "Correct the layers that read removed filters, by predicting these from the kept filters "
        "on the target. Adds the row pfa-source: the compressed network without training.",
        RecipeSettings.compensate,
        ("--compensate/--no-compensate",),
    ),
}
