"""One module an experiment: its parts, and its page."""
