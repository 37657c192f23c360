"""The commit of the running code, where it runs from its own git checkout."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


#: The paths that count as code. Changes elsewhere, in results or documents, are ignored.
_CODE = ("workbench", "domains", "pyproject.toml")


@cache
def code_commit() -> str:
    """Hash of the commit, with "-dirty" where the code differs; empty for an installed copy."""
    if not (_ROOT / ".git").exists():  # an enclosing checkout is of other code
        return ""
    try:
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--", *_CODE)
    except (OSError, subprocess.SubprocessError):  # no git, or not our checkout
        return ""
    return f"{commit}-dirty" if changes else commit


def _git(*words: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
