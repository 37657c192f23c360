"""From responses to a smaller network: evidence, methods, recipes, budgets, surgery, proof.

``responses`` measures what each filter does on the target's images, ``methods`` decide how many
and which filters to keep, ``budgeted_recipe.choose`` makes the recipe, ``rebuild.rebuild`` cuts the
network, and ``proof`` shows that the cut is exact. Nothing here trains or records.
"""
