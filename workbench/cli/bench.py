"""``workbench bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import open_display, print_line
from workbench.cli.engine_option_table import engine_of
from workbench.cli.experiment_options import COMMON, RESULTS_OPTION, names_of, typed_command
from workbench.cli.options import takes
from workbench.compression.method_names import METHODS, RECIPES, SELECTIONS


@takes("source", *COMMON, "domains", "min_share", "compensate", results=RESULTS_OPTION)
def bench(
    target: Annotated[str, typer.Option(help="Target domains, comma-separated.")],
    methods: Annotated[
        str,
        typer.Option(
            help=f"Methods, comma-separated: {', '.join(METHODS)}; or all. "
            "(default, without --recipes: pfa-kl, fp, fpgm, apoz, network-slimming, random and "
            "uniform)"
        ),
    ] = "",
    recipes: Annotated[
        str,
        typer.Option(
            help=f"Recipes, comma-separated: {', '.join(RECIPES)}; each is combined with each of "
            "--selections."
        ),
    ] = "",
    selections: Annotated[
        str,
        typer.Option(
            help=f"Selections for --recipes, comma-separated: {', '.join(SELECTIONS)}. "
            "(default: pfa)"
        ),
    ] = "",
    footprints: Annotated[
        str,
        typer.Option(
            help="Footprints, comma-separated: pfa-kl, or shares of the full network's parameters. "
            "(default, without --flops: pfa-kl)"
        ),
    ] = "",
    flops: Annotated[
        str, typer.Option(help="Shares of the full network's FLOPs, comma-separated.")
    ] = "",
    slimming_weights: Annotated[
        Path | None,
        typer.Option(
            help="Source network for network-slimming, trained by 'workbench train --sparsity'."
        ),
    ] = None,
    **options: Any,
) -> None:
    """Compare compression methods on the same domains at equal footprints or FLOPs.

    The page has paired tests of every method against uniform widths, and the smallest
    difference that this number of seeds and domains detects.

    \b
    Examples:
      workbench bench --source cifar100 --target R1,S2 --weights vgg16-source.safetensors \\
        --methods pfa-kl,fp,fpgm,apoz,network-slimming,random,uniform --seeds 3
      workbench bench --source cifar100 --target R1,R2,S1,S3 --weights vgg16-source.safetensors \\
        --recipes pfa-kl,pfa-en,pfa-cost,uniform,random --flops 0.05,0.1,0.25 --seeds 4
    """
    from workbench.experiments.bench import bench as run

    display, engine = open_display(options.pop("quiet")), engine_of(options)
    chosen = {
        **options,
        "slimming_weights": slimming_weights,
        "methods": names_of("--methods", methods),
        "recipes": names_of("--recipes", recipes),
        "selections": names_of("--selections", selections),
        "footprints": names_of("--footprints", footprints),
        "flops": names_of("--flops", flops),
    }
    page = run(
        names_of("--target", target),
        command=typed_command("--domains"),
        display=display,
        engine=engine,
        **chosen,
    )
    print_line(f"{page}: written")
