"""``workbench export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import print_line
from workbench.cli.options import takes
from workbench.cli.run_argument import Own, Run


@takes("data_dir", "tracking_uri")
def export(
    run: Run,
    format: Annotated[
        str, typer.Option(help="File format: safetensors, pt2 or onnx.")
    ] = "safetensors",
    out: Annotated[
        Path | None, typer.Option(help="File to write. (default: network.FORMAT)")
    ] = None,
    model: Own = None,
    **chosen: Any,
) -> None:
    """Write a network to a file for deployment and verify the file against the network.

    \b
    Examples:
      workbench export RUN
      workbench export weights.safetensors --format onnx --out pets.onnx
    """
    from workbench.deployment.export import export as run_export

    done = run_export(run, format=format, out=out, model=model, **chosen)
    images = "test images" if done.real else "noise images (the data set is not on this machine)"
    print_line(
        f"{done.path}: written and verified; on {done.images} {images} the logits differ by "
        f"{done.difference:.1e} of the largest, the classes agree on "
        f"{100 * done.agreement:.0f} %"
    )
