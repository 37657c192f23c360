"""Filter groups: found in the graph of a network, removed exactly, and proven."""
