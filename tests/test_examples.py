"""The examples: the commands of each tutorial run as they are written, and the notebook as it is.

Each runs in an empty folder, in processes of its own. The only help is that the processes of
``workbench`` need not load the libraries, and that a store's tables are already made.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import warm_processes

import workbench

ROOT = Path(workbench.__file__).parents[1]
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "quickstart.ipynb"
#: A block of a page: its language, the file that the reader writes it to, its text.
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.skipif(not NOTEBOOK.is_file(), reason="needs the examples of a checkout")


def script_of(page):
    """What a reader does, as one bash script: writes the named files, runs the shell blocks."""
    lines = ["set -euo pipefail"]
    for language, title, text in BLOCK.findall(page.read_text()):
        if title:
            lines.append(f"cat > {title} <<'END OF FILE'\n{text}END OF FILE")
        elif language == "sh":
            lines.append(text)
    return "\n".join(lines)


@pytest.fixture
def follow(tmp_path, warm):
    """Run a page's script in this folder; returns what it prints."""

    def run(name):
        programs = tmp_path / ".bin"
        programs.mkdir()
        calls = {"workbench": f"-ES {warm_processes.__file__} {warm.start()}", "python": ""}
        for program, call in calls.items():
            (programs / program).write_text(f'#!/bin/sh\nexec {sys.executable} {call} "$@"\n')
            (programs / program).chmod(0o755)
        env = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        script = script_of(EXAMPLES / name)
        command = ["bash", "-c", script]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_own_images(follow, draw_folder, tmp_path):
    draw_folder(tmp_path / "photos", dict.fromkeys(("cat", "dog", "fox", "owl"), 12), suffix=".jpg")
    shown = follow("own_images.md")
    assert "classes:      cat, dog" in shown
    assert re.search(r"^(full|pfa)-fine: \d+\.\d\d %", shown, re.MULTILINE)  # the verdict
    assert "pets.safetensors: " in shown
    assert "verified on all" in shown
    predicted = re.findall(
        r"^photos/cat/\d+\.jpg: (cat|dog) [\d.]+ %, (cat|dog) [\d.]+ %$", shown, re.M
    )
    assert len(predicted) == 12
    network = workbench.load_network(tmp_path / "pets.safetensors")
    assert not network.training


def test_own_network(follow, tmp_path):
    shown = follow("own_network.md")
    assert "my_network:small_net · pfa-kl" in shown
    assert "my_network:small_net · file" in shown  # the recipe by hand
    assert "small.safetensors: " in shown
    (printed,) = re.findall(r"^tensor\((\[\[.*?\]\])\)$", shown, re.DOTALL | re.MULTILINE)
    assert [sum(row) for row in json.loads(printed)] == pytest.approx([1] * 4, abs=1e-3)
    # 16 and 24 filters of one-channel images: convolutions, two batch norms, classifier
    wanted = (16 * 9 + 16) + (16 * 24 * 9 + 24) + 2 * (16 + 24) + (24 * 2 + 2)
    assert f"{wanted / 1000:.2f} k" in shown


def test_the_notebook_runs_and_shows_a_verdict_and_pictures(tmp_path, request):
    pytest.importorskip("nbclient", reason="needs nbclient")
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    script = ROOT / "docs/make_pictures.py"
    command = [sys.executable, str(script), NOTEBOOK.name, "--out", str(tmp_path)]
    store = shutil.copyfile(request.getfixturevalue("_empty_store")(), tmp_path / "mlflow.db")
    env = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{store}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    made, stored = (
        json.loads((place / NOTEBOOK.name).read_text()) for place in (tmp_path, EXAMPLES)
    )
    assert [cell["source"] for cell in made["cells"]] == [
        cell["source"] for cell in stored["cells"]
    ]
    for book in (made, stored):
        outputs = [each for cell in book["cells"] for each in cell.get("outputs", [])]
        said = "".join("".join(each.get("text", "")) for each in outputs)
        assert re.match(r"(full|pfa)-fine( .*)?: \d+\.\d\d %|source: \d+\.\d\d %", said)
        assert sum("image/png" in each.get("data", {}) for each in outputs) == 2


def test_the_stored_outputs_are_small_and_tell_nothing_about_the_machine():
    text = NOTEBOOK.read_text()
    assert len(text) < 150_000
    book = json.loads(text)
    assert set(book["metadata"]["language_info"]) == {"name"}
    for cell in book["cells"]:
        assert set(cell["metadata"]) <= {"alt"}
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr"
            assert not re.search(r"/(home|root|tmp|work)/", json.dumps(output.get("text", "")))
