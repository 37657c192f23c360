"""Intervals and the verdict."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from workbench.adaptation.results.verdict import judge
from workbench.cli.console import print_table
from workbench.reporting.recipe_text import method_text
from workbench.reporting.results import ProtocolResult
from workbench.reporting.statistics import student_interval, wilson_interval
from workbench.reporting.tables import markdown_text, table_rows
from workbench.reporting.verdict_text import verdict_sentence
from workbench.training.progress import Display

FULL, SMALL = 1000, 230


def result(protocol, hits, *, latency=None, parameters=None, images=200):
    parameters = parameters or (FULL if protocol.startswith("full") else SMALL)
    return ProtocolResult(
        protocol=protocol,
        hits=tuple(hits),
        images=images,
        parameters=parameters,
        footprint=parameters / FULL,
        flops=2 * parameters,
        flops_ratio=parameters / FULL,
        latency_ms=latency,
        latency_64_ms=None if latency is None else 50 * latency,
        train_seconds=1.0,
        run_ids=("a",) * len(hits),
        weights=None,
    )


def sentence(results, tolerance=1.0):
    return verdict_sentence(judge(results, tolerance))


def test_the_smallest_good_enough_network_is_recommended():
    results = [
        result("full-fine", [198, 199], latency=2.9),
        result("pfa-fine", [197, 198], latency=1.0),
        result("pfa-scratch", [180, 181], latency=1.0),
    ]
    assert judge(results, 1.0).recommended.protocol == "pfa-fine"
    assert sentence(results) == (
        "pfa-fine: 98.75 % ± 0.35 at 23 % of the parameters, 2.9x faster (2.9x in batches of 64) "
        "than full-fine (99.25 %)"
    )


def test_the_full_network_is_recommended_when_no_compressed_one_is_close():
    results = [result("full-fine", [198]), result("pfa-fine", [190])]
    assert judge(results, 1.0).recommended.protocol == "full-fine"
    assert "pfa-fine (95.00 % at 23 % of the parameters), is 4.00 points below" in sentence(results)


def test_tolerance_moves_the_line_and_includes_it():
    results = [result("full-fine", [198]), result("pfa-fine", [196])]
    assert judge(results, 1.0).recommended.protocol == "pfa-fine"
    assert judge(results, 0.9).recommended.protocol == "full-fine"


def test_of_equally_small_networks_the_more_accurate_is_taken():
    results = [result("pfa-scratch", [198]), result("pfa-fine", [199]), result("full-fine", [199])]
    assert judge(results, 1.0).recommended.protocol == "pfa-fine"


def test_a_network_that_pfa_left_as_it_was_is_no_smaller():
    results = [result("full-fine", [199]), result("pfa-fine", [198], parameters=FULL)]
    assert judge(results, 1.0).recommended.protocol == "full-fine"


def test_a_slower_network_is_called_slower():
    results = [result("full-fine", [198], latency=1.0), result("pfa-fine", [198], latency=2.0)]
    assert judge(results, 1.0).recommended.protocol == "full-fine"
    assert (
        "pfa-fine (99.00 % at 23 % of the parameters), is 2.0x slower (2.0x slower in "
        in sentence(results)
    )
    results = [result("full-fine", [198], latency=1.0), result("pfa-fine", [198], latency=0.99)]
    assert "about as fast (1.0x in batches of 64) as full-fine" in sentence(results)


def test_a_run_from_before_batches_of_64_were_measured_is_still_shown():
    full, small = result("full-fine", [198], latency=2.0), result("pfa-fine", [198], latency=1.0)
    results = [replace(full, latency_64_ms=None), small]
    assert "2.0x faster than full-fine" in sentence(results)
    assert table_rows(results)[0][7] == "-"


def test_without_latency_flops_are_compared():
    assert "4.3x fewer FLOPs than full-fine" in sentence(
        [result("full-fine", [198]), result("pfa-fine", [198])]
    )


def test_one_kind_of_network_alone_has_a_verdict_too():
    assert sentence([result("pfa-fine", [198])]) == "pfa-fine: 99.00 % at 23 % of the parameters"
    assert "no compressed network was trained" in sentence([result("full-fine", [198])])


def test_one_seed_has_no_std_and_a_wilson_interval():
    single = result("pfa-fine", [198])
    assert single.accuracy_std is None
    assert single.accuracy_interval == wilson_interval(198, 200)
    p, n, z = 0.99, 200, stats.norm.ppf(0.975)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert single.accuracy_interval == pytest.approx((centre - half, centre + half))


def test_seeds_that_agree_have_a_wilson_interval():
    # Two equal numbers would make Student's interval a point, as if nothing could vary.
    agreeing = result("pfa-fine", [190, 190])
    assert agreeing.accuracy_std == 0
    assert agreeing.accuracy_interval == wilson_interval(190, 200)


def test_several_seeds_have_a_student_interval():
    several = result("pfa-fine", [180, 190, 185])
    values = np.array([180, 190, 185]) / 200
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert several.accuracy_interval == pytest.approx((low, high))
    assert several.accuracy_std == pytest.approx(values.std(ddof=1))


def test_intervals_stay_within_0_and_1():
    assert student_interval([1.0, 0.9])[1] == 1.0
    assert wilson_interval(200, 200)[1] == pytest.approx(1.0)
    assert wilson_interval(0, 200)[0] == pytest.approx(0.0)


def test_a_name_is_shown_as_it_is_on_a_terminal_and_in_a_note(capsys):
    name = "[red]a|b[/red] :cat: `c` <i>\x1b[2J\n[d](http://e)"
    print_table("", ("domain", "n"), [(name, "1")])
    shown = capsys.readouterr().out
    assert "[red]a|b[/red] :cat: `c` <i>\\x1b[2J\\n[d](http://e)" in shown
    assert "\x1b" not in shown
    (line,) = markdown_text(name).splitlines()
    assert line.startswith("\\[red\\]a\\|b")
    assert "\\`c\\` &lt;i>" in line
    assert "[d](" not in line


def test_a_line_of_progress_cannot_steer_the_terminal(capsys):
    display = Display(quiet=False)
    display.say("folder \x1b[2J\r\n:cat: [red]x")
    with display.track("a\x1b[2J", 1) as advance:
        advance(1, "done")
    assert capsys.readouterr().err.splitlines() == [
        "folder \\x1b[2J\\r\\n:cat: [red]x",
        "a\\x1b[2J: 1/1 done",
    ]


def test_the_method_is_shown_with_a_selection_that_is_not_its_own():
    assert method_text({"method": "pfa-cost", "selection": "fp", "flops": 0.1}) == "pfa-cost + fp"
    assert method_text({"method": "pfa-cost", "flops": 0.1}) == "pfa-cost"
