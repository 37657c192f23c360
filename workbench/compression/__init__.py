"""From responses to a smaller network; this package does not train or record.

The rooms, each of which uses only those before it:

``groups`` finds the filter groups of a network, removes filters exactly, and proves it.
``evidence`` and ``measurements`` say what the target's images do in the network.
``costs`` counts parameters and FLOPs, and knows the budgets that limit them.
``factorisation`` replaces layers by two thinner ones.
``recipes`` holds what each layer keeps, and the options behind it.
``methods`` compute how many filters a layer keeps, and which.
``decisions`` combines all of these: from evidence and a budget to a recipe.
``compensation`` corrects the layers that read removed filters.
``compress`` does it all for a network in memory.
"""
