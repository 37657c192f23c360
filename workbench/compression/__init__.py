"""From responses to a smaller network: evidence, methods, recipes, budgets, rebuilding, proof.

``responses`` measures the response of each filter to the target's images, ``methods`` decide how
many and which filters to keep, ``budgeted_recipe.choose`` makes the recipe, ``rebuild.rebuild``
makes the smaller network, and ``proof`` verifies that removing filters is exact. This package does
not train or record.
"""
