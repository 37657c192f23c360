"""All checks of ``workbench doctor``, in the order of their lines."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from workbench.experiments.doctor import library_versions, machine, places
from workbench.experiments.doctor.lines import Check, Line, lines_of, quietly
from workbench.experiments.doctor.speed import speed


def examine(
    data_dir: Path | None = None, tracking_uri: str | None = None, output: Path | None = None
) -> Iterator[Line]:
    """Check the installation, the machine, the data, the store and the speed of training.

    Nothing is written. Yields the lines of each check when it is over, within seconds.
    """
    broken = quietly(library_versions.broken_libraries)
    checks = (
        Check("versions", library_versions.versions),
        Check("loading", partial(library_versions.loading, broken)),
        Check("torch", library_versions.torch_pair),
        Check("extras", library_versions.extras, needed=False),
        Check("processor", machine.processor, library="torch"),
        Check("threads", machine.threads, library="torch"),
        Check("data", partial(places.data_sets, data_dir)),
        Check("store", partial(places.store, tracking_uri), library="mlflow"),
        Check("work", partial(places.work_folder, output, tracking_uri), library="torch"),
        Check("speed", speed, library="torch"),
    )
    for check in checks:
        if check.library in broken:
            yield Line("note", check.name, f"not checked: {check.library} cannot be loaded")
        else:
            yield from lines_of(check)
