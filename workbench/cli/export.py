"""``workbench export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import print_line
from workbench.cli.options import takes
from workbench.cli.run_argument import Own, Run


@takes("data_dir", "tracking_uri", "int8_for", "calibration_images")
def export(
    run: Run,
    format: Annotated[
        str,
        typer.Option(help="File format: safetensors, pt2, onnx, onnx-int8 or pte (ExecuTorch)."),
    ] = "safetensors",
    out: Annotated[
        Path | None, typer.Option(help="File to write. (default: network.SUFFIX)")
    ] = None,
    model: Own = None,
    check: Annotated[
        str | None, typer.Option(help="Run the ONNX file in another runtime, too: openvino.")
    ] = None,
    **chosen: Any,
) -> None:
    """Write a network to a file for deployment and verify the file against the network.

    The file is loaded again and compared with the network on all test images. A model
    card is written beside the file and into its metadata.

    \b
    Examples:
      workbench export RUN
      workbench export RUN --format onnx-int8 --check openvino
      workbench export weights.safetensors --format onnx --out pets.onnx
    """
    from workbench.adaptation.results.run_export import export as run_export
    from workbench.deployment.export_text import export_lines

    done = run_export(run, format=format, out=out, model=model, check=check, **chosen)
    for line in export_lines(done):
        print_line(line)
