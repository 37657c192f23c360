"""The table of exits in a report."""

from math import inf

from workbench.reporting.report.exit_section import NetworkExits, exits_section


def texts(*networks):
    (table,) = exits_section(networks, "test").blocks
    return [[cell.text for cell in row] for row in table.rows]


def test_every_exit_has_depth_threshold_and_share():
    exits = NetworkExits("a", (0.8, 0.15, 0.05), (0.25, 0.5), ((0.95,), (0.0,)))
    assert texts(exits) == [
        ["a", "1", "80.0 %", "25 %", "0.950"],
        ["a", "2", "15.0 %", "50 %", "0.000"],
        ["a", "last", "5.0 %", "100 %", "-"],
    ]


def test_thresholds_of_several_seeds_are_a_range():
    exits = NetworkExits("a", (0.5, 0.25, 0.25), (0.3, 0.6), ((0.9, 0.7, 0.8), (0.6, inf, 0.7)))
    thresholds = [row[4] for row in texts(exits)]
    assert thresholds == ["0.700 to 0.900", "0.600 to 0.700 or none", "-"]


def test_an_exit_that_no_image_leaves():
    exits = NetworkExits("a", (0.0, 1.0), (0.5,), ((inf, inf),))
    assert [row[4] for row in texts(exits)] == ["no image leaves", "-"]


def test_shares_are_shown_without_a_record_of_the_thresholds():
    assert texts(NetworkExits("a", (0.4, 0.6))) == [
        ["a", "1", "40.0 %", "-", "-"],
        ["a", "last", "60.0 %", "-", "-"],
    ]


def test_the_section_names_the_images():
    exits = NetworkExits("a", (0.4, 0.6))
    assert (
        "shares are those of the validation images" in exits_section([exits], "validation").lines[1]
    )
