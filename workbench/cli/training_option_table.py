"""Options for regularisation, repair, attacks and gates; ``option_table`` has epochs and rates."""

from __future__ import annotations

from workbench.cli.one_option import Option
from workbench.training.settings import TrainingSettings

_REGULARISATION = "Regularisation and repair"
_GATES = "Trained gates"
_Training = TrainingSettings

TRAINING_OPTIONS: dict[str, Option] = {
    "ema": Option(
        float,
        _REGULARISATION,
        "Evaluate a moving average of the weights with this decay, in [0, 1); try 0.99.",
        _Training.ema,
    ),
    "label_smoothing": Option(
        float,
        _REGULARISATION,
        "Share of each label that is spread over all classes; try 0.1.",
        _Training.label_smoothing,
    ),
    "mixup": Option(
        float,
        _REGULARISATION,
        "Train on mixtures of two images; alpha of the Beta distribution of shares; try 0.2.",
        _Training.mixup,
    ),
    "cutmix": Option(
        float,
        _REGULARISATION,
        "Replace a rectangle of each image by that of another; alpha of the Beta distribution of "
        "areas; try 1.",
        _Training.cutmix,
    ),
    "orthogonality": Option(
        float,
        _REGULARISATION,
        "Weight of a penalty that keeps the singular values of the layers near 1, so that "
        "small changes of images have less effect; try 0.01.",
        _Training.orthogonality,
    ),
    "scale_dropout": Option(
        bool,
        _REGULARISATION,
        "Lower the dropout rates of compressed networks by the share of connections that is left.",
        _Training.scale_dropout,
        ("--scale-dropout/--no-scale-dropout",),
    ),
    "sync_batch_norm": Option(
        bool,
        _REGULARISATION,
        "Under torchrun, batch norms of the protocols use the whole batch, not the part of their "
        "process.",
        _Training.sync_batch_norm,
        ("--sync-batch-norm/--no-sync-batch-norm",),
    ),
    "repair_epochs": Option(
        int,
        _REGULARISATION,
        "Epochs that train the compressed network on the source's images, before the target.",
        _Training.repair_epochs,
    ),
    "gate_epochs": Option(
        int | None,
        _GATES,
        "Epochs of the full network with gates, before the analysis, for the methods vib and gal. "
        "(default: as many as the fine-tuning)",
    ),
    "gate_penalty": Option(
        float | None,
        _GATES,
        "Penalty on open gates; a larger one removes more filters. (default: 0.3 for vib, 1 for "
        "gal)",
    ),
    "attack": Option(
        str,
        _REGULARISATION,
        "Measure the accuracy under attacks (FGSM, PGD) that change pixels by at most these "
        "numbers of grey levels (of 255), comma-separated; try 2,4,8.",
        "",
    ),
}
