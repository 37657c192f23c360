"""``workbench export`` and ``workbench predict``: a network leaves the workbench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli import options as opt
from workbench.cli.printing import console

Run = Annotated[
    str,
    typer.Argument(
        help="Id of a training's run, of an adaptation's run (its recommended network), or a "
        "weight file.",
        show_default=False,
    ),
]
Own = Annotated[
    str | None,
    typer.Option(
        help="The network's name, where it is code of your own (package.module:function)."
    ),
]


def export(
    run: Run,
    format: Annotated[str, typer.Option(help="safetensors, pt2 or onnx.")] = "safetensors",
    out: Annotated[
        Path | None, typer.Option(help="File to write. (default: network.FORMAT)")
    ] = None,
    model: Own = None,
    data_dir: opt.DataDir = None,
    tracking_uri: opt.TrackingUri = None,
) -> None:
    """Write a network to a file that deploys, and hold the file against the network.

    \b
    Examples:
      workbench export RUN
      workbench export weights.safetensors --format onnx --out pets.onnx
    """
    from workbench.exporting import export as run_export

    done = run_export(
        run, format=format, out=out, model=model, data_dir=data_dir, tracking_uri=tracking_uri
    )
    images = "test images" if done.real else "images of noise (the data set is not here)"
    console().print(
        f"{done.path}: loaded again; on {done.images} {images} the logits differ by "
        f"{done.difference:.1e} of the largest, the classes agree on "
        f"{100 * done.agreement:.0f} %",
        markup=False,
    )


def predict(
    run: Run,
    images: Annotated[list[str], typer.Argument(help="Image files.", show_default=False)],
    top: Annotated[int, typer.Option(help="How many classes to name for each image.")] = 3,
    model: Own = None,
    tracking_uri: opt.TrackingUri = None,
    json: opt.Json = False,
) -> None:
    """Name the classes of image files.

    \b
    Examples:
      workbench predict RUN photo.jpg
      workbench predict pets.onnx *.jpg --top 1 --json
    """
    from workbench.prediction import predict as run_predict

    found = run_predict(run, images, top=top, model=model, tracking_uri=tracking_uri)
    if json:
        import json as text

        rows = [
            {
                "image": str(item.image),
                "classes": list(item.classes),
                "probabilities": list(item.probabilities),
            }
            for item in found
        ]
        print(text.dumps(rows, indent=1))
        return
    out = console()
    for item in found:
        named = zip(item.classes, item.probabilities, strict=True)
        told = ", ".join(f"{name} {100 * share:.1f} %" for name, share in named)
        out.print(f"{item.image}: {told}", markup=False)
