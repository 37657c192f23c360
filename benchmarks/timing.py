"""How the benchmarks take times: what is compared runs in turns, in one process."""

import statistics
import time


def take_turns(runs, rounds):
    """Seconds of each of ``runs`` (functions by name), ``rounds`` times.

    The first turn warms up and is not counted.
    """
    times = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    return times


def ratio_line(above, below):
    """Ratio of two lists of times, turn by turn: its median and range."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return (
        f"ratio: median {statistics.median(ratios):.2f}, "
        f"from {min(ratios):.2f} to {max(ratios):.2f}"
    )
