"""From responses to a smaller network: methods, recipes, rebuild, costs."""
