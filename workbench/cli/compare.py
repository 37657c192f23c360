"""``workbench compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import open_display, print_line, print_table
from workbench.cli.experiment_options import names_of
from workbench.cli.options import takes

_PANEL = "Rows and columns"


@takes("tracking_uri", "json")
def compare(
    source: Annotated[str | None, typer.Option(help="Show only runs with this source.")] = None,
    target: Annotated[str | None, typer.Option(help="Show only runs for this domain.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Show only rows that meet this condition, such as 'footprint<0.3', "
            "'accuracy>=95%' or 'method~pfa*'; several conditions must all be met.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(help="Column to sort by; -COLUMN: largest first.", rich_help_panel=_PANEL),
    ] = None,
    descending: Annotated[
        bool,
        typer.Option("--descending", help="Reverse the order of --sort.", rich_help_panel=_PANEL),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(help="Show at most so many rows.", rich_help_panel=_PANEL)
    ] = None,
    newest: Annotated[
        int,
        typer.Option(help="Read only so many of the newest runs.", rich_help_panel=_PANEL),
    ] = 5000,
    columns: Annotated[
        str,
        typer.Option(
            help="Columns to show, comma-separated. (default: as many as fit)",
            rich_help_panel=_PANEL,
        ),
    ] = "",
    figure: Annotated[
        Path | None, typer.Option(help="PNG file to write the two charts to.", metavar="FILE.png")
    ] = None,
    **chosen: Any,
) -> None:
    """Compare the finished runs of the store in one table.

    The columns have the names source, domain, model, method, training, seeds, protocol,
    accuracy, size, parameters, footprint, flops, flops_ratio, latency, latency_64 (a batch
    of 64), runtime (of the latencies) and train. Sizes are in bytes, latencies in ms,
    training times in seconds. The table of adapt --stages also has latencies of float32
    networks in onnx.
    Accuracies under --attack 4 of adapt are fgsm_4 and pgd_4.

    \b
    Examples:
      workbench compare --source cifar100 --figure comparison.png
      workbench compare --sort latency --where 'footprint<0.3' --where 'accuracy>=95%'
      workbench compare --columns domain,protocol,accuracy --sort=-accuracy --limit 5 --json
    """
    from workbench.data.user_paths import check_new_file
    from workbench.reporting.run_columns import (
        SHOWN,
        column_of,
        comparison_dicts,
        comparison_table,
    )
    from workbench.reporting.run_comparison import compare as find
    from workbench.reporting.run_comparison import draw_comparison
    from workbench.reporting.run_selection import selection_of

    names = names_of("--columns", columns)
    rules: dict[str, Any] = {
        "where": where or (),
        "sort": sort,
        "descending": descending,
        "limit": limit,
    }
    selection = selection_of(**rules, columns=names)  # report all mistakes together
    if figure is not None:
        check_new_file(figure, "--figure", ".png")
    display = open_display(quiet=False)
    rows = find(
        tracking_uri=chosen["tracking_uri"],
        source=source,
        target=target,
        newest=newest,
        say=display.say,
        **rules,
    )
    if not rows:
        display.say("no row meets the conditions of --where")
    if chosen["json"]:
        print(json.dumps(comparison_dicts(rows, names), indent=1))
    elif rows:
        keep = selection.columns if not names else [column_of(name).header for name in names]
        print_table("", *comparison_table(rows, names or SHOWN), elsewhere="--json", keep=keep)
    if figure is not None and rows:
        draw_comparison(rows, figure)
        display.say(f"{figure}: written") if chosen["json"] else print_line(f"{figure}: written")
