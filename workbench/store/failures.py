"""Errors of MLflow and its libraries, as errors of one line for the user."""

from __future__ import annotations

import errno

from workbench.errors import DiskError, StoreError, WorkbenchError
from workbench.store.tracking_uris import without_password


def failure(error: Exception, what: str, shown: str) -> WorkbenchError:
    """Explain an error of a store.

    Args:
        what: what was attempted: "opened", "read" or "written".
        shown: the store's URI without a password.
    """
    text = " ".join(str(error).split())
    if getattr(error, "errno", None) == errno.ENOSPC or "disk is full" in text:
        return DiskError(
            f"store {shown}: the disk is full; free some space and run the same "
            "command again: finished work is kept"
        )
    if isinstance(error, IsADirectoryError) and error.filename:
        # MLflow renames a complete file to its final name, the second one of the error.
        path = error.filename2 or error.filename
        return StoreError(
            f"store {shown}: {path} is a folder in the place of a file; remove "
            "it and run the same command again"
        )
    return StoreError(
        f"store {shown} could not be {what}: {without_password(text)[:300]}; check --tracking-uri"
    )
