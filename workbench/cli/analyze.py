"""``workbench analyze``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import open_display, print_line, print_table
from workbench.cli.merged_options import (
    merge_options,
)
from workbench.cli.options import (
    BUDGET,
    FROM_FILE,
    GATES,
    LAYERS,
    NETWORK,
    RECIPE,
    WHERE,
    takes,
)


@takes(
    *NETWORK, *RECIPE, *BUDGET, *LAYERS, *GATES, "source_epochs", "schedule", "device", "precision",
    *WHERE, "fresh", "json", "quiet", "config", "like", **FROM_FILE,
)  # fmt: skip
def analyze(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(help="Recipe file to write (.yaml or .json), for --recipe-file."),
    ] = None,
    **chosen: Any,
) -> None:
    """Measure how many filters each layer needs on a target domain.

    No protocol is trained. Without --weights, the source network is trained first,
    unless the store already has it.

    \b
    Examples:
      workbench analyze --source cifar100 --target S2 --weights vgg16-source.safetensors
      workbench analyze --source cifar100 --target S2 --weights vgg16-source.safetensors \\
        --method pfa-cost --flops 0.1 --out recipe.yaml
    """
    from workbench.adaptation.pipeline import predict_costs
    from workbench.models.factors import plain_factors
    from workbench.reporting.recipe_text import cost_dict, cost_sentence, group_notes, measured_on
    from workbench.reporting.tables import recipe_columns, recipe_rows

    as_json, display = chosen.pop("json"), open_display(chosen.pop("quiet"))
    chosen = merge_options(context, chosen, ("source", "target"))
    analysis = predict_costs(display=display, out=out, **chosen)
    recipe, full, small = analysis.recipe, analysis.full, analysis.compressed
    if as_json:
        whole = {
            "method": recipe.method,
            "selection": recipe.selection,
            "recipe": recipe.rows(),
            "uncompressed": dict(recipe.uncompressed),
            **({"factors": plain_factors(recipe.factors)} if recipe.factorises else {}),
            **cost_dict(full, small),
        }
        print(json.dumps(whole, indent=1))
        return
    title = f"{chosen['target']} · {recipe.label} · {measured_on(recipe)}"
    print_table(title, recipe_columns(recipe), recipe_rows(recipe), elsewhere="--json")
    for line in (*group_notes(recipe), cost_sentence(full, small)):
        print_line(line)
