"""Options that several commands share, each declared once.

A command names the shared options that it takes. ``takes`` adds them to the command's signature,
which typer reads; the command receives their values as keywords:

    @takes("target", *TRAINING)
    def adapt(dry_run: Annotated[bool, ...] = False, **chosen: Any) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from workbench.cli.one_option import Option
from workbench.cli.option_table import SHARED
from workbench.deployment import settings as deployment
from workbench.experiments.engines.engine_settings import ENGINE_OPTIONS

Command = TypeVar("Command", bound=Callable[..., Any])
#: Required options, for commands that can also read them from a file.
FROM_FILE = {
    name: replace(SHARED[name], kind=str | None, default=None) for name in ("source", "target")
}
NETWORK = ("source", "target", "model", "weights", "image_size", "strict")
RECIPE = (
    "method", "recipe", "selection", "draw", "energy", "divergence", "gamma_map", "multiple_of",
    "steps", "cost",
)  # fmt: skip
LAYERS = ("recipe_file", "only", "skip", "min_share", "compensate")
BUDGET = ("footprint", "flops", "params", "latency_ms", "runtime")
TRAINING = (
    "epochs", "source_epochs", "schedule", "lr", "fine_lr", "batch_size", "device", "precision",
)  # fmt: skip
GATES = ("gate_epochs", "gate_penalty")
REGULARISERS = ("ema", "label_smoothing", "mixup", "cutmix", "orthogonality")
DISTILLATION = (
    "objective", "teacher", "temperature", "distill_weight", "generations", "assistant",
)  # fmt: skip
SEEDS = ("seeds", "first_seed")
STAGE_OPTIONS = deployment.STAGE_OPTIONS
ENGINE = ENGINE_OPTIONS
WHERE = ("data_dir", "domains", "tracking_uri", "output")


def takes(*names: str, **changed: Option) -> Callable[[Command], Command]:
    """Add shared options to a command's own parameters.

    Args:
        names: names in ``SHARED``; the command receives the values as keywords.
        changed: the command's own options, or variants of shared ones, by name.
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        fixed = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in own.parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        chosen = {name: changed.get(name) or SHARED[name] for name in names} | changed
        added = [option.parameter(name) for name, option in chosen.items()]
        signature = own.replace(parameters=[*added, *fixed])
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return command

    return decorate
