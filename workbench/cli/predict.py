"""``workbench predict``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from workbench.cli.console import print_line
from workbench.cli.options import takes
from workbench.cli.run_argument import Own, Run


@takes("tracking_uri", "json")
def predict(
    run: Run,
    images: Annotated[list[str], typer.Argument(help="Image files.", show_default=False)],
    top: Annotated[int, typer.Option(help="Number of classes to print for each image.")] = 3,
    model: Own = None,
    **chosen: Any,
) -> None:
    """Print the most probable classes of image files.

    \b
    Examples:
      workbench predict RUN photo.jpg
      workbench predict pets.onnx *.jpg --top 1 --json
    """
    from workbench.deployment.predict import predict as run_predict

    found = run_predict(run, images, top=top, model=model, tracking_uri=chosen["tracking_uri"])
    if chosen["json"]:
        rows = [
            {
                "image": str(item.image),
                "classes": list(item.classes),
                "probabilities": list(item.probabilities),
            }
            for item in found
        ]
        print(json.dumps(rows, indent=1))
        return
    for item in found:
        named = zip(item.classes, item.probabilities, strict=True)
        classes = ", ".join(f"{name} {100 * share:.1f} %" for name, share in named)
        print_line(f"{item.image}: {classes}")
