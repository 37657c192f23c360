"""``workbench quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import print_line, print_table
from workbench.cli.options import STAGE_OPTIONS, takes
from workbench.cli.run_argument import Own, Run
from workbench.deployment.stage_names import STAGES


@takes("data_dir", "tracking_uri", *STAGE_OPTIONS, "tolerance")
def quantize(
    run: Run,
    stage: Annotated[str, typer.Option(help=f"What to do: {', '.join(STAGES)}.")] = "int8",
    out: Annotated[
        Path | None, typer.Option(help="File to write. (default: network.SUFFIX)")
    ] = None,
    model: Own = None,
    **chosen: Any,
) -> None:
    """Quantise a trained network and compare the file with it: accuracy, size and speed.

    \b
    Examples:
      workbench quantize RUN
      workbench quantize RUN --int8-for arm --out pets.onnx
      workbench quantize weights.safetensors --stage mixed --mixed-size 0.14
    """
    from workbench.adaptation.results.run_export import quantize as run_quantize
    from workbench.deployment.export_text import (
        COMPARED_COLUMNS,
        compared_rows,
        export_lines,
        stage_verdict,
    )
    from workbench.errors import SettingsError
    from workbench.reporting.verdict_rules import check_tolerance

    tolerance = chosen.pop("tolerance")
    problems = check_tolerance(tolerance)
    if problems:
        raise SettingsError(*problems)
    done = run_quantize(run, stage=stage, out=out, model=model, **chosen)
    print_table("", COMPARED_COLUMNS, compared_rows(done, stage))
    for line in (*export_lines(done), "", stage_verdict(done, stage, tolerance)):
        print_line(line)
