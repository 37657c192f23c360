"""``workbench adapt`` and ``workbench analyze``."""

from __future__ import annotations

import json
from typing import Any

import typer

from workbench.cli import options as opt
from workbench.cli.printing import console
from workbench.settings import Settings

ALL_PROTOCOLS = ",".join(Settings.protocols)


def adapt(
    source: opt.Source,
    target: opt.Target,
    model: opt.Model = Settings.model,
    weights: opt.Weights = Settings.weights,
    method: opt.Method = Settings.method,
    recipe: opt.Recipe = Settings.recipe,
    selection: opt.Selection = Settings.selection,
    draw: opt.Draw = Settings.draw,
    energy: opt.Energy = Settings.energy,
    footprint: opt.Footprint = None,
    flops: opt.Flops = Settings.flops,
    params: opt.Params = None,
    latency_ms: opt.LatencyMs = Settings.latency_ms,
    divergence: opt.Divergence = Settings.divergence,
    gamma_map: opt.GammaMap = Settings.gamma_map,
    multiple_of: opt.MultipleOf = Settings.multiple_of,
    steps: opt.Steps = Settings.steps,
    protocols: opt.Protocols = ALL_PROTOCOLS,
    head: opt.Head = Settings.head,
    tolerance: opt.Tolerance = Settings.tolerance,
    seeds: opt.Seeds = Settings.seeds,
    first_seed: opt.FirstSeed = Settings.first_seed,
    temperature: opt.Temperature = Settings.temperature,
    distill_weight: opt.DistillWeight = Settings.distill_weight,
    epochs: opt.Epochs = Settings.epochs,
    source_epochs: opt.SourceEpochs = Settings.source_epochs,
    schedule: opt.Schedule = Settings.schedule,
    lr: opt.LearningRate = Settings.lr,
    fine_lr: opt.FineLearningRate = Settings.fine_lr,
    batch_size: opt.BatchSize = Settings.batch_size,
    weight_decay: opt.WeightDecay = Settings.weight_decay,
    device: opt.Device = Settings.device,
    precision: opt.Precision = Settings.precision,
    fresh: opt.Fresh = Settings.fresh,
    image_size: opt.ImageSize = Settings.image_size,
    strict: opt.Strict = Settings.strict,
    data_dir: opt.DataDir = Settings.data_dir,
    domains: opt.Domains = Settings.domains,
    tracking_uri: opt.TrackingUri = Settings.tracking_uri,
    output: opt.Output = Settings.output,
    keep_weights: opt.KeepWeights = Settings.keep_weights,
    json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Specialise a network for a target domain by four protocols and say which one to take.

    \b
    Examples:
      workbench adapt --source digits --target digits-3v8 --seeds 3
      workbench adapt --source cifar100 --target S2 --weights vgg16-source.safetensors
      workbench adapt --source cifar100 --target R1 --method pfa-en --footprint 0.25 --dry-run
      workbench adapt --source cifar100 --target pets --weights vgg16-source.safetensors --strict
    """
    chosen = {name: value for name, value in locals().items() if name not in ("json", "dry_run")}
    if dry_run:
        _preview(chosen, json)
    else:
        _adapt(chosen, json)


def analyze(
    source: opt.Source,
    target: opt.Target,
    model: opt.Model = Settings.model,
    weights: opt.Weights = Settings.weights,
    method: opt.Method = Settings.method,
    recipe: opt.Recipe = Settings.recipe,
    selection: opt.Selection = Settings.selection,
    draw: opt.Draw = Settings.draw,
    energy: opt.Energy = Settings.energy,
    footprint: opt.Footprint = None,
    flops: opt.Flops = Settings.flops,
    params: opt.Params = None,
    latency_ms: opt.LatencyMs = Settings.latency_ms,
    divergence: opt.Divergence = Settings.divergence,
    gamma_map: opt.GammaMap = Settings.gamma_map,
    multiple_of: opt.MultipleOf = Settings.multiple_of,
    steps: opt.Steps = Settings.steps,
    source_epochs: opt.SourceEpochs = Settings.source_epochs,
    schedule: opt.Schedule = Settings.schedule,
    device: opt.Device = Settings.device,
    precision: opt.Precision = Settings.precision,
    fresh: opt.Fresh = Settings.fresh,
    image_size: opt.ImageSize = Settings.image_size,
    strict: opt.Strict = Settings.strict,
    data_dir: opt.DataDir = Settings.data_dir,
    domains: opt.Domains = Settings.domains,
    tracking_uri: opt.TrackingUri = Settings.tracking_uri,
    output: opt.Output = Settings.output,
    json: opt.Json = False,
) -> None:
    """Measure how many filters each layer needs on a target domain; train no protocol.

    \b
    Example:
      workbench analyze --source cifar100 --target S2 --weights vgg16-source.safetensors
    """
    chosen = {name: value for name, value in locals().items() if name != "json"}
    _analyze(chosen, json)


def _adapt(chosen: dict[str, Any], as_json: bool) -> None:
    from workbench import report
    from workbench.display import Display
    from workbench.pipeline import adapt as run

    display = Display(quiet=False)
    result = run(display=display, **chosen)
    if not result.trained:
        display.say("nothing to train: every protocol of this adaptation is already recorded")
    elif result.reused:
        display.say(f"{len(result.reused)} training(s) were found in the store and reused")
    if as_json:
        print(json.dumps(report.as_dict(result), indent=1))
        return
    out = console()
    out.print(
        report.rich_table(report.title(result), report.COLUMNS, report.table_rows(result.protocols))
    )
    out.print(report.interval_note(result.protocols), markup=False)
    out.print(f"\n{report.verdict_sentence(result.verdict)}\n", markup=False)
    for line in report.next_steps(result):
        out.print(line, markup=False)


def _preview(chosen: dict[str, Any], as_json: bool) -> None:
    from workbench.display import Display
    from workbench.preview import preview, preview_lines

    plan = preview(display=Display(quiet=False), **chosen)
    if as_json:
        print(json.dumps(plan, indent=1))
        return
    for line in preview_lines(plan):
        typer.echo(line)


def _analyze(chosen: dict[str, Any], as_json: bool) -> None:
    from workbench import recipe_report, report
    from workbench.display import Display
    from workbench.pipeline import predict_costs

    analysis = predict_costs(display=Display(quiet=False), **chosen)
    recipe, full, small = analysis.recipe, analysis.full, analysis.compressed
    if as_json:
        whole = {
            "method": recipe.method,
            "recipe": recipe.rows(),
            "uncompressed": dict(recipe.uncompressed),
            **recipe_report.cost_dict(full, small),
        }
        print(json.dumps(whole, indent=1))
        return
    title = f"{chosen['target']} · {recipe.method} · responses to {recipe.images} images"
    table = report.rich_table(title, report.RECIPE_COLUMNS, report.recipe_rows(recipe))
    out = console()
    out.print(table)
    for line in (*recipe_report.group_notes(recipe), recipe_report.cost_sentence(full, small)):
        out.print(line, markup=False)
