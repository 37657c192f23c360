"""Check whether several machines can use a store: SQLite's file locks do not work over networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from workbench.errors import StoreError
from workbench.store.tracking_uris import database_path, store_uri, without_password

#: File systems that lie on another machine, by their names in Linux.
NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph-fuse", "fuse.glusterfs", "fuse.gcsfuse",
    "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2",
    "orangefs", "pvfs2", "smb3", "smbfs", "virtiofs",
}  # fmt: skip
_MOUNTS = Path("/proc/mounts")
#: Warnings that this process has shown.
_warned: set[str] = set()


def check_shared_store(tracking_uri: str | None, what: str, mounts: Path = _MOUNTS) -> None:
    """Check that a store can be used by several machines at once.

    Args:
        what: what uses several machines, for the message.
        mounts: list of mounted file systems.

    Raises:
        StoreError: for a SQLite file, wherever it lies.
    """
    uri = store_uri(tracking_uri)
    database = database_path(uri)
    if database is None:
        return
    kind = network_file_system(database, mounts)
    where = f"a {kind} file system does not carry its locks" if kind else "it is on this machine"
    raise StoreError(
        f"store {without_password(uri)}: {what} and a SQLite store cannot be combined ({where}); "
        "start 'mlflow server' with PostgreSQL and name its http address by --tracking-uri"
    )


def check_local_database(tracking_uri: str | None, what: str, mounts: Path = _MOUNTS) -> None:
    """Check that a SQLite store is not on a network file system.

    Raises:
        StoreError: when it is, because other machines may open it there.
    """
    database = database_path(store_uri(tracking_uri))
    if database is not None and network_file_system(database, mounts):
        check_shared_store(tracking_uri, what, mounts)


def network_warning(tracking_uri: str | None, mounts: Path = _MOUNTS) -> str:
    """One line about a SQLite store on a network file system; "" for any other store."""
    uri = store_uri(tracking_uri)
    database = database_path(uri)
    kind = network_file_system(database, mounts) if database is not None else ""
    if not kind:
        return ""
    return (
        f"store {without_password(uri)}: lies on a {kind} file system, which does not carry "
        "SQLite's locks: use it from one machine at a time, or start 'mlflow server' with "
        "PostgreSQL and name its http address by --tracking-uri"
    )


def warn_once(tracking_uri: str | None, say: Callable[[str], None]) -> None:
    """Report a SQLite store on a network file system, once in a process."""
    warning = network_warning(tracking_uri)
    if warning and warning not in _warned:
        _warned.add(warning)
        say(warning)


def network_file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """Name of the network file system that holds a path; "" for a local one or if unknown."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    path = path.absolute().resolve()
    found: tuple[int, str] = (-1, "")
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        place = Path(fields[1].encode().decode("unicode_escape"))  # a space is written \\040
        depth = len(place.parts)
        if path.is_relative_to(place) and depth >= found[0]:  # a later mount hides an earlier one
            found = (depth, fields[2])
    return found[1] if found[1] in NETWORK else ""
