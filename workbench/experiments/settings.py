"""Where an experiment's pages and rows go."""

from pathlib import Path

#: The folder of pages, figures and rows when the user names no other.
RESULTS = Path("docs/results")
