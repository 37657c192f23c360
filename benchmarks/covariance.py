"""Cost of the PFA mathematics, compared with dnikit and a matrix product, and by size.

    python benchmarks/covariance.py [--rounds 3] [--wide]

If dnikit 2.0.0 is installed, its covariance (in batches of its default size) and its selection are
timed in turns with ours. Goals: 1.5 times as fast for 50,000 x 512 responses, and 100 times as fast
for the selection. The rate of our covariance, at 2 m n^2 FLOPs, is also reported as a share of the
rate of an fp32 matrix product in the same run (goal: 50 %).

The benchmark then reports time and peak memory for growing numbers of filters and samples.
``--wide`` goes up to 4,096 filters and 100,000 samples, and also compares the selection from
2,048 filters.
"""

import argparse
import resource
import statistics
import time
from functools import partial

import numpy as np

from workbench import pfa
from workbench.models.processor import machine_name

SAMPLES, FILTERS = 50_000, 512


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def median_seconds(run, rounds):
    return statistics.median(seconds(run) for _ in range(rounds))


def ours(matrix):
    moments = pfa.StreamingCovariance(matrix.shape[1])
    moments.update(matrix)
    return moments.covariance


def find_dnikit():
    """dnikit's covariance and selection with the arguments of ours; None if not installed."""
    try:
        from dnikit.base import Batch
        from dnikit.introspectors import PFA
    except ImportError as error:
        print(f"dnikit: not compared ({error})")
        return None

    class Responses:
        def __init__(self, matrix):
            self.matrix = matrix

        def __call__(self, batch_size):
            for start in range(0, len(self.matrix), batch_size):
                yield Batch({"layer": self.matrix[start : start + batch_size]})

    def covariance(matrix):
        from dnikit.introspectors._pfa._covariances_calculator import _prepare_covariances

        return _prepare_covariances(32, Responses(matrix))["layer"].get_centered_covariances()

    def select(covariances, keep):
        from dnikit.introspectors._pfa._covariances_calculator import PFACovariancesResult

        found = PFACovariancesResult.make_covariance_result(covariances=covariances)
        strategy = PFA.UnitSelectionStrategy.L1Max()
        return lambda: list(strategy(covariances=found, num_units_to_keep=keep))

    return covariance, select


def matrix_rate():
    """FLOPs per second of an fp32 product of two 2,048 x 2,048 matrices."""
    a = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    return 2 * 2048**3 / seconds(lambda: a @ a)


def error(covariance, exact):
    return float(np.abs(covariance - exact).max() / np.abs(exact).max())


def compare_covariances(dnikit, rounds):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(SAMPLES, FILTERS)).astype(np.float32)
    times = {"workbench": [], "dnikit": []}
    shares = []
    for _ in range(rounds):
        times["workbench"].append(seconds(lambda: ours(matrix)))
        shares.append(2 * SAMPLES * FILTERS**2 / times["workbench"][-1] / matrix_rate())
        if dnikit:
            times["dnikit"].append(seconds(lambda: dnikit[0](matrix)))
    print(f"covariance of {SAMPLES:,} x {FILTERS} responses, median of {rounds}:")
    for name, seen in times.items():
        if seen:
            print(f"  {name}: {statistics.median(seen):.2f} s")
    if dnikit:
        ratios = [b / a for a, b in zip(times["workbench"], times["dnikit"], strict=True)]
        print(f"  dnikit / workbench: {statistics.median(ratios):.1f} "
              f"({min(ratios):.1f} to {max(ratios):.1f})")  # fmt: skip
    print(f"  rate, as a share of an fp32 product's rate: {100 * statistics.median(shares):.0f} %")
    matrix = matrix[:5000] + np.float32(1e4)
    exact = np.cov(matrix.astype(np.float64), rowvar=False)
    print(f"  relative error at mean / spread = 10,000: workbench {error(ours(matrix), exact):.1e}"
          + (f", dnikit {error(dnikit[0](matrix), exact):.1e}" if dnikit else ""))  # fmt: skip


def compare_selections(dnikit, sizes):
    for n in sizes:
        matrix = np.random.default_rng(n).normal(size=(2 * n, n))
        covariance, keep = ours(matrix), n // 10
        rho = pfa.correlation(covariance)
        spent = median_seconds(partial(pfa.select_filters, rho, keep), 3)
        text = f"selection of {keep} of {n:,} filters: workbench {spent:.3f} s"
        if dnikit:
            theirs = seconds(dnikit[1](covariance, keep))
            text += f", dnikit {theirs:.1f} s, ratio {theirs / spent:.0f}"
        print(text)


def scale(widths, samples):
    print("filters   samples   seconds   peak MB")
    points = []
    for n in widths:
        for m in samples:
            block = np.random.default_rng(0).normal(size=(5000, n)).astype(np.float32)
            moments = pfa.StreamingCovariance(n)
            spent = sum(seconds(partial(moments.update, block)) for _ in range(m // 5000))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            points.append((n, m, spent))
            print(f"{n:7,}   {m:7,}   {spent:7.2f}   {peak:7.0f}")
    logs = np.log(np.array(points))
    design = np.column_stack([logs[:, :2], np.ones(len(logs))])
    (by_n, by_m, _), *_ = np.linalg.lstsq(design, logs[:, 2], rcond=None)
    print(f"time grows as n^{by_n:.2f} m^{by_m:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wide", action="store_true")
    options = parser.parse_args()
    print(f"{machine_name('cpu')}, numpy {np.__version__}")
    dnikit = find_dnikit()
    compare_covariances(dnikit, options.rounds)
    compare_selections(dnikit, (1024, 2048) if options.wide else (1024,))
    wide = (64, 256, 1024, 4096), (10_000, 50_000, 100_000)
    scale(*wide if options.wide else ((64, 256, 512, 1024), (10_000, 20_000)))


if __name__ == "__main__":
    main()
