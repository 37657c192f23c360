"""The user's options: one frozen group for each package that uses them.

``adapt`` and the command line take flat names; ``Settings.of`` sorts them into the groups. Each
package checks its own group. This module has the checks that need two groups.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from workbench.compression.method_names import GATES
from workbench.compression.recipes.recipe_settings import ONNX, ONNX_INT8, RecipeSettings
from workbench.data.catalog import IMAGENET
from workbench.data.user_paths import user_path
from workbench.deployment.optional_libraries import missing_library
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_names import INT8, STAGES
from workbench.errors import SettingsError, check_choice, did_you_mean
from workbench.reporting.verdict_rules import check_tolerance
from workbench.store.settings import RecordSettings
from workbench.training.distillation_options import ALL_CLASSES
from workbench.training.settings import TrainingSettings

PREFERENCES = ("speed", "size", "accuracy")
_PATHS = ("weights", "data_dir", "domains", "output", "recipe_file")


@dataclass(frozen=True, kw_only=True)
class DomainSettings:
    """The source network and the target domain.

    Attributes:
        source: name of the data set that the network was trained on, D_A, or a folder of images.
        target: name of the domain, D_Z.
        model: architecture; None means the source's default.
        weights: weight file of the trained source network; None means that it is trained first.
        image_size: height and width in pixels of the images, if ``source`` is a folder.
        strict: whether files that are not readable images are errors.
        tolerance: percentage points of accuracy that the recommended network may lie below the
            best one, 0 to 100.
        prefer: which network within the tolerance is recommended: the fastest ("speed"), the
            smallest ("size") or the most accurate ("accuracy"; the tolerance has no effect).
        validation: share of each class's training images on which networks are compared instead of
            the test images, and on which they are not trained, in (0, 1); None compares on the
            test images.
        data_dir, domains: folders of the data sets and of the domain files.
    """

    source: str
    target: str
    model: str | None = None
    weights: Path | None = None
    image_size: int | None = None
    strict: bool = False
    tolerance: float = 1.0
    prefer: str = "speed"
    validation: float | None = None
    data_dir: Path | None = None
    domains: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All options of an adaptation.

    Attributes:
        what: source network and target domain.
        recipe: how many filters each layer keeps, and which.
        training: how networks are trained.
        deployment: what is made from the trained networks.
        record: what is recorded, and where.
    """

    what: DomainSettings
    recipe: RecipeSettings = field(default_factory=RecipeSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    deployment: DeploymentSettings = field(default_factory=DeploymentSettings)
    record: RecordSettings = field(default_factory=RecordSettings)

    @classmethod
    def of(cls, **options: Any) -> Settings:
        """Settings from flat keywords, named as on the command line; paths may be text.

        Raises:
            TypeError: for a keyword that is not an option, or if source or target is missing.
            SettingsError: for text that cannot be converted.
        """
        for name in _PATHS:
            if options.get(name) is not None:
                options[name] = user_path(options[name])
        unknown = [name for name in options if name not in OPTIONS]
        if unknown:
            hint = did_you_mean(unknown[0], list(OPTIONS))
            raise TypeError(f"'{unknown[0]}' is not an option of an adaptation{hint}")
        texts = [name for name in options if name in _NUMBERS and isinstance(options[name], str)]
        if texts:
            raise SettingsError(
                *(f"{name}: '{options[name]}' is text; give a number" for name in texts)
            )
        groups: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
        for name, value in options.items():
            groups[OPTIONS[name]][name] = value
        return cls(
            what=DomainSettings(**groups["what"]),
            recipe=RecipeSettings.of(**groups["recipe"]),
            training=TrainingSettings.of(**groups["training"]),
            deployment=DeploymentSettings.of(**groups["deployment"]),
            record=RecordSettings(**groups["record"]),
        )

    def flat(self) -> dict[str, Any]:
        """The options by their flat names, as ``of`` takes them."""
        return {name: value for group in asdict(self).values() for name, value in group.items()}


GROUPS: dict[str, type] = {
    "what": DomainSettings,
    "recipe": RecipeSettings,
    "training": TrainingSettings,
    "deployment": DeploymentSettings,
    "record": RecordSettings,
}
#: The group of each option, by the option's name.
OPTIONS: dict[str, str] = {
    each.name: group for group, kind in GROUPS.items() for each in fields(kind)
}
#: Options that are numbers and cannot be given as text.
_NUMBERS = {
    each.name
    for kind in GROUPS.values()
    for each in fields(kind)
    if {*str(each.type).split(" | ")} <= {"int", "float", "None"}
}


def check_together(settings: Settings) -> list[str]:
    """One line for a wrong tolerance and for each contradiction between two groups."""
    problems = [*check_tolerance(settings.what.tolerance), *_check_stages(settings)]
    problems += check_choice("--prefer", settings.what.prefer, PREFERENCES)
    share = settings.what.validation
    if share is not None and not 0 < share < 1:
        problems.append(f"--validation {share:g} is not within (0, 1); try 0.2")
    if settings.training.repair_epochs and settings.recipe.steps > 1:
        problems.append(
            "--repair-epochs with --steps: the steps train the network on the target; leave one out"
        )
    if settings.training.scale_dropout and settings.recipe.factorises:
        problems.append(
            f"--scale-dropout: --method {settings.recipe.method} keeps all filters; leave it out"
        )
    if settings.training.repair_epochs and settings.what.source == IMAGENET:
        problems.append(
            f"--repair-epochs {settings.training.repair_epochs}: the workbench has no {IMAGENET} "
            "images; leave it out, or use the folder of your copy as --source"
        )
    problems += _check_gates(settings)
    if settings.training.attack and settings.record.keep_weights == "none":
        problems.append(
            "--attack with --keep-weights none: there would be no network to attack; leave one out"
        )
    if settings.what.weights is not None and settings.training.source_epochs is not None:
        problems.append("--source-epochs has no effect with --weights; leave one out")
    return problems


def _check_gates(settings: Settings) -> list[str]:
    """Lines for options that cannot be combined with a training of gates, or need one."""
    name, training = settings.recipe.gates, settings.training
    if not name:
        return [
            f"--{option.replace('_', '-')} has no effect without a method that trains gates "
            f"({' or '.join(GATES)}); leave it out"
            for option in training.gate_options
        ]
    taught = training.distils and training.teacher in ALL_CLASSES
    others = {
        f"--steps {settings.recipe.steps}": settings.recipe.steps > 1,
        "--compensate": settings.recipe.compensate,
        "--repair-epochs": training.repair_epochs > 0,
        f"--teacher {training.teacher}": taught,
    }
    return [
        f"{option} with {name}: the network with trained gates has only the target's classes; "
        "leave one out"
        if option.startswith("--teacher")
        else f"{option} with {name}: pfa-fine starts from the network with trained gates instead; "
        "leave one out"
        for option, is_used in others.items()
        if is_used
    ]


def _check_stages(settings: Settings) -> list[str]:
    """Lines for stages without weights, and for stage options and runtimes without effect."""
    deployment, runtime = settings.deployment, settings.recipe.runtime
    problems = []
    if deployment.stages and settings.record.keep_weights == "none":
        problems.append(
            "--stages with --keep-weights none: nothing would be left to deploy; leave one out"
        )
    used = {
        name for stage in deployment.stages if stage in STAGES for name in STAGES[stage].options
    }
    if runtime == ONNX_INT8:
        used.add("int8_for")
        if not deployment.runs_here:
            problems.append(
                f"--runtime {runtime} with --int8-for {deployment.int8_for}: such files cannot be "
                "timed on this kind of processor; leave one out"
            )
    if runtime in (ONNX, ONNX_INT8):
        problems += missing_library(STAGES[INT8].libraries, "onnx", f"--runtime {runtime}")
    return problems + deployment.unused(used)
