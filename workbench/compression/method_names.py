"""Names of compression methods; their code is in ``compression.methods``.

A method is a recipe (how many filters each layer keeps) and a selection (which filters). Every
recipe can be combined with every selection.
"""

from __future__ import annotations

#: (recipe, selection) of each method.
METHODS: dict[str, tuple[str, str]] = {
    "pfa-kl": ("pfa-kl", "pfa"),
    "pfa-en": ("pfa-en", "pfa"),
    "pfa-cost": ("pfa-cost", "pfa"),
    "fp": ("uniform", "fp"),
    "fpgm": ("uniform", "fpgm"),
    "apoz": ("apoz", "apoz"),
    "network-slimming": ("network-slimming", "network-slimming"),
    "random": ("random", "random"),
    "uniform": ("uniform", "pfa"),
}
RECIPES = tuple(dict.fromkeys(recipe for recipe, _ in METHODS.values()))
SELECTIONS = tuple(dict.fromkeys(selection for _, selection in METHODS.values()))
#: The recipe and the selection that use batch norms' scales.
SCALES = "network-slimming"
#: The method of a budget for which the user names none (docs/results compares them).
BUDGETED = "pfa-cost"
#: The recipe that needs no threshold, so its footprint is the default budget of the others.
REFERENCE = "pfa-kl"
#: The recipe that weighs energy against the costs of filters, and the units of these costs.
COST_AWARE = "pfa-cost"
COSTS = ("flops", "params")
#: The method of a recipe that a file gives; it is no choice of ``--method``.
FILE = "file"
