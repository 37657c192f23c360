"""``shrink --dry-run``: the steps of a search, before any of them is executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.adaptation.dry_run import preview, subject_lines
from workbench.errors import counted
from workbench.experiments.network_search.candidates import Candidate, candidate_grid
from workbench.experiments.network_search.search_settings import SearchSettings
from workbench.experiments.network_search.shrink import checked_options
from workbench.experiments.network_search.successive_halving import plan_rungs
from workbench.training.progress import Display


def preview_search(*, display: Display | None = None, **options: Any) -> dict[str, Any]:
    """The plan of a search as plain data; nothing is downloaded, created or written.

    Args:
        display: shows warnings; None shows none.
        **options: the options of ``shrink``.

    Returns:
        A dictionary with the keys ``settings``, ``data`` and ``full_network`` of
        ``dry_run.preview``, ``search`` (what is searched) and ``steps``, a list of texts.

    Raises:
        WorkbenchError: for every error that ``shrink`` would report before it starts to work.
    """
    search, shared = checked_options(options)
    own = {"selection": shared["selection"]} if shared.get("selection") else {}
    # The largest budget: it must be possible, smaller ones may be left out.
    largest = Candidate(max(search.budgets), search.recipes[0]).options(search.budget)
    fine = {"validation": search.validation, "protocols": ("pfa-fine",)}
    plan = preview(display=display, **{**shared, **fine, **largest})
    whole = [step for step in plan["steps"] if step["step"].startswith("source training")]
    steps = [f"{step['step']} ({step['state']})" for step in whole]
    return {
        **{name: plan[name] for name in ("settings", "data", "full_network")},
        "search": {**search.chosen(), **own},
        "steps": [*steps, *_steps(search, plan["settings"])],
    }


def _steps(search: SearchSettings, settings: Mapping[str, Any]) -> list[str]:
    target, seeds = settings["target"], settings["seeds"]
    epochs = settings["fine_plan"]["epochs"]
    left = len(candidate_grid(search.recipes, search.budgets))
    steps = [f"analysis: responses to the training images of {target}"]
    for rung in plan_rungs(left, epochs, search.rungs):
        steps.append(
            f"at most {left} candidates and full-fine, {counted(rung.epochs, 'epoch')} each, 1 seed"
        )
        left = rung.keep
    if seeds > 1:
        steps.append(f"the best candidates and full-fine with {counted(seeds - 1, 'more seed')}")
    return [
        *steps,
        f"budgets between the cheapest sufficient one and the next, {counted(seeds, 'seed')} each",
        f"the chosen network and full-fine on all training images, {counted(seeds, 'seed')} each; "
        "test",
    ]


def search_preview_lines(plan: Mapping[str, Any]) -> list[str]:
    """The plan as lines of text."""
    search = plan["search"]
    budgets = ", ".join(f"{100 * share:g} %" for share in search["budgets"])
    what = "parameters" if search["cost"] in ("params", "bytes") else "FLOPs"
    chosen_by = f" with --selection {search['selection']}" if "selection" in search else ""
    return [
        *subject_lines(dict(plan)),
        f"search      {', '.join(search['recipes'])}{chosen_by} at {budgets} of the {what}, on "
        f"{100 * search['validation_share']:g} % of the training images",
        "",
        *(f"{number}. {step}" for number, step in enumerate(plan["steps"], start=1)),
        "",
        "finished trials in the store are not repeated; nothing was changed",
    ]
