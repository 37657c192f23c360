"""Make the pictures of the documentation again, from a small adaptation of digits.

    make pictures                                    # all of them
    python docs/make_pictures.py mlflow-runs.png     # only some
    python docs/make_pictures.py --list

Screenshots need Playwright and a Chromium on PATH. The adaptation is recorded in a temporary
folder and reused by the next call. A picture of a command that this version does not have is
reported and left out. how-it-works.svg and architecture.svg are drawn by hand: the file is the
source. The charts in docs/results are written by the commands that their pages name.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

DOCS = Path(__file__).parent
NOTEBOOK = DOCS.parent / "examples/quickstart.ipynb"
#: Folder of the adaptation that the pictures show.
WORK = Path(tempfile.gettempdir()) / "workbench-pictures"
ADAPT = (
    "adapt --source digits --target digits-3v8 --seeds 2 --source-epochs 6 --epochs 10 "
    "--schedule one-cycle --batch-size 64 --json"
).split()
_PATIENCE = 60_000  # milliseconds, for a page on a busy machine
#: MLflow opens a chat panel on the first visit, unless the browser remembers that it did.
_MLFLOW_PANEL = "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"
_DRAWN = 3_000  # milliseconds until the charts of a page are drawn


@dataclass(frozen=True)
class Screenshot:
    """One picture of a page.

    Attributes:
        command: command of the workbench that makes or serves the page.
        show: brings the page into the state to be seen; takes the page, the address and the id.
        width, height: of the browser's window, in pixels.
        scheme: "light" or "dark".
        whole: whether the picture shows the page down to its end.
    """

    command: str
    show: Callable
    width: int = 1500
    height: int = 900
    scheme: str = "light"
    whole: bool = False


@contextmanager
def server(command: str, run: str) -> Iterator[str]:
    """Start ``workbench ui`` or ``workbench serve``; yields the address that it prints."""
    process = subprocess.Popen(workbench(command), cwd=WORK, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if found := re.search(r"https?://\S+", line):
                yield found[0]
                return
        raise RuntimeError(f"'workbench {command}' ended without printing an address")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@contextmanager
def report(run: str) -> Iterator[str]:
    """Write the report of the adaptation; yields its address as a file."""
    path = WORK / "report.html"
    path.unlink(missing_ok=True)
    subprocess.run(workbench("report", run, "--out", str(path)), cwd=WORK, check=True)
    yield path.as_uri()


def open_page(page, address: str, run: str) -> None:
    """Open the address itself. (Pages that follow a job are never without requests.)"""
    page.goto(address)
    page.wait_for_timeout(_DRAWN)


def open_runs(page, address: str, run: str) -> None:
    """Open the runs of the experiment in the MLflow UI, as the printed address shows them."""
    if not re.search(r"/experiments/\d", address):  # it is that of the list of experiments
        address = f"{_experiment(address, run)}/runs?workflowType=machine_learning"
    page.goto(address)
    page.get_by_text("matching run").first.wait_for()


def open_run(page, address: str, run: str) -> None:
    """Open the run of the adaptation in the MLflow UI."""
    page.goto(f"{_experiment(address, run)}/runs/{run}?workflowType=machine_learning")
    page.get_by_text("About this run").wait_for()
    page.wait_for_timeout(_DRAWN)
    if page.get_by_text("Show more").count():
        page.get_by_text("Show more").first.click()


def _experiment(address: str, run: str) -> str:
    """Address of the experiment of a run, in the UI at an address."""
    root = address.split("/#")[0]
    with urllib.request.urlopen(f"{root}/ajax-api/2.0/mlflow/runs/get?run_id={run}") as answer:
        number = json.load(answer)["run"]["info"]["experiment_id"]
    return f"{root}/#/experiments/{number}"


#: How to reach the page of a command: takes the id of the adaptation, yields an address.
PLACES = {"ui": partial(server, "ui"), "serve": partial(server, "serve"), "report": report}
SCREENSHOTS = {
    "mlflow-runs.png": Screenshot("ui", open_runs),
    "mlflow-note.png": Screenshot("ui", open_run, height=1100),
    "report-desktop.png": Screenshot("report", open_page, whole=True),
    "report-phone.png": Screenshot("report", open_page, width=390, height=844),
    "report-dark.png": Screenshot("report", open_page, scheme="dark"),
    "service-page.png": Screenshot("serve", open_page),
}


def workbench(*arguments: str) -> list[str]:
    """The command line of a command of the workbench."""
    return [sys.executable, "-m", "workbench", *arguments]


def missing(command: str) -> bool:
    """Whether this version of the workbench lacks a command."""
    asked = subprocess.run(workbench(command, "--help"), capture_output=True, check=False)
    return asked.returncode != 0


def execute_notebook(path: Path) -> None:
    """Run examples/quickstart.ipynb in an empty folder and write it, with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(book, timeout=600, resources=place).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # times: they differ with every execution
        if "outputs" in cell:  # warnings of libraries name files of this machine
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    book.metadata["language_info"] = {"name": "python"}  # without the version
    path.write_text(nbformat.writes(book, indent=1) + "\n", encoding="utf-8")


def take(browser, shot: Screenshot, address: str, run: str, path: Path) -> None:
    """Take one screenshot."""
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.scheme
    )
    context.add_init_script(f"localStorage.setItem('{_MLFLOW_PANEL}', 'true')")
    context.set_default_timeout(_PATIENCE)
    page = context.new_page()
    shot.show(page, address, run)
    page.wait_for_timeout(1_000)  # animations end
    page.screenshot(path=path, full_page=shot.whole)
    context.close()


def take_all(shots: dict[str, Screenshot], out: Path) -> None:
    """Record the adaptation and take the screenshots."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("make_pictures: needs a Chromium on PATH")
    WORK.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(workbench(*ADAPT), cwd=WORK, check=True, stdout=subprocess.PIPE)
    run = json.loads(done.stdout)["run_id"]
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's sandbox does not run as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"] if root else []
        )
        for command in {shot.command: None for shot in shots.values()}:
            with PLACES[command](run) as address:
                for name, shot in shots.items():
                    if shot.command == command:
                        take(browser, shot, address, run, out / name)
                        print(f"{out / name}: written")


def main() -> None:
    """Make the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = (NOTEBOOK.name, *SCREENSHOTS)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help=", ".join(names))
    parser.add_argument("--list", action="store_true", help="print the names of the pictures")
    parser.add_argument("--out", type=Path, help="folder to write to, instead of the usual ones")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(names))
        return
    unknown = sorted(set(asked.pictures) - set(names))
    if unknown:
        parser.error(f"unknown picture {unknown[0]}; known: {', '.join(names)}")
    chosen = asked.pictures or names
    if NOTEBOOK.name in chosen:
        execute_notebook((asked.out or NOTEBOOK.parent) / NOTEBOOK.name)
        print(f"{NOTEBOOK.name}: executed")
    shots = {name: shot for name, shot in SCREENSHOTS.items() if name in chosen}
    for command in {shot.command: None for shot in shots.values()}:
        if missing(command):
            left_out = [name for name, shot in shots.items() if shot.command == command]
            print(f"left out: {', '.join(left_out)} (there is no 'workbench {command}')")
            shots = {name: shot for name, shot in shots.items() if name not in left_out}
    if shots:
        take_all(shots, asked.out or DOCS)


if __name__ == "__main__":
    main()
