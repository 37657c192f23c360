"""One module an experiment of the paper: its parts, and its page."""
