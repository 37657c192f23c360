"""All checks of ``workbench doctor``, in the order of their lines."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from workbench.experiments.doctor import library_versions, machine, places
from workbench.experiments.doctor.lines import Check, Line, lines_of
from workbench.experiments.doctor.speed import speed


def examine(
    data_dir: Path | None = None, tracking_uri: str | None = None, output: Path | None = None
) -> Iterator[Line]:
    """Check the installation, the machine, the data, the store and the speed of training.

    Nothing is written. Yields the lines of each check when it is over, within seconds.
    """
    checks = (
        Check("versions", library_versions.versions),
        Check("torch", library_versions.torch_pair),
        Check("loading", library_versions.loading),
        Check("extras", library_versions.extras, needed=False),
        Check("processor", machine.processor),
        Check("threads", machine.threads),
        Check("data", partial(places.data_sets, data_dir)),
        Check("store", partial(places.store, tracking_uri)),
        Check("work", partial(places.work_folder, output, tracking_uri)),
        Check("speed", speed),
    )
    for check in checks:
        yield from lines_of(check)
