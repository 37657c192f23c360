"""Names of compression methods; their code is in ``compression.methods``.

A method is a recipe (how many filters each layer keeps) and a selection (which filters). Every
recipe can be combined with every selection.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """A compression method.

    Attributes:
        recipe: how many filters each layer keeps, a name in ``methods.RECIPES``.
        selection: which filters, a name in ``methods.SELECTIONS``.
    """

    recipe: str
    selection: str


METHODS: dict[str, Method] = {
    "pfa-kl": Method("pfa-kl", "pfa"),
    "pfa-en": Method("pfa-en", "pfa"),
    "pfa-cost": Method("pfa-cost", "pfa"),
    "fp": Method("uniform", "fp"),
    "fpgm": Method("uniform", "fpgm"),
    "apoz": Method("apoz", "apoz"),
    "network-slimming": Method("network-slimming", "network-slimming"),
    "random": Method("random", "random"),
    "uniform": Method("uniform", "pfa"),
    "vib": Method("vib", "vib"),
    "gal": Method("gal", "gal"),
    "taylor": Method("taylor", "taylor"),
    "lamp": Method("lamp", "lamp"),
    "repr": Method("repr", "repr"),
    "kse": Method("kse", "kse"),
    "hrank": Method("uniform", "hrank"),
    "ccp": Method("uniform", "ccp"),
}
RECIPES = tuple(dict.fromkeys(method.recipe for method in METHODS.values()))
SELECTIONS = tuple(dict.fromkeys(method.selection for method in METHODS.values()))
#: Methods that keep all filters and replace layers by two thinner ones
#: (``methods.FACTORISATIONS``); they are no recipe and no selection.
FACTORISATIONS = ("dalr", "dalr-en", "svd", "fga")
METHODS.update({name: Method(name, "pfa") for name in FACTORISATIONS})
#: Methods whose threshold is an energy, ``--energy``.
ENERGIES = ("pfa-en", "dalr-en", "svd", "fga")
#: The prices of filters, which are computed, not measured (``compression.costs.filter_prices``).
PRICES = "prices"
#: What recipes and selections read in addition to responses and weights: measurements
#: (``compression.measurements``), and prices.
READS: dict[str, tuple[str, ...]] = {
    "apoz": ("zeros",),
    "pfa-cost": (PRICES,),
    "vib": ("vib",),
    "gal": ("gal",),
    "taylor": ("loss_change",),
    "kse": ("kernel_indicator",),
    "hrank": ("map_rank",),
    "ccp": ("pair_loss",),
}
#: What is trained, not measured: gates of the full network (``training.gates``).
GATES = ("vib", "gal")
#: Measurements that need the target's labels, and a classifier that was trained on its classes.
LABELLED = ("loss_change", "pair_loss")
#: The recipe and the selection that use batch norms' scales.
SCALES = "network-slimming"
#: The choice for a budget if the user names no method (docs/results/recipes.md compares them).
BUDGETED = Method("pfa-cost", "fp")
#: Share of each layer's filters that these recipes always keep under a budget, unless the user sets
#: another one. Without it, a ranking over all layers can leave single filters in some layers
#: (measured in docs/results/recipes.md).
MIN_SHARES = {"pfa-cost": 0.05, **dict.fromkeys(("taylor", "lamp", "repr", "gal"), 0.2)}
#: The recipe that needs no threshold, so its footprint is the default budget of the others.
REFERENCE = "pfa-kl"
#: The recipe that weighs energy against the costs of filters, and the units of these costs.
COST_AWARE = "pfa-cost"
COSTS = ("flops", "params")
#: The selection of recipes without one of their own.
USUAL_SELECTION = "pfa"
#: The method of a recipe that a file gives; it is no choice of ``--method``.
FILE = "file"


def method_label(recipe: str, selection: str) -> str:
    """Name for people of a recipe with a selection: that of the method if there is one.

    Otherwise the recipe's, and the selection if it is not the recipe's own.
    """
    named = [name for name, method in METHODS.items() if method == Method(recipe, selection)]
    own = METHODS.get(recipe, Method(recipe, USUAL_SELECTION))
    if named or own.selection == selection:
        return next(iter(named), recipe)
    return f"{recipe} + {selection}"


def trained_gates(*names: str) -> list[str]:
    """The trainings of gates that these recipes and selections need, each once."""
    return [name for name in GATES if name in reads(*names)]


def reads(*names: str) -> set[str]:
    """What these recipes and selections read in addition to responses and weights."""
    return {item for name in names for item in READS.get(name, ())}
