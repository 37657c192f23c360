"""Tables on terminals of any width: whole numbers, and a note about what is not shown."""

import re
import sys

import pytest

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
