"""Speed-up of the local engine's workers, and what one cell costs on each engine.

    python benchmarks/engines.py [--cells 8] [--epochs 20] [--workers 1,2,4]
                                 [--engines local,ray,slurm]

Trains networks on scikit-learn's digits, each with another seed: in a loop in this process with all
threads, in a loop with one thread, and on the local engine with several numbers of workers of one
thread each. Then it asks each engine for cells that are recorded already, which shows what a cell
costs besides its training. SLURM is submitit's executor on this machine. All numbers are ratios of
one run, or seconds; other work on the machine changes them.
"""

import argparse
import os
import tempfile
import time
import warnings
from contextlib import ExitStack
from itertools import count

import torch
from safetensors.torch import save_file

from workbench.experiments.cell_kinds import run_cell
from workbench.experiments.engines.cells import Cell
from workbench.experiments.engines.engine_settings import ON_THIS_MACHINE, SLURM, EngineSettings
from workbench.experiments.engines.engine_table import open_engine
from workbench.models.networks import build_network
from workbench.models.processor import machine_name


def cells_of(seeds, epochs):
    """Trainings of the full network with these seeds."""
    options = {
        "source": "digits", "target": "digits", "model": "simplecnn",
        "weights": os.path.abspath("source.safetensors"), "protocols": ["full-fine"],
        "epochs": epochs, "schedule": "one-cycle", "batch_size": 64, "keep_weights": "none",
    }  # fmt: skip
    return [Cell("training", options, "full-fine", seed) for seed in seeds]


def loop_seconds(cells):
    start = time.perf_counter()
    for cell in cells:
        run_cell(cell)
    return time.perf_counter() - start


def engine_seconds(settings, cells):
    """Seconds to start the engine, and to run the cells on it."""
    start = time.perf_counter()
    with open_engine(settings, {}) as engine, ExitStack() as stack:
        warmed = time.perf_counter()
        reports = engine.run(cells)
        stack.callback(reports.close)
        failed = [
            report.ended.reason for report in reports if not isinstance(report, str)
            and report.ended.reason
        ]  # fmt: skip
        ended = time.perf_counter()
    if failed:
        raise SystemExit(f"{len(failed)} cells failed: {failed[0]}")
    return warmed - start, ended - warmed


def with_threads(number, function, *args):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        return function(*args)
    finally:
        torch.set_num_threads(before)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--engines", default="local,ray,slurm")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{machine_name('cpu')}, load {os.getloadavg()[0]:.1f}; torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        network = build_network("simplecnn", (1, 8, 8), 10, seed=1)
        save_file(network.state_dict(), "source.safetensors")
        seeds = count()

        def fresh():
            return cells_of([next(seeds) for _ in range(args.cells)], args.epochs)

        threads = torch.get_num_threads()
        for number in {1, threads}:
            with_threads(number, loop_seconds, cells_of([next(seeds)], 1))  # the analysis
        every = loop_seconds(fresh())
        one = with_threads(1, loop_seconds, fresh())
        print(f"{args.cells} cells of {args.epochs} epochs, in a loop in one process:")
        print(f"  {threads} threads {every:7.1f} s")
        print(f"  1 thread  {one:7.1f} s ({every / one:.2f} times as fast)")
        first = EngineSettings.of(engine="local", workers=1, cpus_per_cell=1)
        started = sum(engine_seconds(first, fresh()[:1]))
        print(f"local engine, one thread a cell (its first cell took {started:.1f} s):")
        for workers in map(int, args.workers.split(",")):
            settings = EngineSettings.of(engine="local", workers=workers, cpus_per_cell=1)
            _, seconds = engine_seconds(settings, fresh())
            print(
                f"  {workers} worker(s) {seconds:7.1f} s ({one / seconds:.2f} times as fast as the "
                f"loop with one thread, {every / seconds:.2f} as that with {threads})"
            )
        recorded = fresh()
        with_threads(1, loop_seconds, recorded)
        found = with_threads(1, loop_seconds, recorded) / args.cells
        print(f"a recorded cell, one after the other; in a loop {found:.2f} s:")
        for name in args.engines.split(","):
            address = ON_THIS_MACHINE if name == SLURM else None
            settings = EngineSettings.of(
                engine=name, workers=1, cpus_per_cell=1, engine_address=address
            )
            start, seconds = engine_seconds(settings, recorded)
            print(
                f"  {name:6} {seconds / args.cells:.2f} s a cell, "
                f"{seconds / args.cells - found:+.2f} s; the engine starts in {start:.1f} s"
            )


if __name__ == "__main__":
    main()
