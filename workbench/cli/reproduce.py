"""``workbench reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import open_display, print_line
from workbench.cli.engine_option_table import engine_of
from workbench.cli.experiment_options import COMMON, RESULTS_OPTION, names_of, typed_command
from workbench.cli.options import takes


@takes(*COMMON, results=RESULTS_OPTION)
def reproduce(
    experiment: Annotated[
        str,
        typer.Argument(
            help="Name of the experiment: figure4, figure1, table1 to table8, distillation or "
            "equal-compute."
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(help="Data set to use instead of the paper's, or your folder of ImageNet."),
    ] = None,
    domains: Annotated[
        str, typer.Option(help="Train only these domains of the experiment, comma-separated.")
    ] = "",
    methods: Annotated[
        str,
        typer.Option(
            help="Tables and figure1: train only these methods, comma-separated, such as "
            "'pfa-kl,pfa-en 0.95'."
        ),
    ] = "",
    footprints: Annotated[
        str,
        typer.Option(
            help="figure1: footprints as shares of the full network's parameters, comma-separated."
        ),
    ] = "",
    draws: Annotated[
        int | None,
        typer.Option(help="figure1: number of random recipes per footprint; the paper uses 300."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="distillation: temperature of the softmax; higher values give softer "
            "probabilities."
        ),
    ] = None,
    distill_weight: Annotated[
        float | None,
        typer.Option(
            help="distillation: share of the loss that compares with the full network, in [0, 1]."
        ),
    ] = None,
    domain_files: Annotated[
        Path | None, typer.Option("--domain-files", help="Folder of domain files.")
    ] = None,
    **options: Any,
) -> None:
    """Repeat a figure or table of the paper and compare the results with the published ones.

    Two experiments go beyond the paper. distillation trains the small network with
    the full network as teacher and tests whether it becomes better than the full one.
    equal-compute trains the small network from scratch for as many FLOPs as the full
    one and tests whether that closes the gap.

    Every cell is trained once. Cells in the results folder and trainings in the store
    are reused, so you can run an experiment in parts, also on several machines.

    For a table, the command trains the paper's recipes. With --methods, it also trains lines
    of other papers (fp, ns, vib, fga/a), at the published share of the parameters.

    \b
    Examples:
      workbench reproduce figure4 --weights vgg16-source.safetensors --epochs 15 \\
        --schedule one-cycle --seeds 2 --domains S1,S2
      workbench reproduce table2 --weights vgg16-source.safetensors --epochs 12 \\
        --schedule one-cycle --methods 'pfa-kl,pfa-en 0.95'
    """
    display, engine = open_display(options.pop("quiet")), engine_of(options)
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

    page = run(experiment, command=typed_command(), display=display, engine=engine, **chosen)
    print_line(f"{page}: written")
