"""The user's options for how many filters each layer keeps and which.

Plain data without heavy imports, so that ``workbench --help`` can show the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.compression.costs.budget_limits import BUDGETS, Budget, parameter_count
from workbench.compression.method_names import (
    BUDGETED,
    COST_AWARE,
    COSTS,
    ENERGIES,
    FACTORISATIONS,
    FILE,
    GATES,
    METHODS,
    MIN_SHARES,
    RECIPES,
    REFERENCE,
    SCALES,
    Method,
    trained_gates,
)
from workbench.errors import SettingsError

#: Threshold of the methods in ``ENERGIES`` when the user names neither an energy nor a budget.
DEFAULT_ENERGY = 0.95
#: Further options of a recipe besides method and energy, recorded only if not the default.
RECIPE_OPTIONS = (
    "footprint", "flops", "params", "latency_ms", "divergence", "gamma_map", "multiple_of", "steps",
    "selection", "draw", "runtime", "cost", "min_share", "only", "skip", "compensate",
)  # fmt: skip
#: The runtimes in which a latency can be limited.
TORCH, ONNX, ONNX_INT8 = RUNTIMES = ("torch", "onnx", "onnx-int8")
_SELF_SUFFICIENT = ("pfa-kl", *ENERGIES, "dalr", *GATES, FILE)  # methods that need no budget
_GLOBS = ("only", "skip")
_PARAMETER_BUDGETS = ("footprint", "params")


@dataclass(frozen=True, kw_only=True)
class RecipeSettings:
    """The options that shape a recipe.

    Attributes:
        method: how many filters a layer keeps, and which: a name in ``METHODS``. ``of`` chooses
            ``BUDGETED`` for a budget without a method.
        recipe, selection: replace the recipe or the selection of ``method``; its own when None.
        draw: number of the draw, for random recipes and selections.
        energy: threshold of PFA-En and of factorisations, in (0, 1].
        footprint, flops, params, latency_ms: a budget, given instead of an energy: a share of
            the full network's parameters or FLOPs in (0, 1], a number of parameters, or
            milliseconds per image on this machine. "pfa-kl" means PFA-KL's footprint.
        divergence, gamma_map: how PFA-KL measures a spectrum and maps that to filters.
        runtime: the runtime in which ``latency_ms`` is measured.
        multiple_of: widths are rounded up to a multiple of this.
        steps: number of steps of iterative PFA; 1 compresses in one step.
        cost: what cost-aware PFA saves, a name in ``COSTS``; None for what the budget limits:
            parameters, or else FLOPs.
        min_share: share of each layer's filters that is always kept, in [0, 1); None for the
            default of the method.
        only, skip: globs of the filter groups that are compressed, and of those that are not.
        recipe_file: file that says what each layer keeps; ``method`` is then "file".
        compensate: layers that read removed filters take over what the kept ones predict of them.
    """

    method: str = "pfa-kl"
    recipe: str | None = None
    selection: str | None = None
    draw: int = 0
    energy: float | None = None
    footprint: float | str | None = None
    flops: float | None = None
    params: int | str | None = None
    latency_ms: float | None = None
    runtime: str = "torch"
    divergence: str = "kl"
    gamma_map: str = "linear"
    multiple_of: int = 1
    steps: int = 1
    cost: str | None = None
    min_share: float | None = None
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    recipe_file: Path | None = None
    compensate: bool = False

    @classmethod
    def of(cls, **options: Any) -> RecipeSettings:
        """Make settings from options as a user writes them; counts and footprints may be text."""
        if isinstance(options.get("params"), str):
            with suppress(SettingsError):  # reported by the checks, with all other mistakes
                options["params"] = parameter_count(options["params"])
        if isinstance(options.get("footprint"), str):
            options["footprint"] = _footprint(options["footprint"])
        for name in _GLOBS:
            globs = options.get(name) or ()
            parts = globs.split(",") if isinstance(globs, str) else globs
            options[name] = tuple(part.strip() for part in parts if part.strip())
        if options.get("recipe_file") is not None:
            options.setdefault("method", FILE)
        elif _names_only_a_budget(options):
            options["method"] = BUDGETED.recipe
            options["selection"] = options.get("selection") or BUDGETED.selection
        return cls(**options).with_whole_method()

    def with_whole_method(self) -> RecipeSettings:
        """The same choice under its shortest name.

        ``method`` names the recipe, and ``selection`` is set only if it differs from the method's
        own. So the same choice has the same key, independent of how the user wrote it. Unknown
        names are not changed; ``recipe_option_checks`` reports them.
        """
        own = METHODS.get(self.method)
        if own is None or self.recipe not in (None, *RECIPES, *FACTORISATIONS):
            return self
        if self.factorises and self.recipe not in (None, self.method):
            return self
        whole = Method(self.recipe or own.recipe, self.selection or own.selection)
        named = [name for name, method in METHODS.items() if method == whole]
        if named:
            return replace(self, method=named[0], recipe=None, selection=None)
        return replace(self, method=whole.recipe, recipe=None, selection=whole.selection)

    @property
    def label(self) -> str:
        """Name for people: the method, and the selection if it is not the method's own."""
        return self.method if self.selection is None else f"{self.method} + {self.selection}"

    @property
    def factorises(self) -> bool:
        """Whether the method keeps all filters and replaces layers by two thinner ones."""
        return self.method in FACTORISATIONS

    @property
    def reads_scales(self) -> bool:
        """Whether the recipe or the selection uses the scales of the source's batch norms."""
        own = METHODS.get(self.method)
        return SCALES in (own and own.recipe, own and own.selection, self.selection)

    @property
    def gates(self) -> str:
        """The method whose gates are trained before the analysis; "" if none is needed."""
        found = self.every_gates
        return found[0] if found else ""

    @property
    def every_gates(self) -> list[str]:
        """All methods that are named and train gates; more than one is a mistake."""
        own = METHODS.get(self.method)
        names = (own and own.recipe, own and own.selection, self.selection)
        return trained_gates(*(name for name in names if name))

    @property
    def budget(self) -> Budget | None:
        """The budget; the settings must have been checked.

        A method that needs a budget gets PFA-KL's footprint by default.
        """
        given = {name: getattr(self, name) for name in BUDGETS}
        found = (Budget(name, limit) for name, limit in given.items() if limit is not None)
        default = None if self.method in _SELF_SUFFICIENT else Budget("footprint", REFERENCE)
        return next(found, default)

    @property
    def threshold(self) -> float | None:
        """The energy of methods that have one; None for others and with a budget."""
        if self.method not in ENERGIES or self.budget is not None:
            return None
        return self.energy or DEFAULT_ENERGY

    def with_defaults(self) -> RecipeSettings:
        """The settings with the defaults that depend on other options filled in."""
        budget, filled = self.budget, self
        if budget and isinstance(budget.limit, str):
            filled = replace(filled, footprint=budget.limit)
        if self.method == COST_AWARE and budget:
            unit = COSTS[1] if budget.option in _PARAMETER_BUDGETS else COSTS[0]
            filled = replace(filled, cost=self.cost or unit)
        if self.method in MIN_SHARES and budget:
            least = MIN_SHARES[self.method] if self.min_share is None else self.min_share
            return replace(filled, min_share=least)
        return replace(filled, min_share=self.min_share or None)

    def chosen(self) -> dict[str, Any]:
        """The options that differ from their defaults, and ``compensate`` if it is on.

        Only these are part of keys and records, so that new options do not change old records.
        """
        chosen = {
            name: getattr(self, name)
            for name in RECIPE_OPTIONS
            if getattr(self, name) != getattr(RecipeSettings, name)
        }
        globs = {name: ",".join(sorted(set(chosen[name]))) for name in _GLOBS if name in chosen}
        # Old records have no compensation, whatever the default is today, and a share of 0 is none.
        chosen.pop("compensate", None)
        if not self.min_share and self.method != COST_AWARE:
            chosen.pop("min_share", None)
        return {**chosen, **globs, **({"compensate": True} if self.compensate else {})}


def _names_only_a_budget(options: Mapping[str, Any]) -> bool:
    """Whether the user has set a budget and left the method to the workbench."""
    named = options.get("method") or options.get("recipe")
    return not named and any(_is_number(options.get(name)) for name in BUDGETS)


def _is_number(limit: object) -> bool:
    return limit is not None and limit != REFERENCE


def _footprint(text: str) -> float | str:
    """A share, or the name of a recipe, which means its footprint."""
    try:
        return float(text)
    except ValueError:
        return text.strip()
