"""How many filters or factors each layer keeps: from evidence and a budget to a recipe."""
