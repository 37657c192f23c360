"""Options as a file: read strictly, beaten by the command line, and stored with every run."""

import json
from pathlib import Path

import pytest
import yaml

from workbench.adaptation.option_files import TYPES, adaptation_options, read_options
from workbench.adaptation.settings import OPTIONS, Settings
from workbench.errors import SettingsError
from workbench.store.mlflow_store import Store

QUICK = """
source: digits
target: digits-0v1
source_epochs: 1
epochs: 1
schedule: one-cycle
batch_size: 64
protocols: [pfa-fine]
"""


def write(text, name="options.yaml"):
    path = Path(name)
    path.write_text(text)
    return path


def test_every_option_of_adapt_may_stand_in_a_file():
    assert set(TYPES["adapt"]) == set(OPTIONS)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("seeds: 3", "seeds", 3),
        ("lr: 0.05", "lr", 0.05),
        ("lr: 1", "lr", 1.0),
        ("weight_decay: 5.0e-4", "weight_decay", 5e-4),
        ("strict: true", "strict", True),
        ("strict: false", "strict", False),
        ("protocols: [pfa-fine, full-fine]", "protocols", ["pfa-fine", "full-fine"]),
        ("protocols: pfa-fine,full-fine", "protocols", "pfa-fine,full-fine"),
        ("footprint: 0.25", "footprint", 0.25),
        ("footprint: pfa-kl", "footprint", "pfa-kl"),
        ("weights: DEFAULT", "weights", Path("DEFAULT")),
        ("weights: nets/a.safetensors", "weights", Path("sub/nets/a.safetensors")),
        ("source: ../photos", "source", "sub/../photos"),
        ("energy: null", "energy", None),
        ("params: 2.5M", "params", "2.5M"),
        ("params: 2500000", "params", 2500000),
    ],
)
def test_values_have_the_types_of_their_options(line, name, value):
    Path("sub").mkdir()
    (read,) = read_options(write(f"{line}\n", "sub/o.yaml"), TYPES["adapt"], "adapt").items()
    assert read == (name, value)


def test_all_mistakes_of_a_file_are_reported_together_with_their_lines():
    path = write("seeds: many\nstrct: true\nlr: fast\nstrict: 1\nprotocols: {a: b}\nseeds: 2\n")
    with pytest.raises(SettingsError) as caught:
        read_options(path, TYPES["adapt"], "adapt")
    lines = "\n".join(caught.value.problems)
    assert "strct: unknown option; did you mean 'strict'?" in lines
    assert "lr: 'fast' is not a number" in lines
    assert "strict: '1' is not true or false" in lines
    assert "protocols: '{...}' is not a list of names or text" in lines
    assert "options.yaml:6: seeds: the key is listed twice" in lines
    assert len(caught.value.problems) == 5, lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "options.yaml: the file is empty"),
        ("- a\n", "found no 'key: value' lines"),
        ("target: !!python/name:os.system\n", "is not allowed"),
        ("target: [", "not YAML"),
    ],
)
def test_a_file_that_is_no_list_of_options_is_one_line(run_cli, text, said):
    write(text)
    status, out, err = run_cli("adapt", "--config", "options.yaml")
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert said in line
    assert not Path("mlruns").exists()


def test_the_command_line_wins_over_the_file(run_cli):
    write(f"{QUICK}seeds: 2\nmethod: pfa-en\nenergy: 0.5\n")
    call = ("adapt", "--config", "options.yaml", "--dry-run", "--json")
    status, out, err = run_cli(*call, "--seeds", 1, "--target", "digits-3v8")
    assert status == 0, err
    settings = json.loads(out)["settings"]
    assert (settings["seeds"], settings["target"], settings["energy"]) == (1, "digits-3v8", 0.5)
    # An option that is typed with its default's value counts as typed.
    status, out, _ = run_cli(*call, "--footprint", 0.9)
    assert (status, json.loads(out)["settings"].get("footprint")) == (0, 0.9)


def test_required_options_come_from_the_file_or_are_missed(run_cli):
    write("epochs: 1\n")
    status, _, err = run_cli("adapt", "--config", "options.yaml", "--source", "digits")
    assert status == 2
    assert "Missing option '--target'." in err


def test_a_run_is_repeated_from_its_own_file(run_cli):
    write(QUICK)
    status, out, err = run_cli("adapt", "--config", "options.yaml", "--json")
    assert status == 0, err
    first = json.loads(out)
    assert first["trained"] == 1
    status, out, err = run_cli("adapt", "--like", first["run_id"], "--json")
    assert status == 0, err
    assert (json.loads(out)["trained"], json.loads(out)["run_id"]) == (0, first["run_id"])
    # Every run of it has such a file, and each finds itself again.
    store = Store()
    runs = {run.tags["workbench.kind"]: run for run in store.runs(["1"], {})}
    assert runs.keys() == {"adapt", "analysis", "protocol", "source"}
    for kind in ("protocol", "analysis"):
        status, out, err = run_cli("adapt", "--like", runs[kind].run_id, "--json")
        assert (status, json.loads(out)["trained"]) == (0, 0), err
    call = ("train", "--like", runs["source"].run_id, "--out", "net.safetensors")
    status, out, err = run_cli(*call)
    assert status == 0, err
    assert "found in the store" in err
    status, _, err = run_cli("adapt", "--like", runs["source"].run_id)
    assert status == 2
    assert "is a run of kind 'source'; use 'workbench train --like" in err
    status, _, err = run_cli("adapt", "--like", "0" * 32)
    assert (status, len(err.splitlines())) == (2, 1)


def test_a_stored_file_has_what_differs_from_the_defaults_and_whole_paths():
    settings = Settings.of(
        source="cifar100", target="S2", weights="nets/a.safetensors", seeds=2,
        tracking_uri="postgresql://me:secret@host/db", fresh=True,
    )  # fmt: skip
    text = adaptation_options(settings)
    assert text.startswith("# workbench adapt --config")
    assert yaml.safe_load(text) == {
        "source": "cifar100",
        "target": "S2",
        "weights": str(Path("nets/a.safetensors").absolute()),
        "seeds": 2,
    }
