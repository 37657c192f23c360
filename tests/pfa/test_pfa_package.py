"""The package as a whole: pure NumPy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import workbench

PROGRAM = """
import sys
import workbench.pfa
print(*sorted({"torch", "torchvision", "mlflow"} & set(sys.modules)))
"""


def test_importing_it_loads_neither_torch_nor_mlflow() -> None:
    root = Path(workbench.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []
