"""SQLite and several machines exclude each other."""

from pathlib import Path

import pytest

from workbench.errors import StoreError
from workbench.store import shared_stores
from workbench.store.shared_stores import (
    check_local_database,
    check_shared_store,
    network_file_system,
    warn_once,
)


@pytest.fixture
def mounts(tmp_path):
    path = tmp_path / "mounts"
    path.write_text(
        "overlay / overlay rw 0 0\n"
        "server:/home /home nfs4 rw 0 0\n"
        "/dev/sda1 /home/local ext4 rw 0 0\n"
        "//nas/x /mnt/my\\040share cifs rw 0 0\n"
        "short line\n"
    )
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/mlflow.db", "nfs4"), ("/home/local/mlflow.db", ""), ("/homes/mlflow.db", ""),
        ("/mnt/my share/deep/mlflow.db", "cifs"), ("/var/mlflow.db", ""),
    ],
)  # fmt: skip
def test_the_deepest_mount_decides(path, kind, mounts):
    assert network_file_system(Path(path), mounts) == kind


def test_several_machines_need_a_server(mounts):
    for uri in ("sqlite:////home/me/mlflow.db", "sqlite:////var/mlflow.db", None):
        with pytest.raises(StoreError, match="mlflow server") as caught:
            check_shared_store(uri, "--engine slurm", mounts)
        assert len(caught.value.problems) == 1
    with pytest.raises(StoreError, match="nfs4"):
        check_local_database("sqlite:////home/me/mlflow.db", "Ray", mounts)
    check_local_database("sqlite:////var/mlflow.db", "Ray", mounts)
    for uri in ("http://server:5000", "postgresql://me:secret@db/mlflow"):
        check_shared_store(uri, "--engine slurm", mounts)


def test_plain_use_of_a_network_file_system_is_reported_once(mounts, monkeypatch):
    monkeypatch.setattr(shared_stores, "_warned", set())
    monkeypatch.setattr(shared_stores.network_warning, "__defaults__", (mounts,))
    said = []
    for uri in ("sqlite:////home/me/mlflow.db", "sqlite:////var/mlflow.db", "http://server:5000"):
        for _ in range(2):
            warn_once(uri, said.append)
    (line,) = said
    assert line.startswith("store sqlite:////home/me/mlflow.db: lies on a nfs4 file system")
    assert "\n" not in line


def test_a_machine_without_a_list_of_mounts_is_trusted(tmp_path):
    assert network_file_system(tmp_path, tmp_path / "nothing") == ""
