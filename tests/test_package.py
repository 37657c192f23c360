"""What importing the package loads, and its names."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
    heavy = "torch mlflow sklearn matplotlib scipy fastapi starlette uvicorn jinja2 vl_convert"
    code = (
        "import sys; from workbench.cli import commands; from workbench.cli.domains import domains;"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_its_functions_are_loaded_when_they_are_used():
    code = (
        "import sys, workbench\n"
        "assert 'torch' not in sys.modules\n"
        "assert all(hasattr(workbench, name) for name in workbench.__all__)\n"
        "print('torch' in sys.modules)"
    )
    assert run(code) == "True"


def test_adapt_can_be_called_twice():
    options = {
        "source": "digits", "target": "digits-0v1", "source_epochs": 1, "epochs": 1,
        "batch_size": 64, "schedule": "one-cycle", "protocols": "pfa-fine",
    }  # fmt: skip
    assert [workbench.adapt(**options).trained for _ in range(2)] == [1, 0]


def test_unknown_names_are_attribute_errors():
    assert not hasattr(workbench, "nonsense")
    assert set(workbench.__all__) <= set(dir(workbench))


def test_a_wheel_carries_the_domains_and_the_pages(tmp_path):
    root = Path(workbench.__file__).parent.parent
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    report = {Path(name).name for name in files if "reporting/report/" in name}
    assert {"report.html.j2", "report.css", "report.js"} <= report
    names = {Path(name).name for name in files if "domain_files" in name}
    assert names == {path.name for path in (root / "domains").glob("*.yaml")}
    service = root / "workbench/experiments/service"
    pages = {path.relative_to(root).as_posix() for path in service.glob("[ts]*/*.*")}
    assert {path.rpartition(".")[2] for path in pages} == {"html", "css", "js", "svg"}
    assert pages <= set(zipfile.ZipFile(wheel).namelist())
    assert {"R1.yaml", "R2.yaml", "S1.yaml", "S2.yaml", "S3.yaml", "S4.yaml"} <= names


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_a_checkout_of_our_own(tmp_path):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(tmp_path)]
    (tmp_path / "workbench").mkdir()
    (tmp_path / "workbench/__init__.py").touch()
    copy = tmp_path / "workbench/store/code_version.py"
    copy.parent.mkdir()
    (tmp_path / "workbench/store/__init__.py").touch()
    shutil.copy(Path(workbench.__file__).parent / "store/code_version.py", copy)
    ask = [
        sys.executable,
        "-c",
        "from workbench.store.code_version import code_commit; print(code_commit())",
    ]

    def answer():
        options = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True}
        return subprocess.run(ask, **options).stdout.strip()

    assert answer() == ""
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    subprocess.run([*git, "add", "workbench", ".gitignore"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert answer() == commit.stdout.strip()
    (tmp_path / "results.md").write_text("no code")
    assert answer() == commit.stdout.strip()
    (tmp_path / "workbench/new.py").touch()
    assert answer() == commit.stdout.strip() + "-dirty"
