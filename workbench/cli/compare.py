"""``workbench compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import print_line, print_table
from workbench.cli.options import takes


@takes("tracking_uri")
def compare(
    source: Annotated[str | None, typer.Option(help="Show only runs with this source.")] = None,
    target: Annotated[str | None, typer.Option(help="Show only runs for this domain.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="PNG file to write the two charts to.", metavar="FILE.png")
    ] = None,
    **chosen: Any,
) -> None:
    """Compare all finished runs of the store in one table.

    \b
    Example:
      workbench compare --source cifar100 --figure comparison.png
    """
    from workbench.data.user_paths import check_new_file
    from workbench.reporting.run_comparison import compare as run
    from workbench.reporting.run_comparison import comparison_rows, draw_comparison
    from workbench.reporting.tables import COLUMNS, table_rows
    from workbench.training.progress import Display

    if figure is not None:
        check_new_file(figure, "--figure", ".png")
    say = Display(quiet=False).say
    rows = run(tracking_uri=chosen["tracking_uri"], source=source, target=target, say=say)
    results = [row.result for row in rows]
    cells = [
        (*first, *rest)
        for first, rest in zip(comparison_rows(rows), table_rows(results), strict=True)
    ]
    columns = ("domain", "model", "method", "training", "seeds", *COLUMNS)
    cells = [
        (*cell[:4], str(len(r.hits)), *cell[4:]) for cell, r in zip(cells, results, strict=True)
    ]
    print_table("", columns, cells)
    if figure is not None:
        draw_comparison(rows, figure)
        print_line(f"{figure}: written")
