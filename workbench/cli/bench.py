"""``workbench bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import tell
from workbench.cli.experiment_options import COMMON, RESULTS_OPTION, names_of, typed_command
from workbench.cli.options import takes
from workbench.compression.method_names import METHODS


@takes("source", *COMMON, "domains", results=RESULTS_OPTION)
def bench(
    target: Annotated[str, typer.Option(help="Domains, comma-separated.")],
    methods: Annotated[
        str, typer.Option(help=f"Of {', '.join(METHODS)}; all but pfa-en when left out.")
    ] = "",
    footprints: Annotated[
        str, typer.Option(help="pfa-kl, or shares of the parameters, comma-separated.")
    ] = "",
    slimming_weights: Annotated[
        Path | None,
        typer.Option(help="Source of network-slimming, from 'workbench train --sparsity'."),
    ] = None,
    **options: Any,
) -> None:
    """Put methods side by side on the same domains at equal footprints.

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
    tell(f"{page}: written")
