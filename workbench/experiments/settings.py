"""The default folder of an experiment's pages and rows."""

from pathlib import Path

#: The folder of pages, figures and rows when the user names no other.
RESULTS = Path("docs/results")
