"""Recipes as files, and the choice of layers: strictly read, and through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from workbench.compression.groups.structure import FilterGroup, ResponsePoint, Structure
from workbench.compression.recipes.layer_options import left_out_layers
from workbench.compression.recipes.recipe_files import read_recipe_file, recipe_yaml
from workbench.compression.recipes.recipes import LayerRecipe, Recipe
from workbench.errors import SettingsError
from workbench.models.networks import build_network
from workbench.reporting.recipe_text import bottleneck_warning
from workbench.store.mlflow_store import Store

GIVEN = ("--source", "digits", "--target", "digits-3v8")


def make_group(name, filters, *others, blocks=1):
    return FilterGroup(name, filters, (name, *others), ResponsePoint(name), blocks)


NET = Structure(
    groups=(
        make_group("conv1", 8),
        make_group("0.1", 6, "shared"),
        make_group("grouped", 8, blocks=4),
    ),
    classifier=make_group("head", 3),
    uncompressed={"gate": "its output is an attention"},
)


def fixed(text, name="recipe.yaml"):
    Path(name).write_text(text)
    return read_recipe_file(Path(name)).fixed(NET)


def problems(text, name="recipe.yaml"):
    with pytest.raises(SettingsError) as caught:
        fixed(text, name)
    return caught.value.problems


def recipe(**kept):
    return Recipe("pfa-kl", 9, tuple(layer(name, 40, range(k)) for name, k in kept.items()))


def layer(name, filters, kept, active=None):
    shares = tuple(np.full(filters, 1 / filters).tolist())
    active = filters if active is None else active
    return LayerRecipe(name, filters, tuple(kept), len(kept), active, 0.0, 1.0, shares)


# --- reading --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("conv1: 3\n0.1: {keep: [5, 0, 2], filters: 6}\n", "recipe.yaml"),
        ('{"conv1": {"keep": 3}, "0.1": {"keep": [0, 2, 5]}}', "recipe.json"),
        ("# a comment\n'0.1':\n  keep:\n  - 0\n  - 2\n  - 5\nconv1: {keep: 3}\n", "other.yml"),
    ],
)
def test_counts_and_kept_filters_are_read(text, name):
    found = fixed(text, name)
    assert found["conv1"].keep == 3
    assert found["0.1"].keep == (0, 2, 5)
    assert (found["grouped"].keep, found["grouped"].why) == (8, "not named in the recipe file")
    # The content alone is the recipe's identity: not the name, the order or the format.
    digest = read_recipe_file(Path(name)).digest
    Path("moved.json").write_text(read_recipe_file(Path(name)).to_json())
    assert read_recipe_file(Path("moved.json")).digest == digest
    Path("moved.json").write_text('{"conv1": 3, "0.1": {"keep": [0, 2, 4]}}')
    assert read_recipe_file(Path("moved.json")).digest != digest


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("conv1: 0", "conv1: the number of filters kept is '0', not a whole number from 1 on"),
        ("conv1: 2.5", "conv1: the number of filters kept is '2.5'"),
        ("conv1: true", "conv1: the number of filters kept is 'true'"),
        ("conv1: 9", "conv1: cannot keep 9 of 8 filters"),
        ("conv1: [1, 2]", "conv1: a list does not say what its filters are; write {keep: [...]}"),
        ("conv1: {keep: []}", "conv1: keeps no filter; a layer keeps at least one"),
        ("conv1: {keep: [1, 1]}", "conv1: lists filter 1 twice"),
        ("conv1: {keep: [1, 8]}", "conv1: cannot keep filter 8: its filters are 0 to 7"),
        ("conv1: {keep: [-1]}", "conv1: a kept filter is '-1', not a whole number from 0 on"),
        ("conv1: {keep: [[1]]}", "conv1: a kept filter is '[...]'"),
        ("conv1: {kept: [1]}", "conv1: unknown key 'kept'; did you mean 'keep'?"),
        ("conv1: {filters: 8}", "conv1: does not say what is kept"),
        ("conv1: {keep: 3, filters: 9}", "conv1: has 9 filters in the file and 8 in this network"),
        ("conv1: {keep: 3, keep: 4}", "conv1: a key is listed twice"),
        ("conv1: !!python/name:os.system", "is not allowed"),
        ("conv1: &x 3", None),
        ("conv2: 3", "conv2: no layer has this name; did you mean 'conv1'?"),
        ("shared: 3", "shared: shares its filters with '0.1'; name that one"),
        ("head: 3", "head: is the classifier, whose filters are the classes; leave it out"),
        ("gate: 3", "gate: is not compressed anyway: its output is an attention; leave it out"),
        ("grouped: 6", "grouped: cannot keep 6 filters: grouped convolutions need a multiple of 4"),
        ("grouped: {keep: [0, 1, 2, 4]}", "block 0 keeps 2, block 3 keeps 0"),
        ("grouped: {keep: [0, 3, 4, 7]}", None),
    ],
)
def test_a_mistake_is_one_line_with_its_place(entry, said):
    if said is None:
        assert fixed(f"{entry}\n")
        return
    (line,) = problems(f"0.1: 2\n{entry}\n")
    assert said in line
    assert line.startswith("recipe.yaml:2: ")


def test_all_mistakes_of_a_file_are_reported_together():
    lines = problems("conv1: [1]\nconv1: 2\n0.1: 7\nnet: 1\ngrouped: x\n")
    assert [line.split(": ")[0] for line in lines] == [
        "recipe.yaml:2", "recipe.yaml:5", "recipe.yaml:3", "recipe.yaml:4",
    ]  # fmt: skip
    lines = problems('{"conv1": null, "0.1": 7, "net": 1, "net": 2}', "recipe.json")
    assert [line.split(": ")[1] for line in lines] == ["net", "conv1", "0.1", "net"]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("", "r.yaml", "r.yaml: the file is empty; it needs lines such as 'features.0: 20'"),
        ("- conv1\n", "r.yaml", "r.yaml:1: found no 'key: value' lines"),
        ("conv1: [", "r.yaml", "r.yaml:1: not YAML"),
        ("{", "r.json", "r.json: not JSON"),
        ("[]", "r.json", "r.json: has no layers"),
        ('{"layers": [{"layer": "conv1"}]}', "r.json", "r.json: a layer lacks its name"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(text, name, said):
    Path(name).write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_recipe_file(Path(name))
    (line,) = caught.value.problems
    assert said in line


def test_a_written_recipe_is_read_back():
    made = Recipe(
        "pfa-kl", 9, (layer("conv1", 8, [1, 4]), layer("0.1", 6, range(6)))
    )  # fmt: skip
    found = fixed(recipe_yaml(made, ["two", "comments"]))
    assert (found["conv1"].keep, found["0.1"].keep) == ((1, 4), 6)
    found = fixed(made.to_json(), "run.json")
    assert (found["conv1"].keep, found["0.1"].keep) == ((1, 4), tuple(range(6)))


# --- the choice of layers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "skip", "left"),
    [
        ([], [], []),
        (["conv*"], [], ["0.1", "grouped"]),
        ([], ["conv1", "g*"], ["conv1", "grouped"]),
        (["*"], ["0.?"], ["0.1"]),
    ],
)
def test_layers_are_chosen_by_globs(only, skip, left):
    found = left_out_layers(NET, only, skip)
    assert list(found) == left
    for group in NET.groups:
        if group.name in left:
            assert found[group.name].count == group.filters
            assert "by --" in found[group.name].why


@pytest.mark.parametrize(
    ("only", "skip", "said"),
    [
        (["convs"], [], "--only convs: no layer has such a name; did you mean 'conv1'?"),
        ([], ["shar*"], "--skip shar*: shared shares its filters with '0.1'; name that one"),
        ([], ["shared"], "--skip shared: shares its filters with '0.1'; name that one"),
        ([], ["gate"], "--skip gate: is not compressed anyway: its output is an attention"),
        ([], ["head"], "--skip head: is the classifier"),
        ([], ["*"], "--only and --skip leave no layer to compress"),
    ],
)
def test_a_glob_that_matches_nothing_is_an_error(only, skip, said):
    with pytest.raises(SettingsError) as caught:
        left_out_layers(NET, only, skip)
    (line,) = caught.value.problems
    assert said in line


# --- bottlenecks -----------------------------------------------------------------------------


def test_the_narrowest_layer_is_named():
    assert bottleneck_warning(recipe(a=2, b=40)) == []  # exactly 5 %
    (line,) = bottleneck_warning(recipe(a=2, b=1, c=1))
    assert "b keeps only 1 of 40 filters, and 1 more layer keeps less than 5%" in line
    assert "--min-share 0.05" in line
    silent = Recipe("pfa-en", 9, (layer("a", 40, [3], active=1), layer("b", 40, [0], active=0)))
    assert bottleneck_warning(silent) == []


# --- through the command line ----------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "source.safetensors"
    save_file(build_network("simplecnn", (1, 8, 8), 10, seed=1).state_dict(), path)
    return path


@pytest.fixture
def call(run_cli, weights):
    def run(command, *options):
        given = (*GIVEN, "--weights", weights, *options, "--json")
        status, out, err = run_cli(command, *given)
        assert status == 0, err
        return json.loads(out), err

    return run


QUICK = ("--epochs", 1, "--schedule", "one-cycle", "--protocols", "pfa-fine")
TRAIN = (*QUICK[:-1], "pfa-fine,pfa-scratch")


def test_a_recipe_of_analyze_is_the_same_network_in_every_protocol(call):
    given = ("--method", "pfa-en", "--footprint", 0.001)
    made, err = call("analyze", *given, "--out", "r.yaml")
    assert "warning: features." in err
    assert "such a bottleneck costs accuracy: try --min-share 0.05" in err
    first, _ = call("adapt", *given, *TRAIN)
    assert first["trained"] == 2
    again, _ = call("adapt", "--recipe-file", "r.yaml", *TRAIN)
    assert again["trained"] == 0  # the same filters are the same trainings
    rows = {row["layer"]: row["kept_indices"] for row in made["recipe"]}
    found, _ = call("analyze", "--recipe-file", "r.yaml")
    assert found["method"] == "file"
    assert {row["layer"]: row["kept_indices"] for row in found["recipe"]} == rows
    # So is the artifact of the run.
    (stored,) = Path("mlruns").rglob(f"{again['run_id']}/artifacts/recipe-file.json")
    analysis = next(run for run in Store().runs(["1"], {}) if run.params["method"] == "pfa-en")
    (artifact,) = Path("mlruns").rglob(f"{analysis.run_id}/artifacts/recipe.json")
    assert read_recipe_file(artifact).digest == read_recipe_file(stored).digest
    other, _ = call("analyze", "--recipe-file", artifact)
    assert other["recipe"] == found["recipe"]


def test_a_recipe_made_by_hand_is_recorded_with_its_content(call, run_cli):
    Path("mine.yaml").write_text("features.0: 20\nfeatures.3: {keep: [0, 3, 5]}\n")
    result, _ = call("adapt", "--recipe-file", "mine.yaml", *QUICK, "--selection", "fp")
    assert result["trained"] == 1
    runs = {run.run_id: run for run in Store().runs(["1"], {})}
    adaptation = runs[result["run_id"]]
    digest = read_recipe_file(Path("mine.yaml")).digest
    assert (adaptation.params["method"], adaptation.params["recipe_file"]) == ("file", digest)
    rows = json.loads(next(Path("mlruns").rglob("recipe.json")).read_text())["layers"]
    kept = {row["layer"]: row["kept_indices"] for row in rows}
    assert (len(kept["features.0"]), kept["features.3"]) == (20, [0, 3, 5])
    assert len(kept["features.6"]) == 96
    Path("mine.yaml").unlink()
    # Without the file, the run repeats itself from its own record, and is exported.
    again, _ = repeated(run_cli, "adapt", "--like", result["run_id"])
    assert (again["trained"], again["run_id"]) == (0, result["run_id"])
    pfa_fine = next(r for r in runs.values() if r.params["protocol"] == "pfa-fine")
    again, _ = repeated(run_cli, "adapt", "--like", pfa_fine.run_id)
    assert again["trained"] == 0
    status, _, err = run_cli("export", pfa_fine.run_id, "--out", "net.safetensors")
    assert status == 0, err
    assert load_file("net.safetensors")["features.3.weight"].shape[:2] == (3, 20)
    # Another method replaces the file.
    plan, _ = repeated(
        run_cli, "adapt", "--like", result["run_id"], "--method", "uniform", "--selection", "pfa",
        "--dry-run",
    )  # fmt: skip
    assert (plan["settings"]["method"], "recipe_file" in plan["settings"]) == ("uniform", False)
    (stored,) = Path("mlruns").rglob(f"{result['run_id']}/artifacts/recipe-file.json")
    stored.unlink()
    status, _, err = run_cli("adapt", "--like", result["run_id"])
    assert (status, len(err.splitlines())) == (2, 1)
    assert "the run's recipe-file.json is missing" in err


def repeated(run_cli, *words):
    status, out, err = run_cli(*words, "--json")
    assert status == 0, err
    return json.loads(out), err


def test_layers_that_are_left_out_keep_all_filters_within_the_budget(call):
    options = ("--method", "pfa-cost", "--footprint", 0.3, "--skip", "features.[03],*.16")
    found, _ = call("analyze", *options, "--out", "r.yaml")
    rows = {row["layer"]: row for row in found["recipe"]}
    whole = {name for name, row in rows.items() if row["kept"] == row["filters"]}
    assert whole >= {"features.0", "features.3", "features.16"}
    assert 0.27 <= found["footprint"] <= 0.3
    assert found["uncompressed"]["features.3"] == "named by --skip features.[03],*.16"
    left = ("features.0", "features.3", "features.16")
    others = ",".join(name for name in rows if name not in left)
    same, _ = call("analyze", "--method", "pfa-cost", "--footprint", 0.3, "--only", others)
    assert same["recipe"] == found["recipe"]
    # The file that was written is the same network.
    again, _ = call("analyze", "--recipe-file", "r.yaml")
    for row in again["recipe"]:
        assert row["kept_indices"] == rows[row["layer"]]["kept_indices"]


def test_the_plan_knows_the_same_keys(call):
    Path("mine.yaml").write_text("features.0: 20\n")
    call("adapt", "--recipe-file", "mine.yaml", *QUICK)
    Path("mine.yaml").write_text("# the same, elsewhere\n'features.0': {keep: 20}\n")
    Path("mine.yaml").rename("moved.yaml")
    plan, _ = call("adapt", "--recipe-file", "moved.yaml", *QUICK, "--dry-run")
    assert {step["state"] for step in plan["steps"]} == {"done"}, plan["steps"]
    Path("moved.yaml").write_text("features.0: 21\n")
    plan, _ = call("adapt", "--recipe-file", "moved.yaml", *QUICK, "--dry-run")
    assert "to do" in {step["state"] for step in plan["steps"]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "pfa-kl"], "--recipe-file and --method exclude each other"),
        (
            ["--footprint", 0.1, "--steps", 2, "--skip", "features.0"],
            "--recipe-file and --footprint and --steps and --skip exclude each other",
        ),
        (["--cost", "flops"], "--cost is an option of --method pfa-cost, not of file"),
        (["--selection", "fp"], "--selection fp: r.yaml says which filters are kept; leave it out"),
        (["--selection", "l2"], "--selection: unknown value 'l2'"),
        (["--recipe-file", "no.yaml"], "no.yaml: no such file; 'workbench analyze --out"),
        (["--out", "r.yaml"], "--out r.yaml: already exists"),
        (["--out", "r.txt"], "--out r.txt: the name must end in .yaml or .yml or .json"),
    ],
)
def test_what_a_recipe_file_excludes_is_one_line(run_cli, options, said):
    Path("r.yaml").write_text("features.0: {keep: [0]}\n")
    status, out, err = run_cli("analyze", *GIVEN, "--recipe-file", "r.yaml", *options)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert said in err
    assert not Path("mlruns").exists()


def test_mistakes_of_a_file_are_reported_before_anything_is_trained(run_cli):
    Path("r.yaml").write_text("features.0: 200\nfeature.3: 1\nfeatures.6: [1]\n")
    for command in (("analyze",), ("adapt", "--dry-run"), ("adapt",)):
        status, out, err = run_cli(*command, *GIVEN, "--recipe-file", "r.yaml")
        assert (status, out, len(err.splitlines())) == (2, "", 3)
        assert not Path("mlruns").exists()
