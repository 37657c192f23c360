"""``workbench shrink``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.console import open_display, print_line, print_table
from workbench.cli.engine_option_table import engine_of, use_threads
from workbench.cli.merged_options import merge_options
from workbench.cli.options import (
    ENGINE,
    FROM_FILE,
    NETWORK,
    REGULARISERS,
    SEEDS,
    TRAINING,
    WHERE,
    takes,
)
from workbench.experiments.network_search.search_settings import (
    COSTS,
    USUAL_BUDGETS,
    USUAL_RECIPES,
    USUAL_SELECTION,
    SearchSettings,
)

if TYPE_CHECKING:
    from workbench.training.progress import Display

_PANEL = "Search"


@takes(
    *NETWORK, "selection", "multiple_of", "only", "skip", "min_share", "compensate", "tolerance",
    "runtime", *SEEDS, *TRAINING, "weight_decay", *REGULARISERS, "scale_dropout", "head", *WHERE,
    "fresh", "json", "quiet", "config", *ENGINE, **FROM_FILE,
)  # fmt: skip
def shrink(
    context: typer.Context,
    cost: Annotated[
        str,
        typer.Option(help=f"Cost to minimise: {', '.join(COSTS)}.", rich_help_panel=_PANEL),
    ] = SearchSettings.cost,
    time: Annotated[
        str | None,
        typer.Option(
            help="Time budget, such as 30m or 2h, with the training of the chosen network; a later "
            "call continues the search. (default: until the search is complete)",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    recipes: Annotated[
        str,
        typer.Option(
            help=f"Methods to try, comma-separated. (default: {','.join(USUAL_RECIPES)}, with "
            f"--selection {USUAL_SELECTION}; methods that you name keep their own selection)",
            rich_help_panel=_PANEL,
        ),
    ] = "",
    budgets: Annotated[
        str,
        typer.Option(
            help="Shares of the FLOPs (of the parameters with --cost params or bytes) to try, "
            f"comma-separated. (default: {','.join(f'{each:g}' for each in USUAL_BUDGETS)})",
            rich_help_panel=_PANEL,
        ),
    ] = "",
    validation: Annotated[
        float,
        typer.Option(
            help="Share of each class's training images on which networks are compared.",
            rich_help_panel=_PANEL,
        ),
    ] = SearchSettings.validation,
    rungs: Annotated[
        int,
        typer.Option(
            help="Rungs of successive halving: each trains half of the networks twice as long.",
            rich_help_panel=_PANEL,
        ),
    ] = SearchSettings.rungs,
    figure: Annotated[
        Path | None,
        typer.Option(help="Write the chart to this PNG file, too.", rich_help_panel="Output"),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the steps; change nothing.", rich_help_panel="Output"
        ),
    ] = False,
    **chosen: Any,
) -> None:
    """Find the cheapest network that is as accurate as the full one, within a tolerance.

    The command tries recipes at several sizes with short trainings, trains the best ones
    longer, and compares them on a part of the training images. It then trains the
    cheapest sufficient network on all training images and tests it. Every trial is
    recorded: run the same command again to continue after an interruption.

    \b
    Examples:
      workbench shrink --source digits --target digits-3v8
      workbench shrink --source cifar100 --target S2 --weights vgg16-source.safetensors --time 30m
      workbench shrink --source cifar100 --target R1 --cost latency --runtime onnx-int8
      workbench shrink --config search.yaml --time 2h --dry-run
    """
    from workbench.data.user_paths import check_new_file, user_path
    from workbench.experiments.network_search.search_record import draw
    from workbench.experiments.network_search.search_report import as_plain
    from workbench.experiments.network_search.shrink import file_types
    from workbench.experiments.network_search.shrink import shrink as run
    from workbench.experiments.result_rows import writing

    picture = None if figure is None else check_new_file(user_path(figure), "--figure", ".png")
    as_json, display = chosen.pop("json"), open_display(chosen.pop("quiet"))
    own = {
        "cost": cost,
        "time": time,
        "recipes": recipes or None,
        "budgets": budgets or None,
        "validation": validation,
        "rungs": rungs,
    }
    chosen = merge_options(context, {**own, **chosen}, ("source", "target"), file_types)
    engine = engine_of(chosen)
    if dry_run:
        use_threads(engine)
        _preview(chosen, as_json, display)
        return
    result = run(display=display, engine=engine, **chosen)
    if as_json:
        print(json.dumps(as_plain(result), indent=1))
    else:
        _print(result)
    if picture is not None:
        with writing(picture.parent):
            draw(result, picture)


def _preview(chosen: dict[str, Any], as_json: bool, display: Display) -> None:
    from workbench.experiments.network_search.search_preview import (
        preview_search,
        search_preview_lines,
    )

    plan = preview_search(display=display, **chosen)
    if as_json:
        print(json.dumps(plan, indent=1))
        return
    for line in search_preview_lines(plan):
        print_line(line)


def _print(result: Any) -> None:
    """Print the table, the choice and the next commands."""
    from workbench.experiments.network_search.search_report import (
        COLUMNS,
        search_rows,
        search_sentences,
    )
    from workbench.reporting.verdict_text import next_steps

    print_table("", COLUMNS, search_rows(result), elsewhere="--json")
    steps = next_steps(replace(result.adaptation, report=result.report))
    for line in (*search_sentences(result), "", *steps):
        print_line(line)
