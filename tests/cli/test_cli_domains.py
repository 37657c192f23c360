"""``workbench domains``: list, show, check, write; and where the other commands look."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.data import known_sets as sets
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import load_images
from workbench.domains.domain import load_domain

GOOD = "name: {name}\nsource: digits\nclasses: [3, 8]\ndescription: threes and eights\n"
NEW = ("domains", "new", "pets", "--source", "cifar10", "--classes", "cat,dog")


def put(path, content=GOOD):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content.format(name=path.stem))
    return path


def table(out):
    """Rows of the list by the domain's name, each a list of the other cells."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert rows[0] == ["domain", "source", "classes", "train images", "test images"]
    return {row[0]: row[1:] for row in rows[1:] if len(row) == 5}


def files():
    return sorted(path for path in Path().rglob("*") if path.is_file())


def test_the_list_has_source_number_of_classes_and_images(run_cli, tmp_path):
    (tmp_path / "data" / "cifar-100-python").mkdir(parents=True)
    status, out, err = run_cli("domains", "--data-dir", "data")
    assert (status, err) == (0, "")
    rows = table(out)
    assert rows["S2"] == ["cifar100", "2", "1,000", "200"]
    assert rows["R1"] == ["cifar100", "10", "5,000", "1,000"]
    assert rows["digits-3v8"][:2] == ["digits", "2"]
    assert list(rows) == sorted(rows)
    assert "adapt' downloads them" not in out


def test_images_that_are_not_there_are_a_dash(run_cli):
    put("domains/pets.yaml", "name: {name}\nsource: cifar10\nclasses: [cat, dog]\n")
    _, out, _ = run_cli("domains", "--data-dir", "nowhere")
    rows = table(out)
    assert rows["S2"] == ["cifar100", "2", "-", "-"]
    assert rows["pets"] == ["cifar10", "2", "-", "-"]
    assert rows["digits-3v8"][2] != "-"
    assert "'workbench adapt' downloads them" in out
    assert not Path("nowhere").exists()
    Path("nowhere/cifar-10-batches-py").mkdir(parents=True)
    _, out, _ = run_cli("domains", "--data-dir", "nowhere")
    assert table(out)["pets"] == ["cifar10", "2", "10,000", "2,000"]


def test_the_counts_of_digits_are_those_of_the_split_that_is_loaded(run_cli):
    _, out, _ = run_cli("domains")
    digits = {name: row for name, row in table(out).items() if row[0] == "digits"}
    assert len(digits) >= 3
    for name, (_, _, *counts) in digits.items():
        classes = load_domain(Path(shown(run_cli, name)["file"])).classes
        real = [
            len(load_images("digits", split, Path()).of_classes(classes, "digits"))
            for split in ("train", "test")
        ]
        assert [int(count.replace(",", "")) for count in counts] == real


def test_the_list_goes_on_after_a_broken_file_and_tells_it(run_cli):
    put("domains/broken.yaml", "name: e\nsource: digit\n")
    put("domains/pets.yaml")
    status, out, err = run_cli("domains")
    assert status == 2
    assert "pets" in table(out)
    assert "broken" not in table(out)
    assert len(err.splitlines()) == 3
    assert all(line.startswith("workbench: domains/broken.yaml") for line in err.splitlines())


def test_the_list_shows_the_folder_that_is_asked_for(run_cli, monkeypatch):
    put("mine/pets.yaml")
    put("env/others.yaml")
    assert "pets" in table(run_cli("domains", "--domains", "mine")[1])
    assert "pets" not in table(run_cli("domains")[1])
    monkeypatch.setenv("WORKBENCH_DOMAINS", "env")
    assert "others" in table(run_cli("domains")[1])


@pytest.mark.parametrize("command", ["domains", "domains show S2"])
def test_a_missing_folder_is_a_mistake(run_cli, monkeypatch, command):
    status, out, err = run_cli(*command.split(), "--domains", "nowhere")
    assert (status, out) == (2, "")
    assert err == "workbench: --domains nowhere: no such folder; create it or use another\n"
    monkeypatch.setenv("WORKBENCH_DOMAINS", "gone")
    status, out, err = run_cli(*command.split())
    assert (status, out) == (2, "")
    assert err.startswith("workbench: $WORKBENCH_DOMAINS gone: no such folder; ")


# --- show -----------------------------------------------------------------------------------


def shown(run_cli, *args):
    status, out, err = run_cli("domains", "show", *args)
    assert (status, err) == (0, "")
    return {key: rest.strip() for key, rest in (line.split(":", 1) for line in out.splitlines())}


def test_show_prints_the_domain_and_its_file(run_cli):
    put("domains/S2.yaml")
    assert shown(run_cli, "S2") == {
        "name": "S2",
        "source": "digits",
        "classes": "3, 8",
        "images": "285 for training, 72 for testing",
        "description": "threes and eights",
        "file": "domains/S2.yaml",
        "run it": "workbench adapt --source digits --target S2",
    }


def test_show_takes_the_folder_before_or_after_its_name(run_cli):
    put("mine/S2.yaml")
    assert shown(run_cli, "S2", "--domains", "mine")["file"] == "mine/S2.yaml"
    status, out, _ = run_cli("domains", "--domains", "mine", "show", "S2")
    assert status == 0
    assert "mine/S2.yaml" in out


def test_show_of_what_is_not_there_names_the_nearest(run_cli):
    status, out, err = run_cli("domains", "show", "digits-3v9")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "no domain 'digits-3v9'" in err
    assert "did you mean 'digits-3v8'?" in err


def test_show_names_what_is_wrong_in_the_file(run_cli):
    put("domains/S2.yaml", "name: S2\nsource: digits\nclasses: [3, 33]\ncolor: red\n")
    status, out, err = run_cli("domains", "show", "S2")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 2


# --- check ----------------------------------------------------------------------------------


def test_check_tells_every_mistake_of_every_file(run_cli):
    put("a.yaml", "name: a\nsource: digits\nclasses: [3, 3]\nx: 1\n")
    put("b.yaml")
    put("c.yaml", "name: 3\n")
    status, out, err = run_cli("domains", "check", "a.yaml", "b.yaml", "c.yaml", "d.yaml")
    assert (status, out) == (2, "b.yaml: ok\n")
    starts = [line.split(":")[1].strip() for line in err.splitlines()]
    assert starts == ["a.yaml"] * 2 + ["c.yaml"] * 3 + ["d.yaml"]


def test_check_of_good_files_is_silent_on_stderr(run_cli):
    put("a.yaml")
    put("b.yaml")
    assert run_cli("domains", "check", "a.yaml", "b.yaml") == (0, "a.yaml: ok\nb.yaml: ok\n", "")


def test_check_runs_no_code(run_cli):
    put("evil.yaml", "name: !!python/object/apply:os.system ['touch ran']\n")
    status, _, err = run_cli("domains", "check", "evil.yaml")
    assert status == 2
    assert "evil.yaml:1: tag " in err
    assert files() == [Path("evil.yaml")]


def test_check_in_a_process_of_its_own_exits_with_2_and_one_line():
    put("deep.yaml", "[" * 10_000)
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "domains", "check", "deep.yaml"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("workbench: deep.yaml: not YAML")


# --- new ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "classes"),
    [("cifar100", "fox,boy,lawn_mower"), ("cifar10", "cat, dog"), ("digits", " 8 ,3,")],
)
def test_a_new_domain_is_commented_valid_and_found(run_cli, source, classes):
    status, out, err = run_cli("domains", "new", "mine", "--source", source, "--classes", classes)
    assert (status, err) == (0, "")
    assert out.startswith("domains/mine.yaml: written")
    content = Path("domains/mine.yaml").read_text()
    assert content.startswith("# ")
    assert f"workbench adapt --source {source} --target mine\n" in content
    assert run_cli("domains", "check", "domains/mine.yaml")[:2] == (0, "domains/mine.yaml: ok\n")
    wanted = [name.strip() for name in classes.split(",") if name.strip()]
    assert shown(run_cli, "mine")["classes"] == ", ".join(wanted)


def test_a_new_domain_goes_where_it_is_asked_for(run_cli):
    for where in [(*NEW, "--domains", "a/b"), ("domains", "--domains", "c", *NEW[1:])]:
        assert run_cli(*where)[0] == 0
    assert files() == [Path("a/b/pets.yaml"), Path("c/pets.yaml")]


def test_a_description_is_written_and_shown(run_cli):
    assert run_cli(*NEW, "--description", "cats: & 'dogs' # all")[0] == 0
    assert shown(run_cli, "pets")["description"] == "cats: & 'dogs' # all"
    assert Path("domains/pets.yaml").read_text().startswith("# cats: & 'dogs' # all\n")


def test_an_existing_domain_is_not_overwritten(run_cli):
    path = put("domains/pets.yaml")
    before = path.read_bytes()
    status, out, err = run_cli(*NEW)
    assert (status, out) == (2, "")
    assert err.startswith("workbench: domains/pets.yaml: already exists; remove it or ")
    assert path.read_bytes() == before


def test_a_link_that_leads_nowhere_is_not_written_through(run_cli):
    Path("domains").mkdir()
    Path("domains/pets.yaml").symlink_to("../elsewhere.yaml")
    assert run_cli(*NEW)[0] == 2
    assert not Path("elsewhere.yaml").exists()


@pytest.mark.parametrize("name", ["../x", "a b", "", ".", "..", "a/b", "x.yaml", "-", "é", "/x"])
def test_a_name_that_is_none_leaves_nothing_behind(run_cli, tmp_path, name):
    here = tmp_path / "deep" / "er"
    here.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        status, out, err = run_cli("domains", "new", *NEW[3:], "--", name)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert f"name '{name}'" in err
    assert [path for path in tmp_path.rglob("*") if path not in (here, here.parent)] == []


@pytest.mark.parametrize(
    ("source", "classes", "said"),
    [
        ("digits", "3", ["1 class"]),
        ("digits", "", ["0 class"]),
        ("digits", "3,3", ["'3' is listed twice"]),
        ("digits", "3,33", ["'33' is not in digits; did you mean '3'?"]),
        ("cifar10", "cats,dog,birds", ["mean 'cat'?", "mean 'bird'?"]),
        ("digit", "3,8", ["unknown source 'digit'; did you mean 'digits'?"]),
    ],
)
def test_a_new_domain_that_would_not_be_valid_is_not_written(run_cli, source, classes, said):
    status, out, err = run_cli("domains", "new", "x", "--source", source, "--classes", classes)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == len(said)
    for line, part in zip(err.splitlines(), said, strict=True):
        assert part in line
    assert list(Path().iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(run_cli):
    Path("file").touch()
    status, out, err = run_cli(*NEW, "--domains", "file/sub")
    assert (status, out) == (2, "")
    assert err.startswith("workbench: file/sub/pets.yaml: cannot be written (Not a directory); ")


def test_a_file_in_the_folders_place_is_told_as_such(run_cli):
    Path("file").touch()
    status, _, err = run_cli(*NEW, "--domains", "file")
    assert status == 2
    assert "already exists" not in err


def test_a_name_that_is_too_long_leaves_nothing_behind(run_cli):
    status, _, err = run_cli("domains", "new", "x" * 300, *NEW[3:])
    assert status == 2
    assert "File name too long" in err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("description", ["a\nname: b", "a\rb: c", "\x1b[31m", "caf\udce9"])
def test_no_description_makes_a_file_that_is_not_valid(run_cli, description):
    assert run_cli(*NEW, "--description", description)[0] in (0, 2)
    for path in Path().rglob("*.yaml"):
        assert load_domain(path).classes == ("cat", "dog")


# --- adapt and analyze --------------------------------------------------------------------------


@pytest.fixture
def _no_data(monkeypatch):
    """Fail as soon as a data set is touched."""
    for source in SOURCES:
        monkeypatch.setitem(sets._LOADERS, source, lambda *_: pytest.fail("data was touched"))


@pytest.mark.usefixtures("_no_data")
@pytest.mark.parametrize("command", ["adapt", "analyze"])
@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("digits", "R1", "domain R1 is made of cifar100 images, not of digits; use --source "),
        ("cifar100", "digits-3v8", "is made of digits images, not of cifar100; use --source "),
    ],
)
def test_a_domain_of_images_of_another_shape_is_told_before_data_is_touched(
    run_cli, command, source, target, said
):
    status, out, err = run_cli(
        command, "--source", source, "--target", target, "--data-dir", "nowhere"
    )
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err
    assert f"{target}.yaml" in err
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("_no_data")
@pytest.mark.parametrize("command", ["adapt", "analyze"])
@pytest.mark.parametrize("missing", ["source", "target"])
def test_source_and_target_are_required(run_cli, command, missing):
    options = {"source": "digits", "target": "digits-3v8"}
    del options[missing]
    ((name, value),) = options.items()
    status, out, err = run_cli(command, f"--{name}", value)
    assert (status, out) == (2, "")
    assert err.startswith(f"workbench: Missing option '--{missing}'. (see '")
    assert err.endswith(f"workbench {command} --help')\n")


@pytest.mark.usefixtures("_no_data")
def test_adapt_tells_every_mistake_in_the_domain(run_cli):
    put("mine/S2.yaml", "name: S3\nsource: cifar100\nclasses: [foxx, boy]\ncolor: red\n")
    status, out, err = run_cli(
        "adapt", "--source", "cifar100", "--target", "S2", "--domains", "mine"
    )
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 3
    assert all(line.startswith("workbench: mine/S2.yaml:") for line in err.splitlines())


def test_the_command_that_show_and_new_print_is_one_that_runs(run_cli):
    run_cli("domains", "new", "mine", "--source", "digits", "--classes", "3,8")
    command = shlex.split(shown(run_cli, "mine")["run it"])
    status, out, err = run_cli(*command[1:], "--dry-run")
    assert (status, err) == (0, "")
    assert "mine of digits: 2 classes, 285 training and 72 test images" in out


def test_a_file_name_cannot_steer_the_terminal(run_cli):
    path = put("\x1b[2J/threes.yaml")
    for command in (("check", path), ("show", "threes", "--domains", path.parent)):
        status, out, err = run_cli("domains", *command)
        assert status == 0, err
        assert "\x1b" not in out
        assert "\\x1b[2J/threes.yaml" in out
