"""Which code this is: the version, and the commit where it runs from a checkout of its own."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


#: What the code is: results and documents may differ from the commit.
_CODE = ("workbench", "domains", "pyproject.toml")


@cache
def code_commit() -> str:
    """Hash of the commit, with "-dirty" where the code differs; empty for an installed copy."""
    if not (_ROOT / ".git").exists():  # a checkout of somebody else's code around us says nothing
        return ""
    try:
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--", *_CODE)
    except (OSError, subprocess.SubprocessError):  # no git, or not our checkout: it stays unknown
        return ""
    return f"{commit}-dirty" if changes else commit


def _git(*words: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
