"""Which code this is: the version, and the commit where it runs from a checkout of its own."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


@cache
def code_commit() -> str:
    """Hash of the commit, with "-dirty" where files differ from it; empty for an installed copy."""
    if not (_ROOT / ".git").exists():  # a checkout of somebody else's code around us says nothing
        return ""
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), "describe"]
    try:
        found = subprocess.run(
            [*command, "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):  # no git, or not our checkout: it stays unknown
        return ""
    return found.stdout.strip()
