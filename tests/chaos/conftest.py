"""The undisturbed benches, and the table of what the others survived."""

import pytest
from bench_runs import LONG, SHORT, Bench

TRIALS = pytest.StashKey[list]()
_ROW = "{:40} {:>4} {:>4} {:>5} {:>6}  {:8}  {}"


def pytest_configure(config):
    config.stash[TRIALS] = []


@pytest.fixture
def noted(request):
    """Add a trial to the table at the end of the tests, and check it."""

    def note(trial):
        request.config.stash[TRIALS].append(trial)
        trial.check()
        return trial

    return note


@pytest.fixture(scope="session")
def folder_of_benches(tmp_path_factory):
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="session")
def long_bench(folder_of_benches):
    """A bench with two seeds, in one process."""
    bench = Bench(folder_of_benches / "undisturbed", LONG)
    assert bench.run() == 0, "".join(bench.messages)
    return bench


@pytest.fixture(scope="session")
def short_bench(folder_of_benches):
    """A bench with one seed, in this process."""
    bench = Bench(folder_of_benches / "undisturbed-short", SHORT)
    assert bench.run_here() == 0
    return bench


def pytest_terminal_summary(terminalreporter, config):
    """Print what was injected and what became of it."""
    if not config.stash.get(TRIALS, []):
        return
    write = terminalreporter.write_line
    terminalreporter.section("faults injected, and what became of them")
    write(_ROW.format("scenario", "runs", "lost", "twice", "time", "survived", "faults"))
    for trial in config.stash[TRIALS]:
        write(
            _ROW.format(
                trial.name, trial.runs, len(trial.lost), len(trial.twice),
                f"{trial.seconds:.0f} s", "yes" if trial.survived else "NO",
                ", ".join(trial.injected),
            )
        )  # fmt: skip
