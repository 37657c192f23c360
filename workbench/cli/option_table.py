"""The options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path

from workbench.adaptation.settings import DomainSettings
from workbench.cli.distillation_option_table import DISTILLATION_OPTIONS
from workbench.cli.engine_option_table import ENGINE
from workbench.cli.exit_option_table import EXIT_OPTIONS
from workbench.cli.layer_option_table import LAYERS
from workbench.cli.one_option import REQUIRED, Option
from workbench.cli.stage_option_table import STAGE_TRAININGS
from workbench.cli.stage_option_table import STAGES_PANEL as _STAGES
from workbench.cli.training_option_table import TRAINING_OPTIONS
from workbench.compression.method_names import BUDGETED, ENERGIES, METHODS, RECIPES, SELECTIONS
from workbench.compression.recipes.recipe_settings import (
    DEFAULT_ENERGY,
    RUNTIMES,
    RecipeSettings,
)
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_names import STAGES
from workbench.store.settings import RecordSettings
from workbench.training.protocols import PROTOCOLS
from workbench.training.settings import TrainingSettings

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
        "Architecture: simplecnn, vgg16, resnet56, resnet34, vgg16-convolutional, "
        "torchvision:NAME, timm:NAME, or your own function as package.module:function. "
        "(default: depends on the source)",
    ),
    "weights": Option(
        Path | None,
        _NETWORK,
        "Weight file of the trained source network (.safetensors or .pt), or DEFAULT for the "
        "weights that torchvision provides. (default: train the source network first)",
    ),
    "image_size": Option(
        int | None,
        _NETWORK,
        "Height and width in pixels of the images of a source folder. (default: 224, or less if "
        "the images are small)",
    ),
    "strict": Option(
        bool,
        _NETWORK,
        "Fail if a folder contains files that are not readable images, instead of skipping them.",
        DomainSettings.strict,
        ("--strict/--no-strict",),
    ),
    "method": Option(
        str | None,
        _RECIPE,
        f"Compression method, which decides how many filters each layer keeps and which ones: "
        f"{', '.join(METHODS)}. (default: {_Recipe.method}; with a budget "
        f"{BUDGETED.recipe}, with --selection {BUDGETED.selection})",
        None,
    ),
    "recipe": Option(
        str | None,
        _RECIPE,
        f"Decide how many filters to keep by another method: {', '.join(RECIPES)}.",
    ),
    "selection": Option(
        str | None,
        _RECIPE,
        f"Decide which filters to keep by another method: {', '.join(SELECTIONS)}.",
    ),
    "draw": Option(int, _RECIPE, "Seed of a random recipe or selection.", _Recipe.draw),
    "energy": Option(
        float | None,
        _RECIPE,
        f"Share of the energy that {', '.join(ENERGIES)} keep, in (0, 1]. "
        f"(default without a budget: {DEFAULT_ENERGY:g})",
    ),
    "divergence": Option(
        str,
        _RECIPE,
        "pfa-kl: divergence of the spectrum from a uniform one: kl, chi2, wasserstein.",
        _Recipe.divergence,
    ),
    "gamma_map": Option(
        str,
        _RECIPE,
        "pfa-kl: map from the divergence to the number of filters: linear, sqrt, square.",
        _Recipe.gamma_map,
        ("--map",),
    ),
    "multiple_of": Option(
        int,
        _RECIPE,
        "Round the filters of each layer up to a multiple of this number, which can be faster on "
        "some hardware.",
        _Recipe.multiple_of,
    ),
    "steps": Option(
        int,
        _RECIPE,
        "Iterative PFA: analyse, compress and fine-tune in this many steps.",
        _Recipe.steps,
    ),
    "cost": Option(
        str | None,
        _RECIPE,
        "pfa-cost: the cost of a filter that is compared with its energy: flops or params. "
        "(default: what the budget limits)",
    ),
    **LAYERS,
    **DISTILLATION_OPTIONS,
    "footprint": Option(
        str | None,
        _BUDGET,
        "Largest share of the full network's parameters, in (0, 1], or pfa-kl for the share that "
        "PFA-KL keeps.",
    ),
    "flops": Option(float | None, _BUDGET, "Largest share of the full network's FLOPs, in (0, 1]."),
    "params": Option(
        str | None, _BUDGET, "Largest number of parameters, such as 2500000, 2.5M or 800k."
    ),
    "latency_ms": Option(
        float | None, _BUDGET, "Longest time for one image in ms, measured on this machine."
    ),
    "runtime": Option(
        str,
        _BUDGET,
        f"Runtime in which --latency-ms is measured: {', '.join(RUNTIMES)}.",
        _Recipe.runtime,
    ),
    "protocols": Option(
        str,
        _SEEDS,
        f"Protocols to run, comma-separated: {', '.join(PROTOCOLS)}.",
        ",".join(_Training.protocols),
    ),
    "seeds": Option(
        int, _SEEDS, "Number of runs of each protocol, each with its own seed.", _Training.seeds
    ),
    "first_seed": Option(int, _SEEDS, "First seed; the others follow it.", _Training.first_seed),
    "tolerance": Option(
        float,
        _SEEDS,
        "Percentage points of accuracy that the recommended network may be below the best one.",
        DomainSettings.tolerance,
    ),
    "validation": Option(
        float | None,
        _SEEDS,
        "Compare networks on this share of each class's training images instead of the test "
        "images, and train on the rest. Use it to choose between options; try 0.2.",
    ),
    "prefer": Option(
        str,
        _SEEDS,
        "Which network within the tolerance to recommend: the one with the best speed, size or "
        "accuracy.",
        DomainSettings.prefer,
    ),
    "stages": Option(
        str,
        _STAGES,
        "Stages to apply to every trained network, comma-separated: "
        + "; ".join(f"{stage.name} ({stage.summary})" for stage in STAGES.values())
        + ".",
        "",
    ),
    "int8_for": Option(
        str,
        _STAGES,
        "Processor of the int8 files: x86 (unsigned activations) or arm (signed, symmetric).",
        DeploymentSettings.int8_for,
    ),
    "calibration_images": Option(
        int,
        _STAGES,
        "Training images on which the ranges of activations are measured.",
        DeploymentSettings.calibration_images,
    ),
    "mixed_size": Option(
        float,
        _STAGES,
        "mixed: largest size of the file, as a share of the float32 weights.",
        DeploymentSettings.mixed_size,
    ),
    "qat_epochs": Option(
        int,
        _STAGES,
        "int8-qat: epochs of quantisation-aware fine-tuning.",
        DeploymentSettings.qat_epochs,
    ),
    **STAGE_TRAININGS,
    **EXIT_OPTIONS,
    "epochs": Option(
        int | None, _TRAINING, "Epochs of each training. (default: depends on the network)"
    ),
    "source_epochs": Option(
        int | None,
        _TRAINING,
        "Epochs of the source network's training. (default: depends on the network)",
    ),
    "schedule": Option(
        str,
        _TRAINING,
        "Learning-rate schedule: 'paper' (divides the rate by 10 late in the training) or "
        "'one-cycle'.",
        _Training.schedule,
    ),
    "lr": Option(float | None, _TRAINING, "Learning rate. (default: depends on the network)"),
    "fine_lr": Option(
        float | None, _TRAINING, "Learning rate of the fine-tuning protocols. (default: --lr)"
    ),
    "batch_size": Option(
        int | None, _TRAINING, "Images per step, at least 2. (default: depends on the network)"
    ),
    "weight_decay": Option(
        float | None, _TRAINING, "L2 penalty, in [0, 1). (default: depends on the network)"
    ),
    **TRAINING_OPTIONS,
    "head": Option(
        str,
        _TRAINING,
        "Classifier of the fine-tuning protocols: 'slice' (the source's rows), 'new' (random) or "
        "'auto' ('slice' if the source has all classes).",
        _Training.head,
    ),
    "device": Option(str, _TRAINING, "Processor: auto, cpu or cuda.", _Training.device),
    "precision": Option(
        str,
        _TRAINING,
        "Number format: auto (bf16 if the processor supports it), fp32 or bf16.",
        _Training.precision,
    ),
    "data_dir": Option(
        Path | None,
        _WHERE,
        "Folder of the data sets. (default: $WORKBENCH_DATA, else the user's cache folder)",
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
    "output": Option(Path | None, _WHERE, "Folder for unfinished work. (default: mlruns/work)"),
    "fresh": Option(
        bool,
        _OUTPUT,
        "Repeat analyses and trainings that are already recorded.",
        RecordSettings.fresh,
        ("--fresh/--no-fresh",),
    ),
    "keep_weights": Option(
        str,
        _OUTPUT,
        "Trained networks to keep: best (one per protocol), all or none.",
        RecordSettings.keep_weights,
    ),
    **ENGINE,
    "config": Option(
        Path | None,
        _WHERE,
        "YAML file with options as 'name: value' lines; options on the command line override it.",
    ),
    "like": Option(
        str | None,
        _WHERE,
        "Id of a run whose options to reuse; options on the command line override them.",
    ),
    "quiet": Option(
        bool,
        _OUTPUT,
        "Print no progress: only the result, warnings and errors.",
        False,
        ("--quiet", "-q"),
    ),
    "json": Option(
        bool,
        _OUTPUT,
        "Print the result as JSON on stdout and messages on stderr.",
        False,
        ("--json",),
    ),
}
