"""``workbench adapt``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.console import open_display, print_line, print_table
from workbench.cli.engine_option_table import engine_of, use_threads
from workbench.cli.merged_options import (
    merge_options,
)
from workbench.cli.options import (
    BUDGET,
    DISTILLATION,
    ENGINE,
    FROM_FILE,
    GATES,
    LAYERS,
    NETWORK,
    RECIPE,
    REGULARISERS,
    SEEDS,
    STAGE_OPTIONS,
    TRAINING,
    WHERE,
    takes,
)
from workbench.experiments.engines.engine_settings import EngineSettings

if TYPE_CHECKING:
    from workbench.training.progress import Display


@takes(
    *NETWORK, *RECIPE, *BUDGET, *LAYERS, "protocols", *SEEDS, "validation", "tolerance", "prefer",
    *DISTILLATION, "stages", *STAGE_OPTIONS, *TRAINING, "weight_decay", "repair_epochs",
    *GATES, *REGULARISERS, "scale_dropout", "sync_batch_norm", "attack",
    "head", *WHERE, "fresh", "keep_weights", "json", "quiet",
    "config", "like", *ENGINE, **FROM_FILE,
)  # fmt: skip
def adapt(
    context: typer.Context,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the steps and which of them are already done; change nothing.",
            rich_help_panel="Output",
        ),
    ] = False,
    **chosen: Any,
) -> None:
    """Specialise a network for a target domain and recommend one of the results.

    The command analyses how many filters each layer needs on the target, trains full
    and compressed networks by the chosen protocols, and compares their accuracies and
    costs. Results are recorded in an MLflow store and reused by later commands. Run the
    same command again to continue after an interruption.

    \b
    Examples:
      workbench adapt --source digits --target digits-3v8 --seeds 3
      workbench adapt --source cifar100 --target S2 --weights vgg16-source.safetensors
      workbench adapt --source cifar100 --target R1 --method pfa-en --footprint 0.25 --dry-run
      workbench adapt --source cifar100 --target pets --weights vgg16-source.safetensors --strict
      workbench adapt --config pets.yaml --seeds 3
      workbench adapt --like RUN --target S3
      workbench adapt --source cifar100 --target S2 --seeds 8 --engine local --workers 4
    """
    as_json, display = chosen.pop("json"), open_display(chosen.pop("quiet"))
    chosen = merge_options(context, chosen, ("source", "target"))
    engine = engine_of(chosen)
    (_preview if dry_run else _adapt)(chosen, as_json, display, engine)


def _adapt(
    chosen: dict[str, Any], as_json: bool, display: Display, engine: EngineSettings | None
) -> None:
    from workbench.adaptation.pipeline import adapt as run
    from workbench.errors import counted
    from workbench.experiments.engines.adaptations import adapt_on_engine
    from workbench.reporting.attack_table import attack_table
    from workbench.reporting.json_results import as_dict
    from workbench.reporting.tables import COLUMNS, RUNTIME_COLUMNS, runtime_rows, table_rows
    from workbench.reporting.verdict_text import (
        interval_note,
        next_steps,
        runtime_notes,
        split_of,
        title,
        verdict_notes,
        verdict_sentence,
    )

    if engine:
        result = adapt_on_engine(engine, display=display, **chosen)
    else:
        result = run(display=display, **chosen)
    if not result.trained:
        display.say("nothing to train: every protocol of this adaptation is already recorded")
    elif result.reused and not engine:  # which reuses the trainings of its own processes
        trainings = counted(len(result.reused), "training")
        display.say(f"{trainings} found in the store and reused")
    if as_json:
        print(json.dumps(as_dict(result), indent=1))
        return
    print_table(title(result), COLUMNS, table_rows(result.networks), elsewhere="--json")
    timed = runtime_rows(result.networks)
    if timed:
        print_table("", RUNTIME_COLUMNS, timed, elsewhere="--json")
    attacked = attack_table(result.networks)
    if attacked[1]:
        print_table("Accuracy under attack", *attacked, elsewhere="--json")
    for line in (
        interval_note(result.protocols, split_of(result)), *runtime_notes(result), "",
        verdict_sentence(result.verdict), *verdict_notes(result.verdict), "",
        *next_steps(result),
    ):  # fmt: skip
        print_line(line)


def _preview(
    chosen: dict[str, Any], as_json: bool, display: Display, engine: EngineSettings | None
) -> None:
    from workbench.adaptation.dry_run import preview, preview_lines

    use_threads(engine)
    plan = preview(display=display, **chosen)
    if as_json:
        print(json.dumps(plan, indent=1))
        return
    for line in preview_lines(plan):
        print_line(line)
