"""Times of look-ups in a store of many runs.

    python benchmarks/large_store.py FOLDER [--runs 100000] [--rounds 3]

Records a small adaptation in FOLDER, times the look-ups, copies its runs by SQL until the store has
that many, and times them again: seconds, and seconds of the CPU, which depend less on other work
on the machine. The copies have their own ids, keys and parents; they share the
files of the adaptation. Their curves are not copied: look-ups do not read them. With --folders each
copy has an empty folder of artifacts, as 'clean' finds it.
"""

import argparse
import contextlib
import os
import sqlite3
import statistics
import time
from pathlib import Path

import workbench
from workbench.experiments.reports import report
from workbench.models.processor import machine_name, resolve_processor
from workbench.reporting.run_comparison import compare
from workbench.store.leftovers import find_leftovers
from workbench.store.mlflow_store import Store
from workbench.store.recorder import Recorder
from workbench.store.run_tags import KEY
from workbench.store.unfinished_work import open_work
from workbench.training.progress import Display

TARGET = "digits-3v8"
#: SQL that gives a copy of an id its own: c is the number of the copy, in eight hexadecimal digits.
_ID = "printf('%08x', c) || substr({0}, 9)"
_RUN = _ID.format("run_uuid")
_DOMAIN = f"CASE c % 100 WHEN 0 THEN '{TARGET}' ELSE 'domain-' || (c % 100) END"
#: Columns of a table that differ in the copies; the other columns are equal.
_COPIED = {
    "runs": {"run_uuid": _RUN, "start_time": "start_time + 60000 * c",
             "end_time": "end_time + 60000 * c"},
    "tags": {"run_uuid": _RUN, "value": "CASE WHEN key IN ('workbench.key', 'mlflow.parentRunId') "
             f"THEN {_ID.format('value')} ELSE value END"},
    "params": {"run_uuid": _RUN, "value": f"CASE key WHEN 'domain' THEN {_DOMAIN} "
               "WHEN 'batch_size' THEN CAST(c AS TEXT) ELSE value END"},
    "latest_metrics": {"run_uuid": _RUN},
    "inputs": {"input_uuid": _ID.format("input_uuid"),
               "source_id": f"CASE source_type WHEN 'DATASET' THEN source_id ELSE "
               f"{_ID.format('source_id')} END",
               "destination_id": f"CASE destination_type WHEN 'RUN' THEN "
               f"{_ID.format('destination_id')} ELSE destination_id END"},
    "input_tags": {"input_uuid": _ID.format("input_uuid")},
}  # fmt: skip


def fill(path, runs):
    """Copy the runs of a SQLite store until it has at least that many; return their number."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous = OFF")
        (there,) = database.execute("SELECT count(*) FROM runs").fetchone()
        copies = max(0, -(-runs // there) - 1)
        with database:
            database.execute("CREATE TEMP TABLE numbers (c INTEGER PRIMARY KEY)")
            database.executemany(
                "INSERT INTO numbers VALUES (?)", ((c + 1,) for c in range(copies))
            )
            for table, changed in _COPIED.items():
                columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                database.execute(f"CREATE TEMP TABLE original AS SELECT * FROM {table}")
                database.execute(
                    f"INSERT INTO {table} SELECT {', '.join(changed.get(n, n) for n in columns)} "
                    "FROM numbers CROSS JOIN original"
                )
                database.execute("DROP TABLE original")
        return there * (copies + 1)


def make_folders(path, root):
    """Make an empty folder of artifacts for each run without one."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        for (run_id,) in database.execute("SELECT run_uuid FROM runs"):
            (root / run_id).mkdir(exist_ok=True)


def look_ups(uri, folder):
    """The timed calls, by name."""
    store = Store(uri)
    work = open_work(folder / "work", uri)
    recorder = Recorder(store, store.experiment("digits"), work,
                        resolve_processor("auto", "auto"), Display())  # fmt: skip
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        (key,) = database.execute(
            "SELECT k.value FROM tags k JOIN tags p USING (run_uuid) WHERE k.key = ? "
            "AND p.key = 'workbench.kind' AND p.value = 'protocol' LIMIT 1", (KEY,),
        ).fetchone()  # fmt: skip

    def find():
        assert recorder.find(key) is not None

    def write_report():
        (folder / "report.html").unlink(missing_ok=True)
        report(target=TARGET, tracking_uri=uri, out=folder / "report.html")

    return {
        "open the store": lambda: Store(uri),
        "find a recorded training": find,
        "find a missing training": lambda: recorder.find("0" * 64),
        "compare": lambda: compare(tracking_uri=uri),
        "compare --target": lambda: compare(tracking_uri=uri, target=TARGET),
        "report --target": write_report,
        "clean": lambda: find_leftovers(uri, work),
    }


def print_seconds(calls, rounds):
    """Print medians of each call, after one untimed call; one call alone if that is slow."""
    print(f"  {'':<26}{'seconds':>9}{'of the CPU':>12}")
    for name, call in calls.items():
        times = []
        for _ in range(rounds + 1):
            start, busy = time.perf_counter(), time.process_time()
            call()
            times.append((time.perf_counter() - start, time.process_time() - busy))
            if times[0][0] > 20:
                break
        wall, cpu = (statistics.median(each) for each in zip(*(times[1:] or times), strict=True))
        print(f"  {name:<26}{wall:9.3f}{cpu:12.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folders", action="store_true")
    options = parser.parse_args()

    folder = options.folder.resolve()
    path = folder / "mlflow.db"
    uri = f"sqlite:///{path}"
    workbench.adapt(source="digits", target=TARGET, seeds=3, source_epochs=2, epochs=2,
                    schedule="one-cycle", batch_size=64, tracking_uri=uri, output=folder / "work",
                    domains=Path(__file__).parents[1] / "domains")  # fmt: skip
    print(f"{machine_name('cpu')}, load {os.getloadavg()[0]:.1f}, n = {options.rounds}")
    for runs in (0, options.runs):
        number = fill(path, runs)
        if options.folders:
            make_folders(path, folder / "artifacts/digits")
        print(f"{number:,} runs, {path.stat().st_size / 1e6:,.0f} MB:")
        print_seconds(look_ups(uri, folder), options.rounds)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
