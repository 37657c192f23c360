"""Parameters, FLOPs and latencies of networks, and the budgets that limit them."""
