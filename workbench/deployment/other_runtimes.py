"""``export --check``: run a written file in another runtime, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from workbench.deployment.export import Checked, Exported, TestImages, compare_runs
from workbench.deployment.onnx_files import Run, open_onnx
from workbench.deployment.openvino_runtime import open_openvino
from workbench.deployment.runtimes import time_runs
from workbench.deployment.stage_types import TrainedNetwork

#: Runtimes for ONNX files: functions that open a file with a number of threads.
OTHERS: dict[str, Callable[[Path, int], Run]] = {"openvino": open_openvino}


def check_file(
    name: str, written: Exported, trained: TrainedNetwork, test: TestImages, threads: int
) -> Checked:
    """Run an ONNX file in another runtime on all test images.

    Args:
        name: a name in ``OTHERS``.
        written: the file.
        threads: threads of both runtimes.

    Raises:
        SettingsError: when the runtime is not installed.
        WeightsError: when it cannot run the file.
    """
    path = written.path
    run, usual = OTHERS[name](path, threads), open_onnx(path, threads)[1]
    done = compare_runs(path, run, trained, test)
    times = time_runs([run, usual], trained.card.shape)
    return Checked(name, done.accuracies, done.agreement, times[0][0], times[1][0])
