"""What importing the package loads, and its names."""

import subprocess
import sys

import workbench


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_loads_neither_torch_nor_mlflow():
    heavy = "torch mlflow sklearn matplotlib scipy"
    code = f"import sys, workbench; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert run(code) == "[]"


def test_the_command_line_loads_them_only_inside_its_commands():
    heavy = "torch mlflow sklearn matplotlib scipy"
    code = (
        "import sys; from workbench.cli import app; from workbench.cli.listing import domains;"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_public_functions_stay_functions_after_they_were_used():
    code = (
        "import workbench\n"
        "for _ in range(2):\n"
        "    for name in workbench.__all__:\n"
        "        assert callable(getattr(workbench, name)), name\n"
        "print('ok')"
    )
    assert run(code) == "ok"


def test_unknown_names_are_attribute_errors():
    assert not hasattr(workbench, "nonsense")
    assert set(workbench.__all__) <= set(dir(workbench))
