"""``workbench bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import print_line
from workbench.cli.experiment_options import COMMON, RESULTS_OPTION, names_of, typed_command
from workbench.cli.options import takes
from workbench.compression.method_names import METHODS


@takes("source", *COMMON, "domains", results=RESULTS_OPTION)
def bench(
    target: Annotated[str, typer.Option(help="Target domains, comma-separated.")],
    methods: Annotated[
        str,
        typer.Option(
            help=f"Methods, comma-separated: {', '.join(METHODS)}. "
            "(default: all but pfa-en and pfa-cost)"
        ),
    ] = "",
    footprints: Annotated[
        str,
        typer.Option(
            help="Footprints, comma-separated: pfa-kl, or shares of the full network's parameters. "
            "(default: pfa-kl)"
        ),
    ] = "",
    slimming_weights: Annotated[
        Path | None,
        typer.Option(
            help="Source network for network-slimming, trained by 'workbench train --sparsity'."
        ),
    ] = None,
    **options: Any,
) -> None:
    """Compare compression methods on the same domains at equal footprints.

    \b
    Example:
      workbench bench --source cifar100 --target R1,S2 --weights vgg16-source.safetensors \\
        --methods pfa-kl,fp,fpgm,apoz,network-slimming,random,uniform --seeds 3
    """
    from workbench.compression.method_names import REFERENCE
    from workbench.experiments.bench import USUAL
    from workbench.experiments.bench import bench as run
    from workbench.training.progress import Display

    chosen = {
        **options,
        "slimming_weights": slimming_weights,
        "methods": names_of("--methods", methods) or USUAL,
        "footprints": names_of("--footprints", footprints) or (REFERENCE,),
    }
    page = run(
        names_of("--target", target),
        command=typed_command("--domains"),
        display=Display(quiet=False),
        **chosen,
    )
    print_line(f"{page}: written")
