"""From responses to a smaller network; this package does not train or record.

The rooms, each of which uses only those before it:

``groups`` finds the filter groups of a network, and removes filters exactly, with a proof.
``evidence`` has what all methods read (responses, weights), ``measurements`` what single ones do.
``costs`` counts parameters and FLOPs, and has the budgets that limit them.
``factorisation`` replaces layers by two thinner ones.
``recipes`` has what each layer keeps, the options of a recipe, and recipe files.
``methods`` compute how many filters a layer keeps, and which.
``recipe_choice`` makes a recipe from evidence, a method and a budget.
``compensation`` corrects the layers that read removed filters.

``compress`` applies a recipe to a network in memory, ``narrow_networks`` builds compressed networks
from their widths, and ``method_names`` has the names that options need, without heavy imports.
"""
