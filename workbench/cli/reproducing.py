"""``workbench reproduce`` and ``workbench bench``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli import options as opt
from workbench.errors import SettingsError
from workbench.method_names import METHODS
from workbench.settings import RESULTS, Settings

Results = Annotated[
    Path, typer.Option(help="Folder of the pages, figures and rows.", rich_help_panel="Where")
]
_PLACES = ("--data-dir", "--tracking-uri", "--output", "--results", "--domain-files")


def reproduce(
    experiment: Annotated[
        str, typer.Argument(help="figure4, figure1, table1 to table8, distillation, equal-compute.")
    ],
    source: Annotated[
        str | None, typer.Option(help="Another data set than the paper's, or ImageNet's folder.")
    ] = None,
    model: opt.Model = None,
    weights: opt.Weights = None,
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
    seeds: opt.Seeds = Settings.seeds,
    first_seed: opt.FirstSeed = Settings.first_seed,
    epochs: opt.Epochs = None,
    source_epochs: opt.SourceEpochs = None,
    schedule: opt.Schedule = Settings.schedule,
    lr: opt.LearningRate = Settings.lr,
    fine_lr: opt.FineLearningRate = Settings.fine_lr,
    batch_size: opt.BatchSize = None,
    device: opt.Device = Settings.device,
    precision: opt.Precision = Settings.precision,
    fresh: opt.Fresh = False,
    results: Results = RESULTS,
    image_size: opt.ImageSize = None,
    data_dir: opt.DataDir = None,
    domain_files: Annotated[
        Path | None, typer.Option("--domain-files", help="Folder of domain files.")
    ] = None,
    tracking_uri: opt.TrackingUri = None,
    output: opt.Output = None,
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
        **locals(),
        "domain_names": _names("--domains", domains),
        "domains": domain_files,
        "methods": _names("--methods", methods),
        "footprints": _names("--footprints", footprints) or None,
    }
    del chosen["domain_files"]
    from workbench.display import Display
    from workbench.reproduction import reproduce as run

    page = run(
        chosen.pop("experiment"), command=_command(_PLACES), display=Display(quiet=False), **chosen
    )
    typer.echo(f"{page}: written")


def bench(
    source: opt.Source,
    target: Annotated[str, typer.Option(help="Domains, comma-separated.")],
    methods: Annotated[
        str, typer.Option(help=f"Of {', '.join(METHODS)}; all but pfa-en when left out.")
    ] = "",
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
    lr: opt.LearningRate = Settings.lr,
    fine_lr: opt.FineLearningRate = Settings.fine_lr,
    batch_size: opt.BatchSize = None,
    device: opt.Device = Settings.device,
    precision: opt.Precision = Settings.precision,
    fresh: opt.Fresh = False,
    results: Results = RESULTS,
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
    chosen = {**locals()}
    from workbench.benching import USUAL
    from workbench.benching import bench as run
    from workbench.display import Display
    from workbench.method_names import REFERENCE

    chosen |= {
        "methods": _names("--methods", methods) or USUAL,
        "footprints": _names("--footprints", footprints) or (REFERENCE,),
    }
    page = run(
        _names("--target", chosen.pop("target")),
        command=_command((*_PLACES, "--domains")),
        display=Display(quiet=False),
        **chosen,
    )
    typer.echo(f"{page}: written")


def _names(option: str, text: str) -> tuple[str, ...]:
    """What a list separated by commas names; nothing where the option is left out."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if text and not names:
        raise SettingsError(f"{option} '{text}' names none; leave it out for all")
    return names


def _command(places: tuple[str, ...]) -> list[str]:
    """What the user typed, without where things are on this machine."""
    words, skip = ["workbench"], False
    for word in sys.argv[1:]:
        if skip:
            skip = False
        elif word.split("=")[0] in places:
            skip = "=" not in word
        else:
            option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
            words.append(f"{option}{equals}{Path(value).name if '/' in value else value}")
    return words
