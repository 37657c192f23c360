"""Options that several commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.method_names import METHODS, RECIPES, SELECTIONS
from workbench.protocols import PROTOCOLS

_WHAT, _HOW, _WHERE = "What", "How it is trained", "Where"


def _option(help_: str, panel: str, *names: str) -> Any:
    return typer.Option(*names, help=help_, rich_help_panel=panel)


Source = Annotated[
    str,
    _option(
        "Data set that the network was trained on: digits, cifar10, cifar100, or a folder of "
        "images with a subfolder for each class.",
        _WHAT,
    ),
]
Target = Annotated[str, _option("Domain to specialise for; 'workbench domains' lists them.", _WHAT)]
Model = Annotated[
    str | None,
    _option(
        "simplecnn, vgg16, resnet56, resnet34, vgg16-convolutional, torchvision:NAME, timm:NAME, "
        "or package.module:function of your own. (default: the source's usual one)",
        _WHAT,
    ),
]
Method = Annotated[
    str,
    _option(f"How many filters to keep, and which: {', '.join(METHODS)}.", _WHAT),
]
Recipe = Annotated[
    str | None,
    _option(f"How many filters, by another method: {', '.join(RECIPES)}.", _WHAT),
]
Selection = Annotated[
    str | None,
    _option(f"Which filters, by another method: {', '.join(SELECTIONS)}.", _WHAT),
]
Draw = Annotated[int, _option("Number of the draw, of what is random in a recipe.", _WHAT)]
Energy = Annotated[
    float | None,
    _option("Share of the energy that pfa-en keeps, in (0, 1]. (default: 0.95)", _WHAT),
]
Footprint = Annotated[
    str | None,
    _option("Budget: share of the full network's parameters, or pfa-kl for that of PFA-KL.", _WHAT),
]
Flops = Annotated[float | None, _option("Budget: share of the full network's FLOPs.", _WHAT)]
Params = Annotated[str | None, _option("Budget: parameters, as in 2500000, 2.5M, 800k.", _WHAT)]
LatencyMs = Annotated[
    float | None, _option("Budget: milliseconds an image, measured on this machine.", _WHAT)
]
Divergence = Annotated[
    str, _option("How pfa-kl measures a spectrum: kl, chi2, wasserstein.", _WHAT)
]
GammaMap = Annotated[
    str,
    _option("How pfa-kl maps that to filters: linear, sqrt, square.", _WHAT, "--map"),
]
MultipleOf = Annotated[
    int, _option("Round widths up to a multiple of this, where hardware likes it.", _WHAT)
]
Steps = Annotated[
    int, _option("Iterative PFA: analyse, compress and fine-tune in so many steps.", _WHAT)
]
Protocols = Annotated[
    str,
    _option(f"Which to run, comma-separated: {', '.join(PROTOCOLS)}.", _WHAT),
]
Head = Annotated[
    str,
    _option(
        "Classifier of the fine protocols: 'slice' the source's rows, draw a 'new' one, or 'auto': "
        "slice where the source has all classes.",
        _WHAT,
    ),
]
Weights = Annotated[
    Path | None,
    _option(
        "Trained source network (.safetensors or .pt), or DEFAULT for torchvision's own; "
        "trained here if missing.",
        _WHAT,
    ),
]
Tolerance = Annotated[
    float, _option("Points that the recommended network may lie below the best.", _WHAT)
]
Seeds = Annotated[int, _option("How often each protocol is run.", _HOW)]
FirstSeed = Annotated[int, _option("Number of the first seed.", _HOW)]
Temperature = Annotated[float, _option("Of pfa-distill: how soft the probabilities are.", _HOW)]
DistillWeight = Annotated[
    float, _option("Of pfa-distill: share of the loss that follows the full network.", _HOW)
]
Seed = Annotated[int, _option("Draws weights, order, crops and dropout.", _HOW)]
Epochs = Annotated[int | None, _option("Length of a training. (default: the network's own)", _HOW)]
SourceEpochs = Annotated[
    int | None, _option("Length of the source's training. (default: the network's own)", _HOW)
]
Schedule = Annotated[
    str, _option("'paper' (a tenth of the rate late in the training) or 'one-cycle'.", _HOW)
]
LearningRate = Annotated[float | None, _option("Learning rate. (default: the network's own)", _HOW)]
FineLearningRate = Annotated[
    float | None, _option("Learning rate of the fine protocols. (default: --lr)", _HOW)
]
BatchSize = Annotated[
    int | None, _option("Images a step, 2 or more. (default: the network's own)", _HOW)
]
WeightDecay = Annotated[float | None, _option("L2 penalty. (default: the network's own)", _HOW)]
Device = Annotated[str, _option("auto, cpu or cuda.", _HOW)]
Precision = Annotated[str, _option("auto (bf16 where the processor has it), fp32 or bf16.", _HOW)]
Fresh = Annotated[bool, _option("Train again what is already recorded.", _HOW, "--fresh")]
ImageSize = Annotated[
    int | None,
    _option("Pixels of a folder's images. (default: 224, or their own where small)", _WHAT),
]
Strict = Annotated[
    bool,
    _option("Files of a folder that are no readable images are an error.", _WHERE, "--strict"),
]
DataDir = Annotated[
    Path | None,
    _option("Folder of the data sets. (default: $WORKBENCH_DATA, else the cache folder)", _WHERE),
]
Domains = Annotated[
    Path | None,
    _option("Folder of domain files, before $WORKBENCH_DOMAINS and ./domains.", _WHERE),
]
TrackingUri = Annotated[
    str | None,
    _option("MLflow store. (default: $MLFLOW_TRACKING_URI, else mlruns/mlflow.db)", _WHERE),
]
Output = Annotated[
    Path | None, _option("Folder of unfinished work. (default: mlruns/work)", _WHERE)
]
KeepWeights = Annotated[
    str, _option("Trained networks to keep: best (one a protocol), all, none.", _WHERE)
]
Json = Annotated[
    bool, _option("Print the result as JSON on stdout, all else on stderr.", _WHERE, "--json")
]
DryRun = Annotated[
    bool, _option("Print what would be done and what is done already.", _WHERE, "--dry-run")
]
