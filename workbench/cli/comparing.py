"""``workbench compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli import options as opt
from workbench.cli.printing import console


def compare(
    source: Annotated[str | None, typer.Option(help="Only runs from this source.")] = None,
    target: Annotated[str | None, typer.Option(help="Only runs for this domain.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="PNG file for the two charts.", metavar="FILE.png")
    ] = None,
    tracking_uri: opt.TrackingUri = None,
) -> None:
    """Put all finished runs of the store side by side.

    \b
    Example:
      workbench compare --source cifar100 --figure comparison.png
    """
    from workbench import report
    from workbench.comparison import compare as run
    from workbench.comparison import comparison_rows, draw_comparison
    from workbench.planning import check_new_file

    if figure is not None:
        check_new_file(figure, "--figure", ".png")
    rows = run(tracking_uri=tracking_uri, source=source, target=target)
    results = [row.result for row in rows]
    cells = [
        (*first, *rest)
        for first, rest in zip(comparison_rows(rows), report.table_rows(results), strict=True)
    ]
    columns = ("domain", "model", "method", "training", "seeds", *report.COLUMNS)
    cells = [
        (*cell[:4], str(len(r.hits)), *cell[4:]) for cell, r in zip(cells, results, strict=True)
    ]
    console().print(report.rich_table("", columns, cells))
    if figure is not None:
        draw_comparison(rows, figure)
        typer.echo(f"{figure}: written")
