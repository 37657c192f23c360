"""Fixtures that every test file may use."""

import os
import shutil
import signal
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image
from quick_surroundings import UPGRADE_TABLES, leave_to_the_system, make_quick
from sqlalchemy import event
from sqlalchemy.engine import Engine
from warm_processes import Server

from workbench.cli import main

#: Files that take minutes: begun last, one of two processes would wait for the other's.
LONG = (
    "test_examples.py",
    "test_resume.py",
    "test_reproduce.py",
    "test_architectures.py",
    "test_stages.py",
    "test_service.py",
    "test_engines.py",
)
#: Programs that can be the browser of the tests, the first on PATH is used.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items):
    """The longest files first."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch, tmp_path):
    """Each test runs in a folder of its own, without the caller's settings."""
    for name in ("WORKBENCH_DOMAINS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def _empty_store(tmp_path_factory):
    """Makes a store that MLflow has set up, once: that takes it seconds."""

    @cache
    def make():
        path = tmp_path_factory.mktemp("store") / "mlflow.db"
        UPGRADE_TABLES(path)
        return path

    return make


@pytest.fixture(scope="session", autouse=True)
def _quick(_empty_store):
    """Commands in this process are quick; child processes are not, but for those of ``warm``."""
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch.setattr, _empty_store)
        event.listen(Engine, "connect", leave_to_the_system)
        yield
        event.remove(Engine, "connect", leave_to_the_system)


@pytest.fixture(scope="session")
def warm(tmp_path_factory, _empty_store):
    """A server that forks processes of the command line, which need not load the libraries."""
    folder = tmp_path_factory.getbasetemp()
    together = "PYTEST_XDIST_WORKER" in os.environ
    server = Server(folder.parent if together else folder, _empty_store)
    yield server
    server.leave()


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch):
    """The command line takes over what ends the process; afterwards it is pytest's again."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def run_cli(monkeypatch, capsys):
    """Run the real command line in this process: (exit status, stdout, stderr)."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["workbench", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def draw_folder():
    """Write an image folder: each class has stripes of its own width, on noise."""

    def draw(path, counts, size=(20, 24), suffix=".png", seed=0):
        drawing = np.random.default_rng(seed)
        for label, (name, count) in enumerate(counts.items()):
            (path / name).mkdir(parents=True)
            stripes = 160 * (np.arange(size[0]) // (label + 1) % 2)
            for number in range(count):
                noise = drawing.integers(0, 90, (size[1], size[0], 3))
                pixels = (noise + stripes[None, :, None]).astype(np.uint8)
                Image.fromarray(pixels).save(path / name / f"{number:03d}{suffix}")
        return path

    return draw


# Not for the whole session: while Playwright runs, this thread has a running event loop, and
# asyncio.run() fails in the tests of other files.
@pytest.fixture(scope="module")
def browser():
    """A headless Chromium (a Browser of Playwright's sync API); skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"needs a browser on PATH: {', '.join(BROWSERS)}")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's sandbox does not run as root
    arguments = ["--no-sandbox"] if root else []
    with playwright.sync_playwright() as run:
        chromium = run.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()
