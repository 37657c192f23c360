"""What can be wrong with the settings of a training or an adaptation: one line a wrong value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workbench.errors import NetworkError
from workbench.models.elsewhere import DEFAULT_WEIGHTS
from workbench.models.networks import find_network
from workbench.protocols import PROTOCOLS
from workbench.recipe_checks import check_choice, check_once, check_recipe_options
from workbench.settings import DEVICES, HEADS, KEEP_WEIGHTS, PRECISIONS, SCHEDULES, Settings
from workbench.sources import check_source

_MOST_SEEDS = 1000


def check_settings(settings: Settings) -> list[str]:
    """One line for each value that an option cannot have."""
    problems = [
        *check_source(settings.source, settings.image_size, settings.weights is not None),
        *check_choice("--head", settings.head, HEADS),
        *check_choice("--schedule", settings.schedule, SCHEDULES),
        *check_choice("--device", settings.device, DEVICES),
        *check_choice("--precision", settings.precision, PRECISIONS),
        *check_choice("--keep-weights", settings.keep_weights, KEEP_WEIGHTS),
    ]
    problems += check_model(settings.model)
    for name in settings.protocols:
        problems += check_choice("--protocols", name, list(PROTOCOLS))
    if not settings.protocols:
        problems.append(f"--protocols names none; choose from {', '.join(PROTOCOLS)}")
    problems += check_once("--protocols", settings.protocols)
    problems += check_numbers(
        seeds=settings.seeds,
        first_seed=settings.first_seed,
        steps=settings.steps,
        epochs=settings.epochs,
        source_epochs=settings.source_epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        fine_lr=settings.fine_lr,
        weight_decay=settings.weight_decay,
    )
    if not 0 < settings.temperature < float("inf"):
        problems.append(f"--temperature {settings.temperature:g} is not a positive number; try 1")
    if not 0 <= settings.distill_weight <= 1:
        problems.append(
            f"--distill-weight {settings.distill_weight:g} is not within [0, 1]; try 0.5"
        )
    if not 0 <= settings.tolerance <= 100:
        problems.append(f"--tolerance {settings.tolerance:g} is not within 0 to 100 points")
    if settings.weights is not None and settings.source_epochs is not None:
        problems.append("--source-epochs has no effect beside --weights; leave one out")
    return problems + check_recipe_options(settings) + check_weights(settings.weights)


def check_model(name: str | None) -> Sequence[str]:
    """A line when there is no such network; None is never wrong."""
    if name is None:
        return []
    try:
        find_network(name)
    except NetworkError as error:
        return error.problems
    return []


def check_weights(path: Path | None) -> list[str]:
    """A line when there is no such file; None is never wrong."""
    if path is None or str(path) == DEFAULT_WEIGHTS or path.is_file():
        return []
    return [f"--weights {path}: no such file; 'workbench train' makes one"]


def check_numbers(
    *,
    seeds: int = 1,
    first_seed: int = 0,
    steps: int = 1,
    epochs: int | None = None,
    source_epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    fine_lr: float | None = None,
    weight_decay: float | None = None,
) -> list[str]:
    """One line for each number that is out of its range; None is never wrong."""
    problems = []
    if seeds > _MOST_SEEDS:
        problems.append(f"--seeds {seeds} is too large; the most is {_MOST_SEEDS}")
    if first_seed < 0:
        problems.append(f"--first-seed {first_seed} is negative; use 0 or more")
    counts = {
        "--seeds": (seeds, 1),
        "--steps": (steps, 1),
        "--epochs": (epochs, 1),
        "--source-epochs": (source_epochs, 1),
        "--batch-size": (batch_size, 2),
    }
    for option, (value, least) in counts.items():
        if value is not None and value < least:
            problems.append(f"{option} {value} is too small; it must be at least {least}")
    for option, rate in (("--lr", lr), ("--fine-lr", fine_lr)):
        if rate is not None and not 0 < rate < float("inf"):
            problems.append(f"{option} {rate:g} is not a positive number; try 0.1")
    if weight_decay is not None and not 0 <= weight_decay < 1:
        problems.append(f"--weight-decay {weight_decay:g} is not within [0, 1); try 5e-4")
    return problems
