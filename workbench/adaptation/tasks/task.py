"""From settings to a task: look up all names, fill in all defaults, and check all values.

All wrong values are reported together, before data are loaded or networks trained.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from workbench.adaptation.settings import Settings, check_together
from workbench.adaptation.stage_options import check_repeatable
from workbench.adaptation.tasks.source_and_target import (
    check_sizes,
    check_source,
    choose_head,
    fit_source,
)
from workbench.compression.costs.budget_limits import Budget
from workbench.compression.method_names import FILE, METHODS, Method
from workbench.compression.recipes.recipe_files import RecipeFile, read_recipe_file
from workbench.compression.recipes.recipe_option_checks import recipe_problems
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.data.catalog import SOURCES, Source
from workbench.data.folder_images import find_source
from workbench.domains.domain import Domain
from workbench.domains.search import find_domain
from workbench.errors import DomainError, SettingsError, counted
from workbench.models.networks import check_image_size, check_model, find_network
from workbench.models.weight_files import check_weights, has_card, read_card
from workbench.training.distillation_options import check_teacher
from workbench.training.plans import Plan, training_plan
from workbench.training.protocols import COMPRESSED_UNTRAINED, PROTOCOLS, UNTRAINED


@dataclass(frozen=True)
class Task:
    """Settings with all names looked up and all defaults filled in.

    Attributes:
        settings: with "auto" and the default of a budget resolved.
        asked: as the user gave them.
        source: the data set that the network was trained on, with the size of the target's images.
        plan: training of the protocols that start from random weights.
        fine_plan: training of the protocols that start from inherited weights.
        source_plan: training of the source network.
        trained_on: the same data set as ``source``, with the size of its own images.
        recipe_file: content of ``--recipe-file``; None without it.
    """

    settings: Settings
    asked: Settings
    source: Source
    domain: Domain
    model: str
    plan: Plan
    fine_plan: Plan
    source_plan: Plan
    trained_on: Source
    recipe_file: RecipeFile | None = None

    @property
    def energy(self) -> float | None:
        """Threshold of PFA-En; None for other methods, and with a budget."""
        return self.settings.recipe.threshold

    @property
    def budget(self) -> Budget | None:
        """The largest cost of the network; None without a budget."""
        return self.settings.recipe.budget

    @property
    def gates(self) -> str:
        """The method whose gates are trained before the analysis; "" without one."""
        return self.settings.recipe.gates

    @property
    def gate_epochs(self) -> int:
        """Epochs of the training of gates."""
        return self.settings.training.gate_epochs or self.fine_plan.epochs

    @property
    def recipe_parts(self) -> dict[str, Any]:
        """The options of the recipe that differ from their defaults, for keys and records.

        A recipe file is in it by its content.
        """
        chosen = self.settings.recipe.chosen()
        return {**chosen, "recipe_file": self.recipe_file.digest} if self.recipe_file else chosen

    def network_parts(self, *, inherited: bool) -> dict[str, Any]:
        """These options, as far as they shape the network of a compressed protocol.

        Args:
            inherited: whether it starts from the source's weights; others are not compensated.
        """
        parts = self.recipe_parts
        if not inherited:
            parts.pop("compensate", None)
        return parts

    @property
    def protocols(self) -> tuple[str, ...]:
        """The user's protocols, then the untrained source network, full and compensated.

        The accuracy of the untrained network is the baseline of every trained one. It is left out
        if its classifier does not have the target's classes. The compressed one is added with
        ``--compensate``.
        """
        asked = self.settings.training.protocols
        if self.settings.training.head != "slice":
            return asked
        free = (UNTRAINED, *([COMPRESSED_UNTRAINED] if self.settings.recipe.compensate else ()))
        return (*asked, *(name for name in free if name not in asked))

    @property
    def known_sets(self) -> list[str]:
        """The data sets of ``catalog.SOURCES`` that the task loads."""
        names = [] if self.domain.folder else [self.domain.source]
        needed = self.settings.what.weights is None or self.settings.training.repair_epochs
        if needed and self.trained_on.folder is None:
            names.append(self.trained_on.name)
        return sorted(set(names))

    @property
    def title(self) -> str:
        """Display name: domain, network and method."""
        return f"{self.domain.name} · {self.model} · {self.settings.recipe.label}"

    def params(self) -> dict[str, object]:
        """MLflow parameters to filter runs by."""
        params: dict[str, object] = {
            "domain": self.domain.name,
            "source": self.source.name,
            "model": self.model,
            "method": self.settings.recipe.method,
            "protocol": "all",
        }
        params |= self.recipe_parts
        return params if self.energy is None else {**params, "energy": self.energy}

    def recipe_options(self) -> RecipeOptions:
        """The options of the recipe, without the budget."""
        settings = self.settings
        method = METHODS.get(settings.recipe.method, Method(FILE, RecipeOptions.selection))
        return RecipeOptions(
            recipe=method.recipe,
            selection=settings.recipe.selection or method.selection,
            threshold=self.energy,
            divergence=settings.recipe.divergence,
            gamma_map=settings.recipe.gamma_map,
            multiple_of=settings.recipe.multiple_of,
            draw=settings.recipe.draw,
            cost=settings.recipe.cost or RecipeOptions.cost,
            min_share=settings.recipe.min_share or 0.0,
        )


def resolve(settings: Settings) -> Task:
    """Check all settings and look up all names.

    Raises:
        SettingsError: with one line for each wrong value, including those in the domain file.
        NetworkError: when the images are too small for the network.
    """
    what, training = settings.what, settings.training
    problems = [
        *check_source(what.source, what.image_size, what.weights is not None),
        *check_model(what.model),
        *training.problems(),
        *settings.deployment.problems(),
        *settings.record.problems(),
        *check_together(settings),
        *recipe_problems(settings.recipe),
        *check_weights(what.weights),
    ]
    domain = None
    if what.target != what.source:
        try:
            domain = find_domain(what.target, what.domains)
        except DomainError as error:
            problems += error.problems
    recipe_file = None
    if settings.recipe.recipe_file is not None:
        try:
            recipe_file = read_recipe_file(settings.recipe.recipe_file)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(*problems)
    trained_on = _trained_on(settings)
    domain = domain or whole_domain(trained_on)
    source = fit_source(trained_on, domain)
    model = what.model or source.model
    for size in (trained_on.shape, source.shape):
        check_image_size(model, size)
    check_sizes(model, trained_on, source, domain)
    task = Task(
        settings=_with_defaults(settings, source, domain),
        asked=settings,
        source=source,
        domain=domain,
        model=model,
        plan=_target_plan(settings, model, source, training.lr),
        fine_plan=_target_plan(settings, model, source, training.fine_lr or training.lr),
        source_plan=_source_plan(settings, model, source),
        trained_on=trained_on,
        recipe_file=recipe_file,
    )
    _check_resolved(task)
    return task


def _with_defaults(settings: Settings, source: Source, domain: Domain) -> Settings:
    """The settings with ``--head auto`` and the defaults of the recipe resolved."""
    head = choose_head(settings.training.head, source, domain)
    return replace(
        settings,
        training=replace(settings.training, head=head),
        recipe=settings.recipe.with_defaults(),
    )


def _check_resolved(task: Task) -> None:
    """Check options that depend on the classes and on the number of epochs."""
    training, steps = task.settings.training, task.settings.recipe.steps
    file, selection = task.recipe_file, task.settings.recipe.selection
    if file and selection and not file.selects and not file.problems:
        raise SettingsError(
            f"--selection {selection}: {file.path} says which filters are kept; leave it out"
        )
    untrained = [name for name in training.protocols if not PROTOCOLS[name].trained]
    if training.head == "new" and untrained:
        raise SettingsError(
            f"--protocols {untrained[0]}: its classifier would be new and untrained; leave it out"
        )
    if steps > 1 and COMPRESSED_UNTRAINED in untrained:
        raise SettingsError(
            f"--protocols {COMPRESSED_UNTRAINED}: the steps of --steps {steps} train its network; "
            "leave it out"
        )
    problems = check_teacher(training, training.head, steps)
    problems += check_repeatable(task.settings.deployment.stages, training)
    if problems:
        raise SettingsError(*problems)
    if steps > task.fine_plan.epochs:
        raise SettingsError(
            f"--steps {steps}: {counted(task.fine_plan.epochs, 'epoch')} cannot be divided into "
            f"{steps} parts; use fewer steps or more --epochs"
        )


def _source_plan(settings: Settings, model: str, source: Source) -> Plan:
    """The plan of the source network's training; with a penalty if the method reads scales."""
    training = settings.training
    plan = training_plan(model, source, training.schedule, epochs=training.source_epochs)
    if not settings.recipe.reads_scales:
        return plan
    return replace(plan, sparsity=find_network(model).schedule.sparsity)


def _target_plan(settings: Settings, model: str, source: Source, lr: float | None) -> Plan:
    training = settings.training
    plan = training_plan(
        model,
        source,
        training.schedule,
        epochs=training.epochs,
        lr=lr,
        batch_size=training.batch_size,
        weight_decay=training.weight_decay,
    )
    return replace(plan, **training.regularisers)


def whole_domain(source: Source) -> Domain:
    """A domain of all classes of the source, to compress a network for its own data set."""
    size = source.shape[1] if source.folder else None
    return Domain(source.name, source.name, source.classes, folder=source.folder, image_size=size)


def _trained_on(settings: Settings) -> Source:
    """The source of the network.

    A folder has the image size and normalisation in the weight file's card, if there is one.
    """
    path = settings.what.weights
    card = read_card(path) if path and os.path.isfile(path) and has_card(path) else None
    if card is None or settings.what.source in SOURCES:
        return find_source(settings.what.source, settings.what.image_size)
    if settings.what.image_size not in (None, card.shape[1]):
        raise SettingsError(
            f"--image-size {settings.what.image_size}: the network of {path} was trained on "
            f"{card.shape[1]}x{card.shape[2]} images; leave it out"
        )
    return find_source(settings.what.source, card.shape[1], card)
