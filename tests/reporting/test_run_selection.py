"""``compare --where --sort --limit --columns``: a small strict language, never evaluated."""

from dataclasses import replace

import pytest

from workbench.errors import SettingsError
from workbench.reporting.compared_results import ComparedResult
from workbench.reporting.results import ProtocolResult
from workbench.reporting.run_columns import RUN_COLUMNS, comparison_dicts, comparison_table
from workbench.reporting.run_selection import condition_of, selection_of

RESULT = ProtocolResult(
    "full-fine", (90, 80), 100, 2_500_000, 1.0, 10**9, 1.0, 5.0, None, 60.0, ("a", "b"), None
)
FULL = ComparedResult("digits", "S2", "vgg16", "none", "10 epochs", RESULT, ())
SMALL = replace(
    FULL,
    method="pfa-en 0.95",
    result=replace(
        RESULT, protocol="pfa-fine", hits=(95,), parameters=700_000, footprint=0.28,
        flops=2 * 10**8, flops_ratio=0.2, latency_ms=1.5, latency_64_ms=40.0,
        file_bytes=2_800_000,
    ),
)  # fmt: skip
INT8 = replace(SMALL, result=replace(SMALL.result, stage="int8", latency_ms=None))
ROWS = [FULL, SMALL, INT8]


def chosen(*where, **more):
    return selection_of(where, **more).apply(ROWS)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("footprint<0.3", [SMALL, INT8]),
        ("footprint < 30%", [SMALL, INT8]),
        ("footprint<=0.28", [SMALL, INT8]),
        ("footprint<28%", []),
        ("footprint>=28%", ROWS),
        ("footprint=1", [FULL]),
        ("footprint!=100%", [SMALL, INT8]),
        ("accuracy>.9", [SMALL, INT8]),
        ("parameters>=2.5M", [FULL]),
        ("parameters<700k", []),
        ("parameters = 7e5", [SMALL, INT8]),
        ("flops<1G", [SMALL, INT8]),
        ("latency<2", [SMALL]),
        ("latency!=2", [FULL, SMALL]),  # a latency that was not measured meets no condition
        ("size>1M", [SMALL, INT8]),
        ("domain=S2", ROWS),
        ("domain!=S2", []),
        ("method~pfa*", [SMALL, INT8]),
        ("method = pfa-en 0.95", [SMALL, INT8]),
        ("protocol~* int8", [INT8]),
        ("protocol~PFA*", []),
        ("seeds=2", [FULL]),
    ],
)
def test_a_condition_selects_rows(condition, rows):
    assert chosen(condition) == rows


@pytest.mark.parametrize("name", RUN_COLUMNS)
@pytest.mark.parametrize(("one", "other"), [("<", ">="), (">", "<="), ("=", "!=")])
def test_a_condition_and_its_opposite_divide_the_rows_with_a_value(name, one, other):
    column = RUN_COLUMNS[name]
    if column.kind == "text":  # which has no order
        one, other = "=", "!="
    for row in ROWS:
        value = column.value(row)
        wanted = "0.28" if column.kind == "share" else "1.5" if column.kind == "number" else "S2"
        held = [row in chosen(f"{name}{sign}{wanted}") for sign in (one, other)]
        assert sum(held) == (value is not None)


def test_several_conditions_must_all_hold():
    assert chosen("footprint<0.3", "latency<2") == [SMALL]
    assert chosen("footprint<0.3", "domain=S1") == []


def test_sorting_has_two_directions_and_unknown_values_last():
    assert chosen(sort="latency") == [SMALL, FULL, INT8]
    assert chosen(sort="-latency") == chosen(sort="latency", descending=True) == [FULL, SMALL, INT8]
    assert chosen(sort="-latency", descending=True) == [SMALL, FULL, INT8]
    assert chosen(sort="protocol") == [FULL, SMALL, INT8]
    assert chosen(sort="domain") == ROWS, "equal values keep their order"
    assert chosen(sort="footprint", limit=1) == [SMALL]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("footprnt<3", "no column 'footprnt'; did you mean 'footprint'? (columns: source, domain,"),
        ("xyzzy<3", "no column 'xyzzy' (columns: source, domain, model, method, training, seeds,"),
        ("Accuracy<1", "no column 'Accuracy'; did you mean 'accuracy'?"),
        ("accuracy>90", "accuracy is a share in [0, 1]; write 0.3 or 30%"),
        ("accuracy>101%", "accuracy is a share in [0, 1]"),
        ("latency<fast", "'fast' is not a number; write 12.5, 800k or 2.5M"),
        ("latency<30%", "'30%' is not a number"),
        ("latency<nan", "'nan' is not a number"),
        ("latency<1e999", "'1e999' is not a number"),
        ("latency<-1", "'-1' is not a number"),
        ("latency<" + 100 * "9", "is not a number"),
        ("domain<S2", "domain is text; use one of = != ~"),
        ("size~3", "size is a number; use one of < <= > >= = !="),
        ("latency==3", "is not a condition"),
        ("latency<>3", "is not a condition"),
        ("latency", "is not a condition"),
        ("latency<", "is not a condition"),
        ("<3", "is not a condition"),
        ("", "is not a condition"),
        ("__import__('os').system('true')", "is not a condition"),
        ("row.latency<3", "is not a condition"),
    ],
)
def test_a_wrong_condition_is_one_line(condition, message):
    with pytest.raises(SettingsError) as caught:
        condition_of(condition)
    assert message in str(caught.value)
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith("--where '")


def test_all_mistakes_are_reported_together():
    with pytest.raises(SettingsError) as caught:
        selection_of(["latency<x", "size~1"], "speed", limit=0, columns=["domain", "domain", "x"])
    assert [problem.split(":")[0].split(" '")[0] for problem in caught.value.problems] == [
        "--where", "--where", "--sort", "--columns",
        "--columns lists a column twice; list each once",
        "--limit 0 is too small; it must be at least 1",
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="--descending has no effect without --sort"):
        selection_of(descending=True)


def test_every_column_can_be_shown():
    headers, cells = comparison_table(ROWS, list(RUN_COLUMNS))
    assert {len(row) for row in cells} == {len(headers)} == {len(RUN_COLUMNS)}
    shown = dict(zip(RUN_COLUMNS, cells[2], strict=True))
    assert (shown["latency"], shown["latency_64"]) == ("-", "40.00 ms")
    assert (shown["flops_ratio"], shown["seeds"], shown["source"]) == ("20.0 %", "1", "digits")


def test_plain_data_have_raw_values():
    assert comparison_dicts([SMALL], ["protocol", "latency", "footprint"]) == [
        {"protocol": "pfa-fine", "latency": 1.5, "footprint": 0.28}
    ]
    whole = comparison_dicts([FULL])[0]
    assert whole.keys() >= RUN_COLUMNS.keys()
    assert (whole["accuracies"], whole["run_ids"]) == ([0.9, 0.8], ["a", "b"])
