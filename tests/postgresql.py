"""A PostgreSQL server of the tests' own, and why there is none."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
#: PostgreSQL does not run as root.
OTHER_USER = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []


def lacking():
    """Why no server can be started here; "" if one can."""
    if find_spec("psycopg2") is None:
        return "needs psycopg2: pip install 'pfa-workbench[postgresql]'"
    if not PROGRAMS:
        return "needs PostgreSQL in /usr/lib/postgresql"
    if OTHER_USER and shutil.which("runuser") is None:
        return "needs runuser, because PostgreSQL does not run as root"
    return ""


@contextmanager
def postgresql_server(name):
    """Give the folder of a server that listens on a socket there only; its user is "me"."""
    folder = Path("/tmp") / f"workbench-{name}-{os.getpid()}"  # a socket's path must be short
    folder.mkdir()
    programs = PROGRAMS[-1].parent
    data = folder / "data"
    if OTHER_USER:
        shutil.chown(folder, "nobody")

    def call(*words):
        command = [*OTHER_USER, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, done.stderr + done.stdout

    try:
        call(programs / "initdb", "-D", data, "-U", "me", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        call(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        yield folder
    finally:
        subprocess.run(
            [*OTHER_USER, str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"],
            capture_output=True, check=False, cwd=folder,
        )  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)
