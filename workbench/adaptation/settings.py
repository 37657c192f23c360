"""What the user asks for: one frozen group of options for each package that uses it.

``adapt`` and the command line take flat names; ``Settings.of`` sorts them into the groups. Each
group is checked by itself, in its own package; here are the checks that need two groups.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from workbench.compression.recipe_settings import RecipeSettings
from workbench.data.user_paths import user_path
from workbench.errors import did_you_mean
from workbench.store.settings import RecordSettings
from workbench.training.settings import TrainingSettings

_PATHS = ("weights", "data_dir", "domains", "output")


@dataclass(frozen=True, kw_only=True)
class DomainSettings:
    """What is adapted to what.

    Attributes:
        source: name of the data set that the network was trained on, D_A, or a folder of images.
        target: name of the domain, D_Z.
        model: architecture; the source's usual one when None.
        weights: file with a trained source network; the network is trained here when None.
        image_size: pixels high and wide of the images of a folder as ``source``.
        strict: files that are no readable images are an error.
        tolerance: percentage points that the recommended network may lie below the best.
        data_dir, domains: where data sets and domain files are.
    """

    source: str
    target: str
    model: str | None = None
    weights: Path | None = None
    image_size: int | None = None
    strict: bool = False
    tolerance: float = 1.0
    data_dir: Path | None = None
    domains: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All options of an adaptation.

    Attributes:
        what: source network and target domain.
        recipe: how many filters each layer keeps, and which.
        training: the trainings.
        record: what is recorded, and where.
    """

    what: DomainSettings
    recipe: RecipeSettings = field(default_factory=RecipeSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    record: RecordSettings = field(default_factory=RecordSettings)

    @classmethod
    def of(cls, **options: Any) -> Settings:
        """Settings from flat keywords, named as on the command line; paths may be text.

        Raises:
            TypeError: for a keyword that is no option, or without source or target.
            SettingsError: for text that cannot be converted.
        """
        for name in _PATHS:
            if options.get(name) is not None:
                options[name] = user_path(options[name])
        unknown = [name for name in options if name not in OPTIONS]
        if unknown:
            hint = did_you_mean(unknown[0], list(OPTIONS))
            raise TypeError(f"'{unknown[0]}' is no option of an adaptation{hint}")
        groups: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
        for name, value in options.items():
            groups[OPTIONS[name]][name] = value
        return cls(
            what=DomainSettings(**groups["what"]),
            recipe=RecipeSettings.of(**groups["recipe"]),
            training=TrainingSettings.of(**groups["training"]),
            record=RecordSettings(**groups["record"]),
        )

    def flat(self) -> dict[str, Any]:
        """The options by their flat names: what ``of`` takes."""
        return {name: value for group in asdict(self).values() for name, value in group.items()}


GROUPS: dict[str, type] = {
    "what": DomainSettings,
    "recipe": RecipeSettings,
    "training": TrainingSettings,
    "record": RecordSettings,
}
#: The group of each option, by the option's name.
OPTIONS: dict[str, str] = {
    each.name: group for group, kind in GROUPS.items() for each in fields(kind)
}


def check_together(settings: Settings) -> list[str]:
    """One line for each option of one group that contradicts another group's."""
    problems = []
    if not 0 <= settings.what.tolerance <= 100:
        problems.append(f"--tolerance {settings.what.tolerance:g} is not within 0 to 100 points")
    if settings.what.weights is not None and settings.training.source_epochs is not None:
        problems.append("--source-epochs has no effect beside --weights; leave one out")
    return problems
