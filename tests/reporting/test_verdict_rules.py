"""The verdict over networks with and without stages: what is recommended, and what is rejected."""

from dataclasses import replace

import numpy as np
import pytest

from workbench.adaptation.results.verdict import is_tie, judge
from workbench.compression.costs.costs import Timing
from workbench.reporting.results import ProtocolResult
from workbench.reporting.verdict_rules import loss_reason, speed_reason, speed_words
from workbench.reporting.verdict_text import verdict_notes, verdict_sentence

IMAGES = 200


def timing(milliseconds):
    return Timing(milliseconds, 0.9 * milliseconds, 1.1 * milliseconds, 1.3 * milliseconds)


def times(one, many=None):
    return timing(one), timing(64 * one if many is None else many)


def correct(hits):
    """The first images are right, so networks with more hits are right wherever others are."""
    return np.arange(IMAGES) < hits


def network(protocol, hits, one, stage="", size=60_000_000, many=None):
    runtime = "onnx-int8" if stage == "int8" else "onnx"
    hits = hits if isinstance(hits, tuple) else (hits,)
    runs = tuple(f"{protocol}{seed}" for seed in range(len(hits)))
    return ProtocolResult(
        protocol=protocol,
        hits=hits,
        images=IMAGES,
        parameters=1000 if not protocol.startswith("pfa") else 250,
        footprint=1.0 if not protocol.startswith("pfa") else 0.25,
        flops=2000,
        flops_ratio=1.0,
        latency_ms=None,
        latency_64_ms=None,
        train_seconds=1.0,
        run_ids=runs,
        weights=None,
        stage=stage,
        file_bytes=size,
        timings={runtime: times(one, many)},
        runtime=runtime,
        correct=tuple(correct(each) for each in hits),
        origins=runs if stage else (),
    )


FULL = network("full-fine", 198, 10.0)
SMALL = network("pfa-fine", 197, 4.0, size=15_000_000)
FULL_INT8 = network("full-fine", 198, 2.0, "int8", 15_100_000)
SMALL_INT8 = network("pfa-fine", 197, 1.0, "int8", 3_900_000)


def test_the_fastest_network_within_the_tolerance_is_recommended():
    verdict = judge([FULL, SMALL, FULL_INT8, SMALL_INT8], 1.0)
    assert verdict.recommended is SMALL_INT8
    assert verdict.best.accuracy_mean == 0.99
    assert verdict_sentence(verdict) == (
        "pfa-fine int8: 98.50 % in a file of 3.90 MB (6 % of full-fine), 10.0x faster (10.0x in "
        "batches of 64) than full-fine (99.00 %)"
    )


def test_full_int8_wins_over_a_compressed_float_network():
    slow = network("pfa-fine", 197, 4.0, "int8", 3_900_000)
    verdict = judge([FULL, SMALL, FULL_INT8, slow], 1.0)
    assert verdict.recommended is FULL_INT8


def test_a_compressed_network_out_of_tolerance_leaves_full_int8():
    bad = [network("pfa-fine", 190, 4.0), network("pfa-fine", 190, 1.0, "int8")]
    assert judge([FULL, FULL_INT8, *bad], 1.0).recommended is FULL_INT8


def test_nearly_equal_times_are_decided_by_size():
    near = network("pfa-fine", 197, 2.1, "int8", 3_900_000)
    assert judge([FULL, SMALL, FULL_INT8, near], 1.0).recommended is near
    far = network("pfa-fine", 197, 2.3, "int8", 3_900_000)
    assert judge([FULL, SMALL, FULL_INT8, far], 1.0).recommended is FULL_INT8


def test_preferences():
    tiny = network("pfa-fine", 197, 4.0, "clustered", 2_000_000)
    results = [FULL, SMALL, FULL_INT8, SMALL_INT8, tiny]
    assert judge(results, 1.0, "size").recommended is tiny
    assert judge(results, 1.0, "speed").recommended is SMALL_INT8
    # One image of 200 is a tie, so the fastest is recommended even at tolerance 0.
    assert judge(results, 0.0, "accuracy").recommended is SMALL_INT8
    assert judge(results, 0.0, "speed").recommended is FULL_INT8


def test_accuracy_keeps_what_the_images_can_tell_apart():
    worse = network("pfa-fine", 188, 1.0, "int8")
    origin = network("pfa-fine", 188, 4.0)
    assert not is_tie(worse, FULL)  # ten images: p = 0.002
    assert judge([FULL, origin, FULL_INT8, worse], 50.0, "accuracy").recommended is FULL_INT8
    assert judge([FULL, origin, FULL_INT8, worse], 50.0, "speed").recommended is worse


def test_a_stage_that_loses_too_much_is_rejected_with_the_numbers():
    bad = network("pfa-fine", 190, 1.0, "int8")
    verdict = judge([FULL, SMALL, bad], 1.0)
    assert verdict.recommended is SMALL
    assert verdict.refused == {
        "pfa-fine int8": "loses 3.50 points (95.00 % after 98.50 %), more than the tolerance of 1"
    }
    (line,) = [line for line in verdict_notes(verdict) if "not recommended" in line]
    assert line.startswith("pfa-fine int8 is not recommended: it loses 3.50 points")


def test_a_slower_stage_is_rejected_even_if_it_is_smaller():
    slow = network("pfa-fine", 197, 4.5, "int8", 1_000_000)
    for prefer in ("speed", "size", "accuracy"):
        verdict = judge([FULL, SMALL, slow], 1.0, prefer)
        assert verdict.recommended is not slow
        assert "is 1.1x slower than in float32 (4.5 ms after 4 ms)" in verdict.refused[slow.label]


def test_a_stage_of_some_seeds_is_rejected():
    origin = network("pfa-fine", (190, 200), 4.0)
    lucky = replace(network("pfa-fine", 200, 1.0, "int8"), origins=("pfa-fine1",))
    verdict = judge([FULL, origin, lucky], 5.0)
    assert verdict.recommended is not lucky
    assert "1 of 2 seeds only" in verdict.refused["pfa-fine int8"]


def test_a_stage_that_was_not_timed_is_judged_by_its_size():
    """int8 files for ARM are made, but not timed, on x86."""
    untimed = replace(SMALL_INT8, timings={}, runtime="")
    verdict = judge([FULL, SMALL, untimed], 1.0)
    assert verdict.recommended is untimed


def test_without_lists_of_hits_the_tie_is_unknown():
    old = replace(FULL, correct=())
    verdict = judge([old, SMALL], 1.0)
    assert verdict.p_value is None
    assert "is not known" in verdict_notes(verdict)[0]
    assert verdict_notes(judge([FULL], 1.0)) == []


def test_slow_batches_are_named():
    mixed = network("pfa-fine", 197, 1.0, "int8", many=900)
    sentence = verdict_sentence(judge([FULL, SMALL, mixed], 1.0))
    assert "10.0x faster (1.4x slower in batches of 64) than full-fine" in sentence


@pytest.mark.parametrize("images", [100, 200, 1000, 10_000])
def test_a_loss_of_exactly_the_tolerance_is_accepted(images):
    for hits in range(images // 100, images + 1, 7):
        assert loss_reason(hits / images, (hits - images // 100) / images, 1.0) is None
    assert loss_reason(1.0, 1 - 2 / images, 0.5 * 100 / images) is not None


def test_speed_in_words():
    assert speed_words(2.0) == "2.0x faster"
    assert speed_words(0.95) == speed_words(1.05) == "about as fast"
    assert speed_words(0.5) == "2.0x slower"
    assert speed_reason(timing(1.0), timing(1.05)) is None
    assert speed_reason(timing(1.0), timing(1.2)) is not None
