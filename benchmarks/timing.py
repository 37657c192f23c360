"""Timing for the benchmarks: the functions to compare run in turns, in one process."""

import statistics
import time


def take_turns(runs, rounds):
    """Time each of ``runs`` (functions by name) ``rounds`` times, in seconds.

    One more turn comes first as a warm-up and is not counted.
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
    """The median and range of the ratio of two lists of times, turn by turn."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return (
        f"ratio: median {statistics.median(ratios):.2f}, "
        f"from {min(ratios):.2f} to {max(ratios):.2f}"
    )
