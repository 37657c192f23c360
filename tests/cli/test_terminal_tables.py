"""Tables on terminals of any width: whole numbers, and a note about what is not shown."""

import io
import json
import re
import sys
from itertools import pairwise

import pytest
from rich.cells import cell_len
from rich.console import Console

from workbench.deployment.export_text import COMPARED_COLUMNS
from workbench.experiments.network_search.search_report import COLUMNS as SEARCH_COLUMNS
from workbench.reporting.run_columns import RUN_COLUMNS, SHOWN
from workbench.reporting.tables import COLUMNS, RECIPE_COLUMNS, RUNTIME_COLUMNS
from workbench.reporting.terminal_tables import fitting_table

ADAPT = (
    "adapt", "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle",
    "--source-epochs", "1", "--epochs", "1", "--protocols", "full-fine,pfa-fine", "--seeds", "2",
)  # fmt: skip
COMMANDS = {"adapt": ADAPT, "compare": ("compare",)}
LEFT_OUT = {
    ("adapt", 40): "parameters, footprint, FLOPs, latency, batch of 64, train",
    ("adapt", 80): "latency, batch of 64, train",
    ("adapt", 120): "",
    ("compare", 120): "training, seeds, batch of 64, train",
    ("compare", 240): "",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder in which the adaptation was run once."""
    return tmp_path_factory.mktemp("original")


@pytest.fixture
def shown(original, run_cli, monkeypatch):
    """What a command prints on a terminal of some width, and its numbers from a pipe."""
    monkeypatch.chdir(original)
    if not (original / "mlruns").exists():
        assert run_cli(*ADAPT)[0] == 0

    def run(command, width):
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(width))
            patch.setattr(type(sys.stdout), "isatty", lambda stream: True)
            status, out, err = run_cli(*COMMANDS[command])
        assert status == 0, err
        return re.sub(r"\x1b\[[0-9;]*m", "", out)

    return run


@pytest.mark.parametrize("width", [40, 60, 80, 120, 240])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_table_fits_the_terminal_and_cuts_nothing(shown, command, width):
    out = shown(command, width)
    assert "…" not in out
    table = out.split("Not shown: ")[0].split("Accuracy: ")[0].split("\n", command == "adapt")[-1]
    assert max(map(len, table.splitlines())) <= width
    for protocol in ("full-fine", "pfa-fine"):
        assert protocol in table
    whole = shown(command, 400)
    accuracies = re.findall(r"[\d.]+ % ± [\d.]+|\([\d.]+ to [\d.]+\)", whole.split("Accuracy:")[0])
    assert len(accuracies) >= 4
    for value in accuracies:
        assert value in table


@pytest.mark.parametrize(("command", "width"), LEFT_OUT)
def test_columns_without_room_are_named(shown, command, width):
    out = shown(command, width)
    found = re.findall(
        r"^Not shown: (.*) \(a wider terminal or (--json|a file) has them\)", out, re.M
    )
    assert (found[0][0] if found else "") == LEFT_OUT[command, width]


def test_rows_are_stacked_where_even_the_important_columns_have_no_room(shown):
    lines = shown("compare", 40).splitlines()
    assert "protocol: pfa-fine" in lines
    assert "accuracy (95 % interval):" in lines
    assert any(re.fullmatch(r"FLOPs: [\d.]+ M \(\d+ %\)", line) for line in lines)


def test_a_file_has_the_whole_table_whatever_the_terminals_width(shown, run_cli, monkeypatch):
    whole = shown("compare", 400)
    monkeypatch.setenv("COLUMNS", "40")
    status, out, _ = run_cli("compare")
    assert status == 0
    assert out == whole


@pytest.mark.parametrize(
    ("options", "protocols"),
    [
        (("--where", "footprint<99%"), {"pfa-fine"}),
        (("--where", "accuracy>=0", "--where", "protocol~*-fine"), {"full-fine", "pfa-fine"}),
        (("--where", "domain=elsewhere"), set()),
    ],
)
def test_compare_filters_rows(original, shown, run_cli, options, protocols):
    shown("compare", 80)  # the store exists
    status, out, err = run_cli("compare", "--json", *options)
    assert status == 0
    assert {row["protocol"] for row in json.loads(out)} == protocols
    assert ("no row meets the conditions" in err) == (not protocols)


@pytest.mark.parametrize("order", [("footprint",), ("-footprint",), ("footprint", "--descending")])
def test_compare_sorts_rows(shown, run_cli, order):
    shown("compare", 80)
    options = ("--sort", *order, "--columns", "protocol,footprint", "--limit", "2")
    status, out, err = run_cli("compare", *options, "--json")
    assert status == 0, err
    rows = json.loads(out)
    assert [list(row) for row in rows] == 2 * [["protocol", "footprint"]]
    shares = [row["footprint"] for row in rows]
    assert shares == sorted(shares, reverse=order != ("footprint",))
    table = run_cli("compare", *options)[1].splitlines()
    assert table[1].split() == ["protocol", "footprint"]
    assert [line.split()[0] for line in table[3:5]] == [row["protocol"] for row in rows]


@pytest.mark.parametrize("option", [("--sort", "latency"), ("--where", "train>=0")])
def test_a_column_that_the_user_names_is_not_left_out(shown, monkeypatch, option):
    name = re.match(r"\w+", option[1])[0]
    assert name in shown("compare", 80).split("Not shown: ")[1]
    monkeypatch.setitem(COMMANDS, "compare", ("compare", *option))
    table, _, left_out = shown("compare", 80).partition("Not shown: ")
    assert name in table
    assert name not in re.split(r", | \(", left_out)
    monkeypatch.setitem(COMMANDS, "compare", ("compare", "--columns", "train,latency,footprint"))
    assert "Not shown" not in shown("compare", 30)


def test_all_mistakes_in_the_options_of_compare_are_reported_together(run_cli):
    options = ("--where", "footprnt<1", "--where", "size<x", "--sort", "a", "--columns", "b")
    status, out, err = run_cli("compare", *options)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 4
    assert "did you mean 'footprint'?" in err


COSTS = ("14.98 M", "100.0 %", "627.47 M (100 %)", "123.45 ms", "1234.56 ms", "12345.6 s")
RESULT = ("pfa-distill int8-qat", "100.00 % ± 10.25 (89.75 to 100.00)", "59.92 MB", *COSTS)
TIMES = ("12.34 ms (11.9 to 12.8)", "15.67 ms", "123.45 ms (119 to 128)", "156.78 ms")
#: The widest row that each command usually prints.
TABLES = {
    "adapt": (COLUMNS, RESULT),
    "runtimes": (RUNTIME_COLUMNS, ("compressed", "onnx-int8 (int8-qat)", *TIMES)),
    "analyze": (
        RECIPE_COLUMNS,
        ("features.denseblock4.conv2", "2048", "1024", "512", "12.345 nats", "100.00 %"),
    ),
    "shrink": (
        SEARCH_COLUMNS,
        ("network-slimming at 0.625 %", "chosen", "100.00 % (93.7 to 100.0)", "34.9 M", "100.0 %",
         "100.0 %", "160", "10"),
    ),
    "quantize": (
        COMPARED_COLUMNS,
        ("int8-qat", "100.0 %", "650.55 kB", "onnxruntime (int8)", "12.3 ms", "1234 ms"),
    ),
    "compare": (
        [RUN_COLUMNS[name].header for name in SHOWN],
        ("digits-3v8", "vgg16-convolutional", "pfa-en footprint 0.25 multiple-of 8",
         "160 epochs, one-cycle, lr 0.05, on validation images", "10", *RESULT),
    ),
    "domains": (
        ("domain", "source", "classes", "train images", "test images"),
        ("products-of-the-long-name", "a-folder-of-images", "1,000", "1,281,167", "50,000"),
    ),
}  # fmt: skip


def printed(table):
    """The lines of a table, as a terminal that is wide enough shows them."""
    if isinstance(table.body, tuple):
        return list(table.body)
    console = Console(file=io.StringIO(), width=table.width, highlight=False)
    console.print(table.body)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", TABLES)
def test_every_table_fits_and_cuts_no_value(name, width):
    columns, row = TABLES[name]
    table = fitting_table(columns, [row, row], width)
    lines = printed(table)
    text = "\n".join(lines)
    assert max(map(cell_len, lines)) <= max(width, 2 + max(map(len, row)))
    assert max(map(cell_len, lines)) <= width or width == 40, "names may be longer than 40"
    assert "…" not in text
    for column, value in zip(columns, row, strict=True):
        if column not in table.left_out:
            for part in value.split(" (", 1):
                assert part.rstrip(")") in text


@pytest.mark.parametrize("name", TABLES)
def test_a_wider_terminal_shows_no_less_and_a_file_everything(name):
    columns, row = TABLES[name]
    tables = [fitting_table(columns, [row], width) for width in (60, 80, 120, 400)]
    for narrow, wide in pairwise(tables):
        if not isinstance(narrow.body, tuple):  # stacked rows show everything
            assert set(wide.left_out) <= set(narrow.left_out)
    assert tables[-1].left_out == ()
    whole = printed(fitting_table(columns, [row], None))
    assert all(value in whole[3] for value in row)


def test_wide_characters_count_twice():
    row = ("動" * 20, "100.00 %")
    lines = printed(fitting_table(("protocol", "accuracy"), [row], 45))
    assert max(map(cell_len, lines)) <= 45


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_the_list_of_domains_fits(run_cli, monkeypatch, width):
    whole = run_cli("domains", "--data-dir", "nowhere")[1]
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        patch.setattr(type(sys.stdout), "isatty", lambda stream: True)
        status, out, err = run_cli("domains", "--data-dir", "nowhere")
    assert status == 0, err
    out = re.sub(r"\x1b\[[0-9;]*m", "", out)
    table = out.split("Not shown")[0].split("-: the images")[0]
    assert max(map(len, table.splitlines())) <= width
    assert "digits-3v8" in table
    assert (out == whole) == (width >= 60)
