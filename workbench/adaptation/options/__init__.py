"""Options as files: those that a user writes, and those that a run records to be repeated."""
