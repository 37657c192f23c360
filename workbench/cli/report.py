"""``workbench report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import print_line
from workbench.cli.experiment_options import RESULTS_OPTION
from workbench.cli.options import takes


@takes("data_dir", "tracking_uri", results=RESULTS_OPTION)
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Id of the run of an adaptation or a search; several with --compare.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Report the newest finished adaptation of this domain.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Report several runs on one page.")
    ] = False,
    bench: Annotated[
        bool, typer.Option("--bench", help="Report the rows in the folder of --results.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write. (default: report.html)")
    ] = None,
    **chosen: Any,
) -> None:
    """Write a report as one HTML file that opens offline.

    It shows the verdict, all networks, accuracy against cost, the filters of each layer,
    confusion matrices, the images on which the full and the small network differ, and
    where it was made. adapt and shrink also store it in their runs.

    \b
    Examples:
      workbench report RUN --out pets.html
      workbench report --target S2
      workbench report --compare RUN RUN
      workbench report --bench --results docs/results
    """
    from workbench.errors import SettingsError
    from workbench.experiments.reports import report as write

    named = list(runs or ())
    if len(named) > 1 and not compare:
        raise SettingsError("several runs need --compare; name one RUN without it")
    if compare and not named:
        raise SettingsError("--compare needs the ids of at least two different runs")
    one = named[0] if named and not compare else None
    several = named if compare else ()
    path = write(one, target=target, compare=several, bench=bench, out=out, **chosen)
    print_line(f"{path}: written ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")
