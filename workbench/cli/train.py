"""``workbench train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import open_display, print_line
from workbench.cli.merged_options import (
    merge_options,
)
from workbench.cli.options import (
    FROM_FILE,
    REGULARISERS,
    takes,
)


@takes(
    "source", "model", "image_size", "strict", "epochs", "schedule", "lr", "batch_size",
    "weight_decay", *REGULARISERS, "device", "precision", "data_dir", "tracking_uri", "output",
    "fresh", "quiet", "config", "like", source=FROM_FILE["source"],
)  # fmt: skip
def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Weight file to write (.safetensors).")],
    weights: Annotated[
        Path | None, typer.Option(help="Start from this weight file instead of random weights.")
    ] = None,
    sparsity: Annotated[
        float,
        typer.Option(
            help="L1 penalty on the scales of batch norms, for network-slimming; try 1e-4."
        ),
    ] = 0.0,
    reflect_crops: Annotated[
        bool,
        typer.Option(
            "--reflect-crops",
            help="Pad images by reflection instead of zeros before they are cropped.",
        ),
    ] = False,
    sync_batch_norm: Annotated[
        bool,
        typer.Option(
            help="Under torchrun, batch norms use the whole batch, not the part of their process."
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of the weights, order, crops and dropout.")] = 0,
    **chosen: Any,
) -> None:
    """Train a source network on all classes of a data set and save its weights.

    \b
    Examples:
      workbench train --source cifar100 --epochs 12 --schedule one-cycle --out vgg16.safetensors
      workbench train --source photos --image-size 64 --out photos.safetensors
      workbench train --source cifar100 --weights vgg16.safetensors --sparsity 1e-4 --epochs 3 \\
        --schedule one-cycle --lr 0.01 --out sparse.safetensors
    """
    from workbench.adaptation.trainings.source_training import train as run

    display = open_display(chosen.pop("quiet"))
    own = {
        "weights": weights,
        "sparsity": sparsity,
        "reflect_crops": reflect_crops,
        "sync_batch_norm": sync_batch_norm,
        "seed": seed,
    }
    chosen = merge_options(context, {**own, **chosen}, ("source",))
    accuracy = run(out, display=display, **chosen)
    print_line(f"{out}: {100 * accuracy:.1f} % test accuracy on {chosen['source']}")
