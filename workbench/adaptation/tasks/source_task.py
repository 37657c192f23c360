"""The options of ``workbench train``, as the user gives them and with all names looked up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from workbench.adaptation.tasks.source_and_target import check_source
from workbench.data.catalog import Source
from workbench.data.folder_images import find_source
from workbench.errors import SettingsError
from workbench.models.networks import check_image_size, check_model
from workbench.models.weight_files import check_weights
from workbench.training.plans import Plan, training_plan
from workbench.training.processes import share
from workbench.training.settings import (
    TrainingSettings,
    check_names,
    check_numbers,
    check_orthogonality,
    check_regularisers,
    check_seed,
    check_sync,
)


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """The options of ``workbench train``; None means the network's default.

    Attributes:
        source: name of a data set, or a folder of images.
        model: architecture; None means the source's default.
        weights: weight file that the training starts from; None means random weights.
        image_size, strict: as in ``settings.DomainSettings``.
        epochs, schedule, lr, batch_size, weight_decay: settings of the training.
        seed: seed of the weights, order, crops and dropout.
        sparsity: weight of network slimming's penalty, in [0, 1).
        ema, label_smoothing, mixup, cutmix, orthogonality: as in ``training.plans.Plan``.
        reflect_crops: as ``reflect`` there.
        sync_batch_norm: whether batch norms use the batches of all processes of torchrun.
        device, precision: processor and number format.
    """

    source: str
    model: str | None = None
    weights: Path | None = None
    image_size: int | None = None
    strict: bool = False
    epochs: int | None = None
    schedule: str = TrainingSettings.schedule
    lr: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    seed: int = 0
    sparsity: float = 0.0
    ema: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    orthogonality: float = 0.0
    reflect_crops: bool = False
    sync_batch_norm: bool = True
    device: str = TrainingSettings.device
    precision: str = TrainingSettings.precision

    def problems(self) -> list[str]:
        """One line for each wrong value."""
        problems = [
            *check_source(self.source, self.image_size),
            *check_model(self.model),
            *check_names(self.schedule, self.device, self.precision),
            *check_numbers(
                epochs=self.epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                weight_decay=self.weight_decay,
            ),
            *check_seed("--seed", self.seed),
        ]
        if not 0 <= self.sparsity < 1:
            problems.append(
                f"--sparsity {self.sparsity:g} is not within [0, 1); try 1e-4, or 1e-5 for a "
                "residual network"
            )
        problems += check_sync(self.sync_batch_norm)
        problems += check_regularisers(self.ema, self.label_smoothing, self.mixup, self.cutmix)
        problems += check_orthogonality(self.orthogonality)
        return [*problems, *check_weights(self.weights)]


@dataclass(frozen=True)
class SourceTask:
    """The training of a source network.

    Attributes:
        asked: the options; seed, start weights and strictness are taken from there.
    """

    asked: SourceSettings
    source: Source
    model: str
    plan: Plan


def resolve_source(settings: SourceSettings) -> SourceTask:
    """Check the options and look up all names.

    Raises:
        SettingsError: with one line for each wrong value.
        NetworkError: when the images are too small for the network.
    """
    problems = settings.problems()
    if problems:
        raise SettingsError(*problems)
    source = find_source(settings.source, settings.image_size)
    model = settings.model or source.model
    check_image_size(model, source.shape)
    plan = training_plan(
        model,
        source,
        settings.schedule,
        epochs=settings.epochs,
        lr=settings.lr,
        batch_size=settings.batch_size,
        weight_decay=settings.weight_decay,
    )
    plan = replace(
        plan,
        sparsity=settings.sparsity,
        ema=settings.ema,
        label_smoothing=settings.label_smoothing,
        mixup=settings.mixup,
        cutmix=settings.cutmix,
        orthogonality=settings.orthogonality,
        reflect=settings.reflect_crops,
        norm_parts=0 if settings.sync_batch_norm else share().count,
    )
    return SourceTask(settings, source, model, plan)
