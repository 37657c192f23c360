"""The analysis of a target: responses, recipe and costs, measured and recorded."""
