"""Faults of every kind: nothing is lost, nothing is done twice, the numbers stay the same.

    make chaos

CHAOS_SEED=N draws other moments; the table names the faults in their order.
"""

import sys

import pytest
from scenarios import ENGINES, SCENARIOS, short_faults
from trial import disturb

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # those of Ray
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]


def test_a_short_bench_survives_a_locked_database_and_two_kills(short_bench, noted):
    noted(disturb("short: locked, cell and driver killed", short_faults, short_bench, here=True))


@pytest.mark.slow
def test_every_engine_has_the_rows_of_one_process_with_workers_killed(long_bench, noted):
    """One command for each engine, without another one after it."""
    for name, open_scene in ENGINES.items():
        assert noted(disturb(name, open_scene, long_bench)).first == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_command_again_completes_a_bench(name, long_bench, noted):
    noted(disturb(name, SCENARIOS[name], long_bench))
