"""Errors of MLflow, its database and its files, explained in one line."""

from __future__ import annotations

import errno

from workbench.errors import DiskError, StoreError, WorkbenchError
from workbench.store.tracking_uris import without_password


def store_error(error: Exception, shown: str, what: str) -> WorkbenchError:
    """The error to raise instead of a library's.

    Args:
        shown: the store's address without a password.
        what: what could not be done, such as "written".
    """
    text = " ".join(str(error).split())
    if getattr(error, "errno", None) == errno.ENOSPC or "disk is full" in text:
        return DiskError(
            f"store {shown}: the disk is full; free some space and run the same command again: "
            "finished work is kept"
        )
    if isinstance(error, IsADirectoryError) and error.filename:
        # MLflow renames a complete file to its final name, the second one of the error.
        path = error.filename2 or error.filename
        return StoreError(
            f"store {shown}: {path} is a folder in the place of a file; remove it and run the same "
            "command again"
        )
    return StoreError(
        f"store {shown} could not be {what}: {without_password(text)[:300]}; check --tracking-uri"
    )
