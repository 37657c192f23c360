"""From settings to a task: every name looked up, every default filled in, every mistake found.

All wrong values are reported together, before any data or training is touched.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.catalog import SOURCES, Source
from workbench.compression.budgets import Budget
from workbench.compression.methods.pfa_en import DEFAULT_ENERGY
from workbench.compression.options import RecipeOptions
from workbench.data.folder_images import find_source
from workbench.domains import Domain, find_domain
from workbench.errors import DomainError, SettingsError
from workbench.method_names import METHODS
from workbench.models.networks import check_image_size, find_network
from workbench.recipe_checks import check_choice, find_budget
from workbench.setting_checks import (
    check_model,
    check_numbers,
    check_settings,
    check_weights,
)
from workbench.settings import DEVICES, PRECISIONS, SCHEDULES, Settings
from workbench.sources import check_sizes, check_source, choose_head, fit_source
from workbench.training import Plan
from workbench.weights import has_card, read_card


@dataclass(frozen=True)
class Task:
    """Settings with every name looked up and every default filled in.

    Attributes:
        energy: threshold of PFA-En; None for other methods, and where a budget takes its place.
        budget: what the network may cost.
        plan: training of the protocols that start from random weights.
        fine_plan: training of those that start from inherited ones.
        source_plan: training of the source network.
        source: the data set that the network was trained on, with the size of the target's images.
        trained_on: the same with the size of its own images.
    """

    settings: Settings
    source: Source
    domain: Domain
    model: str
    energy: float | None
    budget: Budget | None
    plan: Plan
    fine_plan: Plan
    source_plan: Plan
    trained_on: Source

    @property
    def known_sets(self) -> list[str]:
        """The data sets of ``catalog.SOURCES`` that are read."""
        names = [] if self.domain.folder else [self.domain.source]
        if self.settings.weights is None and self.trained_on.folder is None:
            names.append(self.trained_on.name)
        return sorted(set(names))

    @property
    def title(self) -> str:
        """Domain, network and method, for people."""
        return f"{self.domain.name} · {self.model} · {self.settings.method}"

    def params(self) -> dict[str, object]:
        """What people filter runs by."""
        params: dict[str, object] = {
            "domain": self.domain.name,
            "source": self.source.name,
            "model": self.model,
            "method": self.settings.method,
            "protocol": "all",
        }
        params |= self.settings.chosen_recipe()
        return params if self.energy is None else {**params, "energy": self.energy}

    def recipe_options(self) -> RecipeOptions:
        """What shapes the recipe, but for a budget."""
        settings = self.settings
        recipe, selection = METHODS[settings.method]
        return RecipeOptions(
            recipe=recipe,
            selection=settings.selection or selection,
            threshold=self.energy,
            divergence=settings.divergence,
            gamma_map=settings.gamma_map,
            multiple_of=settings.multiple_of,
            draw=settings.draw,
        )


@dataclass(frozen=True)
class SourceTask:
    """The training of a source network: data set, architecture, plan, seed, where it starts."""

    source: Source
    model: str
    plan: Plan
    seed: int = 0
    strict: bool = False
    weights: Path | None = None


def resolve(settings: Settings) -> Task:
    """Check all settings together and look everything up.

    Raises:
        SettingsError: with one line for each wrong value, those of the domain file included.
        NetworkError: when the images are too small for the network.
    """
    problems = check_settings(settings)
    domain = None
    if settings.target != settings.source:
        try:
            domain = find_domain(settings.target, settings.domains)
        except DomainError as error:
            problems += error.problems
    if problems:
        raise SettingsError(*problems)
    trained_on = _trained_on(settings)
    domain = domain or whole_domain(trained_on)
    source = fit_source(trained_on, domain)
    settings = replace(settings, head=choose_head(settings.head, source, domain))
    model = settings.model or source.model
    for size in (trained_on.shape, source.shape):
        check_image_size(model, size)
    check_sizes(model, trained_on, source, domain)
    if settings.head == "new" and "source" in settings.protocols:
        raise SettingsError(
            "--protocols source: the classifier would be new and know nothing; leave it out"
        )
    plan = _target_plan(settings, model, source, settings.lr)
    fine_plan = _target_plan(settings, model, source, settings.fine_lr or settings.lr)
    source_plan = training_plan(model, source, settings.schedule, epochs=settings.source_epochs)
    if settings.reads_scales:
        source_plan = replace(source_plan, sparsity=find_network(model).schedule.sparsity)
    if settings.steps > fine_plan.epochs:
        raise SettingsError(
            f"--steps {settings.steps}: the {fine_plan.epochs} epoch(s) cannot be divided into so "
            "many parts; take fewer steps or more --epochs"
        )
    budget = find_budget(settings)
    if budget and isinstance(budget.limit, str):
        settings = replace(settings, footprint=budget.limit)
    energy = None
    if settings.method == "pfa-en" and budget is None:
        energy = settings.energy or DEFAULT_ENERGY
    return Task(
        settings, source, domain, model, energy, budget, plan, fine_plan, source_plan, trained_on
    )


def _target_plan(settings: Settings, model: str, source: Source, lr: float | None) -> Plan:
    return training_plan(
        model,
        source,
        settings.schedule,
        epochs=settings.epochs,
        lr=lr,
        batch_size=settings.batch_size,
        weight_decay=settings.weight_decay,
    )


def whole_domain(source: Source) -> Domain:
    """All classes of the source: to compress a network for what it was trained on."""
    size = source.shape[1] if source.folder else None
    return Domain(source.name, source.name, source.classes, folder=source.folder, image_size=size)


def _trained_on(settings: Settings) -> Source:
    """The source; of a folder, size and normalisation are those of the weights where they say."""
    path = settings.weights
    card = read_card(path) if path and path.is_file() and has_card(path) else None
    if card is None or settings.source in SOURCES:
        return find_source(settings.source, settings.image_size)
    if settings.image_size not in (None, card.shape[1]):
        raise SettingsError(
            f"--image-size {settings.image_size}: the network of {path} was trained on "
            f"{card.shape[1]}x{card.shape[2]} images; leave it out"
        )
    return find_source(settings.source, card.shape[1], card)


def resolve_source(
    source: str,
    *,
    model: str | None = None,
    epochs: int | None = None,
    schedule: str = Settings.schedule,
    lr: float | None = None,
    batch_size: int | None = None,
    weight_decay: float | None = None,
    seed: int = 0,
    device: str = Settings.device,
    precision: str = Settings.precision,
    image_size: int | None = None,
    strict: bool = False,
    sparsity: float = 0.0,
    weights: Path | None = None,
) -> SourceTask:
    """Check what ``workbench train`` was asked for; None stands for the network's own value.

    Args:
        sparsity: weight of the penalty of network slimming, 0 or more.
        weights: file of a network that the training goes on from.

    Raises:
        SettingsError: with one line for each wrong value.
        NetworkError: when the images are too small for the network.
    """
    problems = [
        *check_source(source, image_size),
        *check_model(model),
        *check_choice("--schedule", schedule, SCHEDULES),
        *check_choice("--device", device, DEVICES),
        *check_choice("--precision", precision, PRECISIONS),
        *check_numbers(epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay),
    ]
    if seed < 0:
        problems.append(f"--seed {seed} is negative; use 0 or more")
    if not 0 <= sparsity < 1:
        problems.append(
            f"--sparsity {sparsity:g} is not within [0, 1); try 1e-4, for a residual network 1e-5"
        )
    problems += check_weights(weights)
    if problems:
        raise SettingsError(*problems)
    found = find_source(source, image_size)
    model = model or found.model
    check_image_size(model, found.shape)
    plan = training_plan(
        model,
        found,
        schedule,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        weight_decay=weight_decay,
    )
    plan = replace(plan, sparsity=sparsity)
    return SourceTask(found, model, plan, seed, strict, weights)


def check_new_file(path: Path, option: str, suffix: str = ".safetensors") -> Path:
    """``path``, if a file can be made there.

    Raises:
        SettingsError: when the name is of another kind, taken, or in a missing folder.
    """
    if path.suffix != suffix:
        raise SettingsError(f"{option} {path}: the name must end in {suffix}")
    try:
        taken = path.exists()
    except OSError as error:  # a name that is too long
        raise SettingsError(f"{option} {path}: {error.strerror}; name another file") from None
    if taken:
        raise SettingsError(f"{option} {path}: is there already; remove it or name another")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise SettingsError(
            f"{option} {path}: {path.parent} is no folder that can be written; make it first"
        )
    return path


def training_plan(
    model: str,
    source: Source,
    schedule: str,
    *,
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    weight_decay: float | None = None,
) -> Plan:
    """The network's own schedule with some values replaced.

    The learning rate decays at the same share of a longer or shorter training.
    """
    own = find_network(model).schedule
    length = epochs or own.epochs
    decay = own.weight_decay_of.get(source.name, own.weight_decay)
    return Plan(
        epochs=length,
        schedule=schedule,
        decay_epoch=max(1, round(length * own.decay_epoch / own.epochs)),
        learning_rate=own.learning_rate if lr is None else lr,
        batch_size=batch_size or own.batch_size,
        weight_decay=decay if weight_decay is None else weight_decay,
        augment=own.augment,
    )
