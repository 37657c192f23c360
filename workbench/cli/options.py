"""Options that several commands share, each declared once.

A command names the shared options that it takes; ``takes`` adds them to its signature, where
typer reads them, and hands their values on as keywords:

    @takes("target", *TRAINING)
    def adapt(dry_run: Annotated[bool, ...] = False, **chosen: Any) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from workbench.adaptation.settings import DomainSettings
from workbench.compression.method_names import METHODS, RECIPES, SELECTIONS
from workbench.compression.recipe_settings import RecipeSettings
from workbench.errors import SettingsError
from workbench.store.settings import RecordSettings
from workbench.training.protocols import PROTOCOLS
from workbench.training.settings import TrainingSettings

Command = TypeVar("Command", bound=Callable[..., Any])
REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Option:
    """One option of the command line.

    Attributes:
        kind: its Python type.
        panel: the part of the help page that it stands in.
        help: what it does.
        default: its value when left out; ``REQUIRED`` for one that must be given.
        names: as typed, where it is not the parameter's name.
    """

    kind: Any
    panel: str
    help: str
    default: Any = None
    names: tuple[str, ...] = ()

    def parameter(self, name: str) -> inspect.Parameter:
        """The option as a parameter of a command."""
        option = typer.Option(*self.names, help=self.help, rich_help_panel=self.panel)
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=self.default,
            annotation=Annotated[self.kind, option],
        )


_NETWORK, _RECIPE, _BUDGET = "Domain and network", "Recipe", "Budget"
_TRAINING, _SEEDS, _WHERE, _OUTPUT = "Training", "Protocols and seeds", "Where", "Output"
_Recipe, _Training = RecipeSettings, TrainingSettings

SHARED: dict[str, Option] = {
    "source": Option(
        str,
        _NETWORK,
        "Data set that the network was trained on: digits, cifar10, cifar100, or a folder of "
        "images with a subfolder for each class.",
        REQUIRED,
    ),
    "target": Option(
        str,
        _NETWORK,
        "Domain to specialise for; 'workbench domains' lists them.",
        REQUIRED,
    ),
    "model": Option(
        str | None,
        _NETWORK,
        "simplecnn, vgg16, resnet56, resnet34, vgg16-convolutional, torchvision:NAME, timm:NAME, "
        "or package.module:function of your own. (default: the source's usual one)",
    ),
    "weights": Option(
        Path | None,
        _NETWORK,
        "Trained source network (.safetensors or .pt), or DEFAULT for torchvision's own; "
        "trained here if missing.",
    ),
    "image_size": Option(
        int | None,
        _NETWORK,
        "Pixels of a folder's images. (default: 224, or their own where small)",
    ),
    "strict": Option(
        bool,
        _NETWORK,
        "Files of a folder that are not readable images are an error.",
        DomainSettings.strict,
        ("--strict",),
    ),
    "method": Option(
        str,
        _RECIPE,
        f"How many filters to keep, and which: {', '.join(METHODS)}.",
        _Recipe.method,
    ),
    "recipe": Option(
        str | None, _RECIPE, f"How many filters, by another method: {', '.join(RECIPES)}."
    ),
    "selection": Option(
        str | None, _RECIPE, f"Which filters, by another method: {', '.join(SELECTIONS)}."
    ),
    "draw": Option(int, _RECIPE, "Number of the draw of a random recipe.", _Recipe.draw),
    "energy": Option(
        float | None,
        _RECIPE,
        "Share of the energy that pfa-en keeps, in (0, 1]. (default: 0.95)",
    ),
    "divergence": Option(
        str,
        _RECIPE,
        "How pfa-kl measures a spectrum: kl, chi2, wasserstein.",
        _Recipe.divergence,
    ),
    "gamma_map": Option(
        str,
        _RECIPE,
        "How pfa-kl maps that to filters: linear, sqrt, square.",
        _Recipe.gamma_map,
        ("--map",),
    ),
    "multiple_of": Option(
        int,
        _RECIPE,
        "Round widths up to a multiple of this, as some hardware prefers.",
        _Recipe.multiple_of,
    ),
    "steps": Option(
        int,
        _RECIPE,
        "Iterative PFA: analyse, compress and fine-tune in this many steps.",
        _Recipe.steps,
    ),
    "footprint": Option(
        str | None,
        _BUDGET,
        "Share of the full network's parameters, or pfa-kl for the share of PFA-KL.",
    ),
    "flops": Option(float | None, _BUDGET, "Share of the full network's FLOPs."),
    "params": Option(str | None, _BUDGET, "Number of parameters, as in 2500000, 2.5M, 800k."),
    "latency_ms": Option(
        float | None, _BUDGET, "Milliseconds for one image, measured on this machine."
    ),
    "protocols": Option(
        str,
        _SEEDS,
        f"Which to run, comma-separated: {', '.join(PROTOCOLS)}.",
        ",".join(_Training.protocols),
    ),
    "seeds": Option(int, _SEEDS, "How often each protocol is run.", _Training.seeds),
    "first_seed": Option(int, _SEEDS, "Number of the first seed.", _Training.first_seed),
    "tolerance": Option(
        float,
        _SEEDS,
        "Percentage points that the recommended network may lie below the best.",
        DomainSettings.tolerance,
    ),
    "temperature": Option(
        float,
        _SEEDS,
        "pfa-distill: temperature of the probabilities.",
        _Training.temperature,
    ),
    "distill_weight": Option(
        float,
        _SEEDS,
        "pfa-distill: share of the loss that comes from the full network.",
        _Training.distill_weight,
    ),
    "epochs": Option(int | None, _TRAINING, "Length of a training. (default: the network's own)"),
    "source_epochs": Option(
        int | None, _TRAINING, "Length of the source's training. (default: the network's own)"
    ),
    "schedule": Option(
        str,
        _TRAINING,
        "'paper' (a tenth of the rate late in the training) or 'one-cycle'.",
        _Training.schedule,
    ),
    "lr": Option(float | None, _TRAINING, "Learning rate. (default: the network's own)"),
    "fine_lr": Option(
        float | None, _TRAINING, "Learning rate of the fine protocols. (default: --lr)"
    ),
    "batch_size": Option(
        int | None, _TRAINING, "Images a step, 2 or more. (default: the network's own)"
    ),
    "weight_decay": Option(float | None, _TRAINING, "L2 penalty. (default: the network's own)"),
    "head": Option(
        str,
        _TRAINING,
        "Classifier of the fine protocols: 'slice' the source's rows, draw a 'new' one, or 'auto': "
        "slice where the source has all classes.",
        _Training.head,
    ),
    "device": Option(str, _TRAINING, "auto, cpu or cuda.", _Training.device),
    "precision": Option(
        str,
        _TRAINING,
        "auto (bf16 where the processor has it), fp32 or bf16.",
        _Training.precision,
    ),
    "data_dir": Option(
        Path | None,
        _WHERE,
        "Folder of the data sets. (default: $WORKBENCH_DATA, else the cache folder)",
    ),
    "domains": Option(
        Path | None,
        _WHERE,
        "Folder of domain files, searched before $WORKBENCH_DOMAINS and ./domains.",
    ),
    "tracking_uri": Option(
        str | None,
        _WHERE,
        "MLflow store. (default: $MLFLOW_TRACKING_URI, else mlruns/mlflow.db)",
    ),
    "output": Option(Path | None, _WHERE, "Folder of unfinished work. (default: mlruns/work)"),
    "fresh": Option(
        bool,
        _OUTPUT,
        "Train again what is already recorded.",
        RecordSettings.fresh,
        ("--fresh",),
    ),
    "keep_weights": Option(
        str,
        _OUTPUT,
        "Trained networks to keep: best (one a protocol), all, none.",
        RecordSettings.keep_weights,
    ),
    "config": Option(
        Path | None, _WHERE, "YAML file of options, 'name: value' lines; the command line wins."
    ),
    "like": Option(
        str | None, _WHERE, "Id of a run whose options are taken; the command line wins."
    ),
    "json": Option(
        bool, _OUTPUT, "Print the result as JSON on stdout, all else on stderr.", False, ("--json",)
    ),
}
#: Required options of commands that take them from a file, too.
FROM_FILE = {
    name: replace(SHARED[name], kind=str | None, default=None) for name in ("source", "target")
}
NETWORK = ("source", "target", "model", "weights", "image_size", "strict")
RECIPE = (
    "method", "recipe", "selection", "draw", "energy", "divergence", "gamma_map", "multiple_of",
    "steps",
)  # fmt: skip
BUDGET = ("footprint", "flops", "params", "latency_ms")
TRAINING = (
    "epochs", "source_epochs", "schedule", "lr", "fine_lr", "batch_size", "device", "precision",
)  # fmt: skip
SEEDS = ("seeds", "first_seed")
WHERE = ("data_dir", "domains", "tracking_uri", "output")
#: Options that replace each other: one on the command line drops the others of a file.
_EXCLUSIVE = ("energy", *BUDGET)


def takes(*names: str, **changed: Option) -> Callable[[Command], Command]:
    """Add shared options to a command's own parameters.

    Args:
        names: in ``SHARED``; the values arrive as keywords.
        changed: options of the command's own, or other forms of shared ones, by name.
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


def from_file(
    context: typer.Context, chosen: dict[str, Any], required: Sequence[str]
) -> dict[str, Any]:
    """The options of a command with ``--config`` and ``--like``: the file's, then the typed ones.

    Args:
        context: of the command, whose name says which options a file may have.
        chosen: all values as parsed, those two included.
        required: options that must come from one of the two.

    Raises:
        SettingsError: when the file is wrong or a required option is missing.
    """
    config, like = chosen.pop("config"), chosen.pop("like")
    typed = {
        name: value
        for name, value in chosen.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    command = str(context.info_name)
    options: dict[str, Any] = {}
    if config is not None and like is not None:
        raise SettingsError("--config and --like exclude each other; name one")
    if config is not None or like is not None:
        from workbench.adaptation.option_files import TYPES, read_options, read_run_options

        types = TYPES[command]
        if config is not None:
            options = read_options(config, types, command)
        else:
            options = read_run_options(str(like), chosen["tracking_uri"], types, command)
    if any(name in typed for name in _EXCLUSIVE):
        options = {name: value for name, value in options.items() if name not in _EXCLUSIVE}
    options |= typed
    missing = [name for name in required if name not in options]
    if missing:
        raise SettingsError(
            *(f"Missing option '--{name}'. (see 'workbench {command} --help')" for name in missing)
        )
    return options
