"""Options as a file: read strictly, beaten by the command line, and stored with every run."""

import json
from pathlib import Path
from types import NoneType

import numpy as np
import pytest
import yaml

from workbench.adaptation.options.option_files import TYPES, override, read_options
from workbench.adaptation.options.recorded_options import (
    adaptation_options,
    read_recorded,
    source_options,
)
from workbench.adaptation.settings import OPTIONS, Settings
from workbench.adaptation.tasks.source_task import SourceSettings, resolve_source
from workbench.adaptation.tasks.task import resolve
from workbench.adaptation.trainings.source_training import source_task_of
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


def test_numbers_that_python_code_gives_as_text_are_one_line_each():
    names = [name for name, kinds in TYPES["adapt"].items() if {*kinds} <= {int, float, NoneType}]
    assert {"epochs", "flops", "lr", "min_share"} <= {*names}
    for some in (names[:20], names[20:]):  # an error has at most 40 lines
        with pytest.raises(SettingsError) as caught:
            Settings.of(source="digits", target="digits-0v1", **dict.fromkeys(some, "0.1"))
        lines = tuple(f"{name}: '0.1' is text; give a number" for name in some)
        assert caught.value.problems == lines
    of_numpy = {"epochs": np.int64(3), "flops": np.float64(0.5)}
    assert Settings.of(source="digits", target="digits-0v1", **of_numpy).recipe.flops == 0.5


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
        ("epochs: -5", "epochs", -5),
        ("first_seed: 99999999999999999999999", "first_seed", 99999999999999999999999),
        ("lr: -1", "lr", -1.0),
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


def test_a_stored_file_has_what_was_asked_for_and_whole_paths():
    Path("nets").mkdir()
    Path("nets/a.safetensors").touch()
    Path("domains").mkdir()
    Path("domains/d.yaml").write_text("name: d\nsource: digits\nclasses: [1, 2]\n")
    settings = Settings.of(
        source="digits", target="d", weights="nets/a.safetensors", seeds=2, method="uniform",
        fresh=True,
    )  # fmt: skip
    text = adaptation_options(resolve(settings))
    assert text.startswith("# workbench adapt --config")
    assert text.endswith("# end of options\n")
    assert yaml.safe_load(text) == {
        "source": "digits",
        "target": "d",
        "weights": str(Path("nets/a.safetensors").absolute()),
        "domains": str(Path("domains").absolute()),
        "method": "uniform",
        "seeds": 2,
    }  # neither the head nor the footprint that these options come to


@pytest.mark.parametrize(
    ("given", "typed", "left"),
    [
        ({"source_epochs": 1}, {"weights": "w"}, {"weights": "w"}),
        ({"weights": "w"}, {"source_epochs": 2}, {"source_epochs": 2}),
        ({"energy": 0.9, "seeds": 2}, {"flops": 0.5}, {"flops": 0.5, "seeds": 2}),
        (
            {"method": "pfa-en", "energy": 0.9}, {"method": "fp"}, {"method": "fp"},
        ),
        (
            {"method": "fp", "footprint": 0.2, "draw": 1}, {"method": "pfa-kl"},
            {"method": "pfa-kl", "footprint": 0.2},
        ),
        (
            {"method": "fp", "footprint": "pfa-kl"}, {"method": "pfa-kl"}, {"method": "pfa-kl"},
        ),
        (
            {"method": "fp", "footprint": 0.2}, {"method": "uniform"},
            {"method": "uniform", "footprint": 0.2},
        ),
        ({"seeds": 3}, {"seeds": 1}, {"seeds": 1}),
        ({"method": "vib", "gate_epochs": 2}, {"method": "fpgm"}, {"method": "fpgm"}),
        (
            {"method": "vib", "gate_epochs": 2}, {"method": "gal", "gate_penalty": 2},
            {"method": "gal", "gate_epochs": 2, "gate_penalty": 2},
        ),
        (
            {"recipe": "uniform", "selection": "vib", "gate_penalty": 2}, {"recipe": "pfa-kl"},
            {"recipe": "pfa-kl", "selection": "vib", "gate_penalty": 2},
        ),
        (
            {"recipe": "vib", "selection": "pfa", "gate_epochs": 2}, {"recipe": "uniform"},
            {"recipe": "uniform", "selection": "pfa"},
        ),
        (
            {"stages": "sparse,multi-exit", "mask_sparsity": 0.5, "exits": 2},
            {"stages": "lottery"},
            {"stages": "lottery", "mask_sparsity": 0.5},
        ),
        ({"stages": ["sparse"], "mask_epochs": 2}, {"stages": ""}, {"stages": ""}),
        (
            {"stages": "sparse", "exits": 2}, {"seeds": 1},
            {"stages": "sparse", "exits": 2, "seeds": 1},
        ),
    ],
)  # fmt: skip
def test_what_is_typed_drops_what_contradicts_it(given, typed, left):
    assert override(given, typed) == left


def test_flags_of_a_file_can_be_turned_off(run_cli):
    write(f"{QUICK}strict: true\nfresh: true\n")
    call = ("adapt", "--config", "options.yaml", "--no-strict", "--no-fresh", "--json")
    assert run_cli(*call)[0] == 0
    assert json.loads(run_cli(*call)[1])["trained"] == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("map: sqrt", "unknown option; did you mean 'gamma_map'?"),
        ("json: true", "is an option of the command line only"),
        ("model: ''", "an empty value is not text"),
        ("weights: [a]", "a list is not a path"),
        ("seeds: 1.5", "'1.5' is not a whole number"),
        ('output: "a\\0b"', "a path cannot have a NUL character"),
        ("data_dir: ~nobody_at_all/x", "this home folder does not exist"),
        ("reflect_crops: true", "is an option of 'train', not of 'adapt'"),
    ],
)
def test_the_reason_fits_the_mistake(run_cli, line, said):
    write(f"{QUICK}{line}\n")
    status, out, err = run_cli("adapt", "--config", "options.yaml", "--dry-run")
    assert (status, out) == (2, "")
    (problem,) = err.splitlines()
    assert said in problem
    assert "options.yaml:9: " in problem


def test_a_wrong_count_is_reported_with_the_other_mistakes(run_cli):
    status, _, err = run_cli(
        "adapt", "--source", "digits", "--target", "digits-0v1", "--method", "pfa-en",
        "--params", "lots", "--seeds", 0,
    )  # fmt: skip
    assert (status, len(err.splitlines())) == (2, 2)


def test_a_source_folder_starts_at_the_file(draw_folder, run_cli):
    draw_folder(Path("sub/photos"), {"a": 6, "b": 6})
    write("source: photos\ntarget: photos\nepochs: 1\nsource_epochs: 1\n", "sub/o.yaml")
    options = read_options(Path("sub/o.yaml"), TYPES["adapt"], "adapt")
    assert options["source"] == options["target"] == "sub/photos"


def test_a_damaged_file_of_a_run_is_reported_and_written_again(run_cli):
    write(QUICK)
    call = ("adapt", "--config", "options.yaml", "--json")
    run_id = json.loads(run_cli(*call)[1])["run_id"]
    (path,) = Path("mlruns").rglob(f"{run_id}/artifacts/options.yaml")
    whole = path.read_bytes()
    for damaged in (whole[:60], b""):
        path.write_bytes(damaged)
        status, _, err = run_cli("adapt", "--like", run_id)
        assert (status, len(err.splitlines())) == (2, 1)
        assert f"{path} is damaged; run the command of that run again" in err
        assert json.loads(run_cli(*call)[1])["trained"] == 0
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("recorded", "method"),
    [
        ("flops: 0.1\n", "pfa-kl"),  # by a version with one default
        ("selection: fp\nlatency_ms: 1\n", "pfa-kl"),
        ("method: pfa-cost\nselection: fp\nflops: 0.1\n", "pfa-cost"),
        ("epochs: 3\n", None),
    ],
)
def test_a_run_with_a_budget_is_repeated_with_the_method_of_its_version(recorded, method):
    write(recorded)
    options = read_recorded(Path("options.yaml"), TYPES["adapt"], "adapt")
    assert options.get("method") == method


def test_a_run_can_be_repeated_for_another_kind_of_target(run_cli, draw_folder):
    draw_folder(Path("photos"), {"a": 6, "b": 6}, size=(8, 8))
    write("name: photos\nfolder: photos\n", "photos.yaml")
    Path("domains").mkdir()
    write("name: photos\nfolder: ../photos\n", "domains/photos.yaml")
    write(QUICK)
    run_id = json.loads(run_cli("adapt", "--config", "options.yaml", "--json")[1])["run_id"]
    status, out, err = run_cli("adapt", "--like", run_id, "--target", "photos", "--dry-run")
    assert status == 0, err
    assert "target      photos" in out


def test_the_options_of_a_source_training_are_those_that_were_asked_for():
    asked = SourceSettings(source="digits", epochs=1, precision="bf16", device="cpu", seed=3)
    assert yaml.safe_load(source_options(resolve_source(asked))) == {
        "source": "digits", "epochs": 1, "precision": "bf16", "device": "cpu", "seed": 3,
    }  # fmt: skip
    whole = ("target", "protocols", "seeds")
    options = {name: value for name, value in yaml.safe_load(QUICK).items() if name not in whole}
    task = resolve(Settings.of(**options, target="digits-0v1", precision="bf16"))
    assert yaml.safe_load(source_options(source_task_of(task))) == {
        "source": "digits", "epochs": 1, "schedule": "one-cycle", "precision": "bf16",
    }  # fmt: skip
