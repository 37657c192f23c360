"""``workbench train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli import options as opt
from workbench.settings import Settings


def train(
    source: opt.Source,
    out: Annotated[Path, typer.Option(help="Weight file to write (.safetensors).")],
    model: opt.Model = Settings.model,
    weights: Annotated[
        Path | None, typer.Option(help="Go on from this network instead of random weights.")
    ] = None,
    sparsity: Annotated[
        float, typer.Option(help="Penalty on batch norms' scales, for network-slimming: 1e-4.")
    ] = 0.0,
    epochs: opt.Epochs = None,
    schedule: opt.Schedule = Settings.schedule,
    lr: opt.LearningRate = None,
    batch_size: opt.BatchSize = None,
    weight_decay: opt.WeightDecay = None,
    seed: opt.Seed = 0,
    device: opt.Device = Settings.device,
    precision: opt.Precision = Settings.precision,
    fresh: opt.Fresh = False,
    image_size: opt.ImageSize = None,
    strict: opt.Strict = False,
    data_dir: opt.DataDir = None,
    tracking_uri: opt.TrackingUri = None,
    output: opt.Output = None,
) -> None:
    """Train a source network on all classes of a data set and save its weights.

    \b
    Examples:
      workbench train --source cifar100 --epochs 12 --schedule one-cycle --out vgg16.safetensors
      workbench train --source photos --image-size 64 --out photos.safetensors
      workbench train --source cifar100 --weights vgg16.safetensors --sparsity 1e-4 --epochs 3 \
        --schedule one-cycle --lr 0.01 --out sparse.safetensors
    """
    from workbench.display import Display
    from workbench.pipeline import train as run

    accuracy = run(
        out,
        source=source,
        model=model,
        weights=weights,
        sparsity=sparsity,
        epochs=epochs,
        schedule=schedule,
        lr=lr,
        batch_size=batch_size,
        weight_decay=weight_decay,
        seed=seed,
        device=device,
        precision=precision,
        fresh=fresh,
        image_size=image_size,
        strict=strict,
        data_dir=data_dir,
        tracking_uri=tracking_uri,
        output=output,
        display=Display(quiet=False),
    )
    typer.echo(f"{out}: {100 * accuracy:.1f} % test accuracy on {source}")
