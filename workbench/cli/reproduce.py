"""``workbench reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import tell
from workbench.cli.experiment_options import COMMON, RESULTS_OPTION, names_of, typed_command
from workbench.cli.options import takes


@takes(*COMMON, results=RESULTS_OPTION)
def reproduce(
    experiment: Annotated[
        str, typer.Argument(help="figure4, figure1, table1 to table8, distillation, equal-compute.")
    ],
    source: Annotated[
        str | None, typer.Option(help="Another data set than the paper's, or ImageNet's folder.")
    ] = None,
    domains: Annotated[str, typer.Option(help="Only these of figure4's, comma-separated.")] = "",
    methods: Annotated[
        str, typer.Option(help="Only these of a table ('pfa-kl,pfa-en 0.95') or of figure1.")
    ] = "",
    footprints: Annotated[
        str, typer.Option(help="Of figure1: shares of the parameters, comma-separated.")
    ] = "",
    draws: Annotated[
        int | None, typer.Option(help="Of figure1: random recipes a footprint; the paper has 300.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of distillation: how soft the probabilities are.")
    ] = None,
    distill_weight: Annotated[
        float | None,
        typer.Option(help="Of distillation: share of the loss that follows the full network."),
    ] = None,
    domain_files: Annotated[
        Path | None, typer.Option("--domain-files", help="Folder of domain files.")
    ] = None,
    **options: Any,
) -> None:
    """Train a figure or table of the paper and put the numbers beside the published ones.

    Two experiments go beyond the paper: distillation (is the small network better
    than the full one when it follows it?) and equal-compute (does training it from
    scratch for as many FLOPs close the gap?).

    Every cell is trained once: what is in the results folder or in the store is not
    repeated, so an experiment may be run in parts, on several machines.

    \b
    Examples:
      workbench reproduce figure4 --weights vgg16-source.safetensors --epochs 15 \\
        --schedule one-cycle --seeds 2 --domains S1,S2
      workbench reproduce table2 --weights vgg16-source.safetensors --epochs 2 \\
        --schedule one-cycle --methods 'pfa-kl,pfa-en 0.95'
    """
    chosen = {
        **options,
        "source": source,
        "draws": draws,
        "temperature": temperature,
        "distill_weight": distill_weight,
        "domain_names": names_of("--domains", domains),
        "domains": domain_files,
        "methods": names_of("--methods", methods),
        "footprints": names_of("--footprints", footprints) or None,
    }
    from workbench.experiments.reproduce import reproduce as run
    from workbench.training.progress import Display

    page = run(experiment, command=typed_command(), display=Display(quiet=False), **chosen)
    tell(f"{page}: written")
