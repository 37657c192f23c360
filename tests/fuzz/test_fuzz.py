"""Damaged files and wrong values: an error for users, never a traceback, a hang or a full memory.

    make chaos

FUZZ_MUTANTS=N makes N mutants in all, FUZZ_SEED=N others. A failing mutant is named by its number;
it is the same in every call with this seed.
"""

import os
import random
import sys

import pytest
from command_lines import command_lines
from file_kinds import file_kinds, image_files, weights_file
from limits import Fault, fault_of

from workbench.experiments import cell_kinds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MUTANTS = int(os.environ.get("FUZZ_MUTANTS", "300"))
#: Shares of the mutants: most are read by a function, some by a whole command.
_READ, _COMMANDS, _OPTIONS = 0.9, 0.05, 0.05


def _number(share, kinds=1):
    return max(1, round(MUTANTS * share / kinds))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return file_kinds(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def pets(tmp_path, draw_folder):
    """An image folder beside the mutants."""
    return draw_folder(tmp_path / "pets", {"a": 6, "b": 6})


NAMES = (
    "domain", "options", "recipe", "recipe of a run", "cell", "weights", "pickle", "packed",
    "image", "rows",
)  # fmt: skip


def _mutant(kinds, name, number):
    drawing = random.Random(f"{name} {number} {SEED}")
    kind = kinds[name]
    return kind.damage(drawing, drawing.choice(kind.whole))


def test_every_kind_is_listed_and_whole_files_are_read(kinds, pets, tmp_path):
    assert tuple(kinds) == NAMES
    for kind in kinds.values():
        for content in kind.whole:
            path = tmp_path / f"mutant{kind.suffix}"
            path.write_bytes(content)
            kind.read(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_mutant_depends_on_its_number_only(kinds, name):
    first = [_mutant(kinds, name, number) for number in range(20)]
    assert [_mutant(kinds, name, number) for number in reversed(range(20))] == first[::-1]
    assert len(set(first)) > 10


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_an_error_for_users(kinds, name, pets, tmp_path):
    kind, faults = kinds[name], []
    for number in range(_number(_READ, len(NAMES))):
        path = tmp_path / f"mutant{kind.suffix}"
        path.write_bytes(_mutant(kinds, name, number))
        found = fault_of(f"{name} {number}", lambda path=path: kind.read(path), kind.allowed)
        if found:
            faults.append(found)
            path.rename(tmp_path / f"fault-{number}{kind.suffix}")
    assert faults == []


@pytest.fixture
def places(tmp_path, pets):
    """Paths that stand for words of a command line: an image folder, a network, a pipe."""
    network = tmp_path / "network.safetensors"
    network.write_bytes(weights_file())
    os.mkfifo(tmp_path / "pipe")
    for number, content in enumerate(image_files()):
        (pets / "a" / f"more-{number}.png").write_bytes(content)
    places = {"FOLDER": pets, "NETWORK": network, "PIPE": tmp_path / "pipe"}
    return {name: str(path) for name, path in places.items()}


def _run(run_cli, mutant, words):
    """Run a command line; the fault that it shows, or None."""
    outcome = []
    found = fault_of(mutant, lambda: outcome.append(run_cli(*words)))
    if not outcome:
        return found
    status, _, err = outcome[0]
    if status not in (0, 1, 2) or "Traceback" in err or (status and not err.strip()):
        return Fault(mutant, f"status {status}: {err[-300:]}")
    return found


def test_a_command_with_a_damaged_file_ends_with_a_line(
    kinds, places, run_cli, tmp_path, monkeypatch
):
    monkeypatch.setattr(cell_kinds, "_execute", _found_at_once)
    read_alone = [name for name in NAMES if kinds[name].command]
    faults = []
    for number in range(_number(_COMMANDS)):
        name = read_alone[number % len(read_alone)]
        kind = kinds[name]
        path = tmp_path / f"mutant{kind.suffix}"
        path.write_bytes(_mutant(kinds, name, -1 - number))
        words = [_filled(word, {**places, "FILE": str(path)}) for word in kind.command]
        if found := _run(run_cli, f"{name} {-1 - number}", words):
            faults.append(found)
    assert faults == []
    assert not list(tmp_path.rglob("*.part"))


def _found_at_once(cell, prepared):
    """Instead of a training, which could be a long one."""
    raise cell_kinds.SettingsError("enough")


def _filled(word, places):
    for name, path in places.items():
        word = word.replace(name, path)
    return word


def test_wrong_values_of_options_are_lines(places, run_cli, tmp_path):
    faults = []
    for number, words in command_lines(SEED, _number(_OPTIONS)):
        filled = [_filled(word, places) for word in words]
        if found := _run(run_cli, f"options {number}", filled):
            faults.append((found, filled))
    assert faults == []
