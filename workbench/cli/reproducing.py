"""``workbench reproduce`` and ``workbench bench``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli import options as opt
from workbench.settings import Settings

Results = Annotated[
    Path, typer.Option(help="Folder of the pages, figures and rows.", rich_help_panel="Where")
]
_RESULTS = Path("docs/results")
_PLACES = ("--data-dir", "--tracking-uri", "--output", "--results", "--domain-files")


def reproduce(
    experiment: Annotated[str, typer.Argument(help="figure4, figure1, or table1 to table8.")],
    source: Annotated[
        str | None, typer.Option(help="Another data set than the paper's, or ImageNet's folder.")
    ] = None,
    model: opt.Model = None,
    weights: opt.Weights = None,
    domains: Annotated[str, typer.Option(help="Only these of figure4, comma-separated.")] = "",
    methods: Annotated[
        str, typer.Option(help="Only these of a table ('pfa-kl,pfa-en 0.95') or of figure1.")
    ] = "",
    footprints: Annotated[
        str, typer.Option(help="Of figure1: shares of the parameters, comma-separated.")
    ] = "",
    draws: Annotated[
        int | None, typer.Option(help="Of figure1: random recipes a footprint; the paper has 300.")
    ] = None,
    seeds: opt.Seeds = Settings.seeds,
    first_seed: opt.FirstSeed = Settings.first_seed,
    epochs: opt.Epochs = None,
    source_epochs: opt.SourceEpochs = None,
    schedule: opt.Schedule = Settings.schedule,
    batch_size: opt.BatchSize = None,
    device: opt.Device = Settings.device,
    precision: opt.Precision = Settings.precision,
    fresh: opt.Fresh = False,
    results: Results = _RESULTS,
    image_size: opt.ImageSize = None,
    data_dir: opt.DataDir = None,
    domain_files: Annotated[
        Path | None, typer.Option("--domain-files", help="Folder of domain files.")
    ] = None,
    tracking_uri: opt.TrackingUri = None,
    output: opt.Output = None,
) -> None:
    """Train a figure or table of the paper and put the numbers beside the published ones.

    Every cell is trained once: what is in the results folder or in the store is not repeated, so
    an experiment may be run in parts, on several machines.

    \b
    Examples:
      workbench reproduce figure4 --weights vgg16-source.safetensors --epochs 15 \\
        --schedule one-cycle --seeds 2 --domains S1,S2
      workbench reproduce table2 --weights vgg16-source.safetensors --epochs 2 \\
        --schedule one-cycle --methods 'pfa-kl,pfa-en 0.95'
    """
    from workbench.display import Display
    from workbench.reproduction import reproduce as run

    chosen: dict[str, Any] = {
        "source": source,
        "model": model,
        "weights": weights,
        "epochs": epochs,
        "source_epochs": source_epochs,
        "schedule": schedule,
        "batch_size": batch_size,
        "device": device,
        "precision": precision,
        "image_size": image_size,
        "data_dir": data_dir,
        "domains": domain_files,
        "tracking_uri": tracking_uri,
        "output": output,
        "draws": draws,
        "footprints": _names(footprints) or None,
    }
    page = run(
        experiment,
        domain_names=_names(domains),
        methods=_names(methods),
        seeds=seeds,
        first_seed=first_seed,
        results=results,
        fresh=fresh,
        command=_command(_PLACES),
        display=Display(quiet=False),
        **chosen,
    )
    typer.echo(f"{page}: written")


def bench(
    source: opt.Source,
    target: Annotated[str, typer.Option(help="Domains, comma-separated.")],
    methods: Annotated[str, typer.Option(help="Methods, comma-separated.")] = "",
    footprints: Annotated[
        str, typer.Option(help="pfa-kl, or shares of the parameters, comma-separated.")
    ] = "",
    model: opt.Model = None,
    weights: opt.Weights = None,
    slimming_weights: Annotated[
        Path | None,
        typer.Option(help="Source of network-slimming, from 'workbench train --sparsity'."),
    ] = None,
    seeds: opt.Seeds = Settings.seeds,
    first_seed: opt.FirstSeed = Settings.first_seed,
    epochs: opt.Epochs = None,
    source_epochs: opt.SourceEpochs = None,
    schedule: opt.Schedule = Settings.schedule,
    lr: opt.LearningRate = None,
    batch_size: opt.BatchSize = None,
    device: opt.Device = Settings.device,
    precision: opt.Precision = Settings.precision,
    fresh: opt.Fresh = False,
    results: Results = _RESULTS,
    image_size: opt.ImageSize = None,
    data_dir: opt.DataDir = None,
    domains: opt.Domains = None,
    tracking_uri: opt.TrackingUri = None,
    output: opt.Output = None,
) -> None:
    """Put methods side by side on the same domains at equal footprints.

    \b
    Example:
      workbench bench --source cifar100 --target R1,S2 --weights vgg16-source.safetensors \\
        --methods pfa-kl,fp,fpgm,apoz,network-slimming,random,uniform --seeds 3
    """
    from workbench.benching import USUAL
    from workbench.benching import bench as run
    from workbench.display import Display
    from workbench.method_names import REFERENCE

    page = run(
        _names(target),
        methods=_names(methods) or USUAL,
        footprints=_names(footprints) or (REFERENCE,),
        source=source,
        model=model,
        weights=weights,
        slimming_weights=slimming_weights,
        seeds=seeds,
        first_seed=first_seed,
        epochs=epochs,
        source_epochs=source_epochs,
        schedule=schedule,
        lr=lr,
        batch_size=batch_size,
        device=device,
        precision=precision,
        fresh=fresh,
        results=results,
        image_size=image_size,
        data_dir=data_dir,
        domains=domains,
        tracking_uri=tracking_uri,
        output=output,
        command=_command((*_PLACES, "--domains")),
        display=Display(quiet=False),
    )
    typer.echo(f"{page}: written")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _command(places: tuple[str, ...]) -> list[str]:
    """What the user typed, without where things are on this machine."""
    words, skip = ["workbench"], False
    for word in sys.argv[1:]:
        if skip:
            skip = False
        elif word.split("=")[0] in places:
            skip = "=" not in word
        else:
            words.append(Path(word).name if "/" in word else word)
    return words
