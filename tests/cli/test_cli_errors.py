"""A user's mistake at the command line: exit status 2, one line each with a remedy, no trace."""

import os
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from typer.main import get_command

import workbench
from workbench.cli.commands import app
from workbench.data import known_sets as sets
from workbench.data.catalog import SOURCES
from workbench.models.networks import build_network

ADAPT = "adapt --source digits --target digits-3v8"
TRAIN = "train --source digits --out new.safetensors"


def tree():
    """Every file, with its content, and every folder below the current one."""
    return {path: path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


@pytest.fixture
def _no_data(monkeypatch):
    """Fail as soon as a data set is touched: a mistake is told before, and nothing is trained."""
    for source in SOURCES:
        monkeypatch.setitem(sets._LOADERS, source, lambda *_: pytest.fail("data was touched"))


@pytest.fixture
def mistake(run_cli, _no_data):
    """Run a command that must fail before it touches data; what it says, a line a problem."""

    def run(command, *more):
        before = tree()
        status, out, err = run_cli(*shlex.split(command), *more)
        assert (status, out) == (2, ""), err
        lines = err.splitlines()
        assert all(line.startswith("workbench: ") and line.isprintable() for line in lines), err
        assert tree() == before
        return [line.removeprefix("workbench: ") for line in lines]

    return run


# --- options --------------------------------------------------------------------------------

WRONG_OPTIONS = {
    "--method pfaen": "--method: unknown value 'pfaen'; did you mean 'pfa-en'?",
    "--method ''": "--method: unknown value ''; known: pfa-kl, pfa-en",
    "--model vgg": "--model: unknown value 'vgg'; did you mean 'vgg16'?",
    "--model vgg16": "vgg16 needs images of at least 32x32 pixels, these have 8x8; use --model",
    "--protocols pfa-fin": "--protocols: unknown value 'pfa-fin'; did you mean 'pfa-fine'?",
    "--protocols ''": "--protocols is empty; choose from full-scratch, full-fine",
    "--protocols pfa-fine,pfa-fine": "--protocols lists a value twice; list each once",
    "--head slices": "--head: unknown value 'slices'; did you mean 'slice'?",
    "--schedule papr": "--schedule: unknown value 'papr'; did you mean 'paper'?",
    "--device gpu": "--device: unknown value 'gpu'; did you mean 'cpu'?",
    "--precision fp16": "--precision: unknown value 'fp16'; did you mean 'bf16'?",
    "--keep-weights some": "--keep-weights: unknown value 'some'; known: best, all, none",
    "--source digitz": "--source: unknown value 'digitz'; did you mean 'digits'?",
    "--target digits-3v9": "no domain 'digits-3v9' in ",
    "--method pfa-en --energy 0": "--energy 0 is not within (0, 1]; try 0.95",
    "--method pfa-en --energy 1.5": "--energy 1.5 is not within (0, 1]; try 0.95",
    "--method pfa-en --energy nan": "--energy nan is not within (0, 1]; try 0.95",
    "--method pfa-en --energy -0.5": "--energy -0.5 is not within (0, 1]; try 0.95",
    "--energy 0.9": "--energy is an option of --method pfa-en, dalr-en, svd, fga, not of pfa-kl",
    "--epochs 0": "--epochs 0 is too small; it must be at least 1",
    "--epochs -3": "--epochs -3 is too small; it must be at least 1",
    "--source-epochs 0": "--source-epochs 0 is too small; it must be at least 1",
    "--seeds 0": "--seeds 0 is too small; it must be at least 1",
    "--batch-size 1": "--batch-size 1 is too small; it must be at least 2",
    "--lr -0.1": "--lr -0.1 is not a positive number; try 0.1",
    "--lr 0": "--lr 0 is not a positive number; try 0.1",
    "--lr nan": "--lr nan is not a positive number; try 0.1",
    "--lr 1e30": "--lr 1e+30 is above 1e+06; try 0.1",
    "--lr inf": "--lr inf is not a positive number; try 0.1",
    "--fine-lr 0": "--fine-lr 0 is not a positive number; try 0.1",
    "--weight-decay 1.5": "--weight-decay 1.5 is not within [0, 1); try 5e-4",
    "--weight-decay -1": "--weight-decay -1 is not within [0, 1); try 5e-4",
    "--weight-decay nan": "--weight-decay nan is not within [0, 1); try 5e-4",
    "--tolerance -1": "--tolerance -1 is not within 0 to 100 points",
    "--tolerance nan": "--tolerance nan is not within 0 to 100 points",
    "--weights none.safetensors": "--weights none.safetensors: no such file; 'workbench train'",
    "--weights .": "--weights .: no such file; 'workbench train'",
    "--domains nowhere": "--domains nowhere: no such folder; create it or use another",
}


@pytest.mark.parametrize("options", WRONG_OPTIONS)
def test_a_wrong_value_is_one_line_with_a_remedy(mistake, options):
    (line,) = mistake(f"{ADAPT} {options}")
    assert WRONG_OPTIONS[options] in line


@pytest.mark.parametrize(
    "options",
    ["--seeds x", "--epochs 1.5", "--batch-size ''", "--lr fast", "--energy 90%", "--tolerance ?"],
)
def test_a_value_of_another_type_names_the_option_and_the_help(mistake, options):
    (line,) = mistake(f"{ADAPT} {options}")
    assert f"'{options.split()[0]}'" in line
    assert line.endswith("workbench adapt --help')")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("frobnicate", "No such command 'frobnicate'."),
        ("domains frobnicate", "No such command 'frobnicate'."),
        ("--frob", "No such option: --frob"),
        (f"{ADAPT} --frsh", "No such option: --frsh (Possible options: "),
        (f"{ADAPT} more", "unexpected extra argument(s) (more)"),
        ("analyze --source digits --target digits-3v8 --epochs 3", "No such option: --epochs"),
        ("adapt --source digits --target", "Option '--target' requires an argument."),
        ("train --source digits", "Missing option '--out'."),
        ("domains show", "Missing argument 'name'."),
        ("domains new x --source digits", "Missing option '--classes'."),
        ("compare more", "unexpected extra argument(s) (more)"),
    ],
)
def test_a_command_that_cannot_be_parsed_points_to_the_help(mistake, command, said):
    (line,) = mistake(command)
    assert said in line
    assert line.endswith("--help')")


def test_several_wrong_values_are_told_together(mistake):
    wrong = (
        "--source digitz --model vgg --method kl --energy 2 --protocols a,b --head c --seeds 0 "
        "--epochs 0 --schedule d --lr -1 --fine-lr nan --batch-size 1 --weight-decay 2 "
        "--device gpu --precision fp8 --tolerance -1 --keep-weights e --weights none.pt"
    )
    lines = mistake(f"adapt --target digits-3v8 {wrong}")
    for option in re.findall(r"--[a-z-]+", wrong):
        assert any(line.startswith(option) for line in lines), option
    assert len(lines) == 20  # --energy and --protocols have two mistakes each


def test_an_unknown_domain_is_told_together_with_wrong_values(mistake):
    assert len(mistake("adapt --source digits --target digits-3v9 --epochs 0")) == 2


def test_cuda_where_there_is_none(mistake, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for command in (ADAPT, TRAIN, "analyze --source digits --target digits-3v8"):
        (line,) = mistake(f"{command} --device cuda")
        assert line == "--device cuda: no CUDA device is available here; use --device cpu"


@pytest.mark.parametrize("break_", ["a\nb", "a\x1b[31mb", "a\x85b"], ids=ascii)
@pytest.mark.parametrize(
    "command",
    [
        "adapt --target digits-3v8 --source",
        f"{ADAPT} --weights",
        f"{ADAPT} --domains",
        "adapt --source digits --target",
        "domains check",
        "train --source digits --out",
        "compare --tracking-uri",
    ],
)
def test_a_value_with_a_line_break_is_one_line_all_the_same(mistake, command, break_):
    assert len(mistake(command, break_)) == 1


def test_without_a_command_there_is_help_and_no_empty_message(run_cli):
    status, out, err = run_cli()
    assert status == 2
    assert "Usage:" in out + err
    assert "workbench:  (see" not in err


# --- train and compare ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--out there.safetensors", "there.safetensors: already exists; remove it or use"),
        ("--out nowhere/w.safetensors", "nowhere is not a writable folder; create it first"),
        ("--out file/w.safetensors", "file is not a writable folder; create it first"),
        ("--out w.pt", "--out w.pt: the name must end in .safetensors"),
        ("--out w", "--out w: the name must end in .safetensors"),
        ("--out .", "--out .: the name must end in .safetensors"),
        ("--model vgg16", "vgg16 needs images of at least 32x32 pixels, these have 8x8"),
        ("--seed -1", "--seed -1 is negative; use 0 or more"),
        ("--source digitz", "--source: unknown value 'digitz'; did you mean 'digits'?"),
    ],
)
def test_a_training_that_could_not_be_saved_is_not_begun(mistake, options, said):
    Path("there.safetensors").write_text("mine")
    Path("file").touch()
    (line,) = mistake(f"{TRAIN} {options}")
    assert said in line


def test_wrong_values_of_a_training_are_told_together(mistake):
    lines = mistake(
        f"{TRAIN} --epochs 0 --lr nan --batch-size 1 --weight-decay 9 --schedule x --seed -4 "
        "--device gpu --precision fp8 --model vgg"
    )
    assert len(lines) == 9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--figure x.jpg", "--figure x.jpg: the name must end in .png"),
        ("--figure there.png", "--figure there.png: already exists; remove it"),
        ("--figure nowhere/x.png", "nowhere is not a writable folder"),
        ("", "store sqlite:///mlruns/mlflow.db: does not exist yet; run 'workbench adapt' first"),
    ],
)
def test_a_comparison_that_cannot_be_made(mistake, options, said):
    Path("there.png").touch()
    (line,) = mistake(f"compare {options}")
    assert said in line


def test_a_name_too_long_for_a_file_is_told(mistake):
    assert len(mistake(f"train --source digits --out {'x' * 300}.safetensors")) == 1


# --- weights --------------------------------------------------------------------------------


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def simplecnn(classes=10):
    model = build_network("simplecnn", (1, 8, 8), classes)
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def pickled(content, name="w.pt", **how):
    torch.save(content, name, **how)
    return name


def written(content, name="w.safetensors"):
    Path(name).write_bytes(content)
    return name


def zipped(name):
    with zipfile.ZipFile(name, "w") as file:
        file.writestr("a.txt", "text")
    return name


WRONG_WEIGHTS = {
    "another suffix": (lambda: written(b"x", "w.onnx"), "unknown kind of weight file '.onnx'; use"),
    "no suffix": (lambda: written(b"x", "w"), "unknown kind of weight file ''; use .safetensors"),
    "empty": (lambda: written(b""), "damaged or not a safetensors file"),
    "text": (
        lambda: written(b"version https://git-lfs\n" * 9),
        "damaged or not a safetensors file",
    ),
    "cut off": (lambda: written(save(simplecnn())[:-100]), "damaged or not a safetensors file"),
    "no tensors": (lambda: written(save({})), "does not fit the network"),
    "other classes": (
        lambda: written(save(simplecnn(2))),
        "is 2x192x1x1 in the file and 10x192x1x1 in the network",
    ),
    "not numbers": (
        lambda: written(save({k: v * float("nan") for k, v in simplecnn().items()})),
        "NaN or infinity",
    ),
    "empty .pt": (lambda: written(b"", "w.pt"), "damaged or not a PyTorch file"),
    "zip of something else": (
        lambda: zipped("w.pt"),
        "w.pt: damaged or not a PyTorch file",
    ),
    "code": (lambda: pickled(Evil()), "loading it would run code"),
    "code in a state dict": (lambda: pickled({**simplecnn(), "x": Evil()}), "would run code"),
    "code in an old file": (
        lambda: pickled(Evil(), _use_new_zipfile_serialization=False),
        "loading it would run code",
    ),
    "code in a plain pickle": (
        lambda: written(b"cos\nsystem\n(S'touch ran'\ntR.", "w.pt"),
        "loading it would run code",
    ),
    "a whole network": (
        lambda: pickled(build_network("simplecnn", (1, 8, 8), 10)),
        "save the network's state_dict() as .safetensors",
    ),
    "a list": (lambda: pickled([1, 2]), "is not a state dict; save the network's state_dict()"),
    "a tensor": (lambda: pickled(torch.ones(2)), "is not a state dict"),
    "numbers": (lambda: pickled({"a": 1}), "is not a state dict"),
}


@pytest.mark.parametrize("case", WRONG_WEIGHTS)
def test_weights_that_cannot_be_used_are_told(mistake, case):
    make, said = WRONG_WEIGHTS[case]
    name = make()
    (line,) = mistake(f"{ADAPT} --weights {name}")
    assert line.startswith(f"{name}: ")
    assert said in line
    assert not Path("ran").exists()


ODD_WEIGHTS = {
    "text as .pt": lambda: written(b"hello\nworld", "w.pt"),
    "half a pickle": lambda: written(b"\x80", "w.pt"),
    "pickle of nothing": lambda: written(b"\x80\x02.", "w.pt"),
    "sparse": lambda: pickled({k: v.to_sparse() for k, v in simplecnn().items()}),
    "without content": lambda: pickled({k: v.to("meta") for k, v in simplecnn().items()}),
    "whole numbers": lambda: written(save({k: v.int() for k, v in simplecnn().items()})),
    "complex numbers": lambda: pickled({k: v * 1j for k, v in simplecnn().items()}),
}


@pytest.mark.parametrize("case", ODD_WEIGHTS)
def test_odd_weights_are_told_too(mistake, case):
    assert len(mistake(f"{ADAPT} --weights {ODD_WEIGHTS[case]()}")) == 1


def test_weights_of_other_classes_are_rejected(mistake):
    """Ten classes of their own, not the ten of the source: the file says so."""
    from workbench.models.weight_files import Card

    card = Card("simplecnn", "cifar100", tuple("abcdefghij"), (1, 8, 8), (1,))
    save_file(simplecnn(), "w.safetensors", card.metadata())
    assert len(mistake(f"{ADAPT} --weights w.safetensors")) == 1


def test_the_evil_pickle_would_run_if_it_were_loaded():
    pickled(Evil())
    torch.load("w.pt", weights_only=False)
    assert Path("ran").exists()


def test_source_epochs_have_no_use_beside_weights(mistake):
    written(save(simplecnn()))
    (line,) = mistake(f"{ADAPT} --weights w.safetensors --source-epochs 3")
    assert line == "--source-epochs has no effect with --weights; leave one out"


# --- data -----------------------------------------------------------------------------------


def test_damaged_data_is_one_line_and_left_alone(run_cli):
    base = Path("data/cifar-100-python")
    base.mkdir(parents=True)
    (base / "train").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    (base / "train").chmod(0o444)
    status, out, err = run_cli(
        *"adapt --source cifar100 --target S2 --data-dir data --dry-run".split()
    )
    assert (status, out) == (2, "")
    assert re.fullmatch(
        r"workbench: data/cifar-100-python/train is damaged \(md5 [0-9a-f]{32}, expected "
        r"16019d7e3df5f24257cddd939b257f8d\): remove the folder data/cifar-100-python .*"
        r"https://www\.cs\.toronto\.edu/~kriz/cifar-100-python\.tar\.gz .*\n",
        err,
    )
    assert not Path("ran").exists()


def test_data_that_cannot_be_fetched_is_one_line(run_cli, monkeypatch):
    def reject(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", reject)
    status, out, err = run_cli(*"analyze --source cifar100 --target S2 --data-dir data".split())
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("workbench: CIFAR100 is not in data/cifar-100-python and its download ")
    assert "no route to host" in err
    assert "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz" in err


# --- stores ---------------------------------------------------------------------------------


def other_database(name="o.db"):
    with sqlite3.connect(name) as database:
        database.execute("CREATE TABLE accounts (id INTEGER)")
        database.execute("INSERT INTO accounts VALUES (7)")
    database.close()


def alembic_database(name="o.db"):
    """Another application's, which keeps its schema with Alembic as MLflow does."""
    other_database(name)
    with sqlite3.connect(name) as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
    database.close()


STORES = {
    "below a file": (lambda: Path("file").touch(), "sqlite:///file/x.db", "cannot be written"),
    "a text": (lambda: Path("t.db").write_text("text\n" * 99), "sqlite:///t.db", "not a SQLite"),
    "a folder": (lambda: Path("d").mkdir(), "sqlite:///d", "(Is a directory)"),
    "nothing": (lambda: None, "sqlite:///", "cannot be written"),
    "another's": (other_database, "sqlite:///o.db", "a database, but not MLflow's"),
    "plain files": (lambda: None, "file:mlruns-of-old", "keeps no runs in plain folders"),
    "an unknown scheme": (lambda: None, "foo://bar", "could not be opened"),
}


@pytest.fixture
def left(run_cli, _no_data):
    """Run a command that must fail with one line: what it says, and the tree beside mlruns."""

    def run(command):
        status, out, err = run_cli(*shlex.split(command))
        assert (status, out) == (2, ""), err
        assert len(err.splitlines()) == 1
        assert err.startswith("workbench: ")
        return err, {path: held for path, held in tree().items() if path.parts[0] != "mlruns"}

    return run


@pytest.mark.parametrize("command", [ADAPT, TRAIN, "analyze --source digits --target digits-3v8"])
@pytest.mark.parametrize("case", STORES)
def test_a_store_that_cannot_be_used_is_one_line(left, case, command):
    make, uri, said = STORES[case]
    make()
    before = tree()
    err, after = left(f"{command} --tracking-uri {uri}")
    assert f"store {uri}" in err
    assert said in err
    assert "--tracking-uri" in err
    assert after == before


@pytest.mark.parametrize("command", ["compare", "clean", "ui", f"{ADAPT} --dry-run"])
@pytest.mark.parametrize("case", ["a text", "another's", "plain files"])
def test_reading_commands_reject_it_as_well_and_write_nothing(left, case, command):
    make, uri, _ = STORES[case]
    make()
    before = tree()
    err, _ = left(f"{command} --tracking-uri {uri}")
    assert f"store {uri}" in err
    assert tree() == before


def test_the_environments_store_is_checked_too(left, monkeypatch):
    other_database()
    before = Path("o.db").read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///o.db")
    err, _ = left(ADAPT)
    assert "not MLflow's" in err
    assert Path("o.db").read_bytes() == before


@pytest.mark.parametrize("command", [ADAPT, "compare", "clean"])
def test_a_server_that_does_not_answer_is_one_line(left, monkeypatch, command):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as taken:  # bound, not listening: nobody answers and nobody takes it
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        err, after = left(f"{command} --tracking-uri {uri}")
    assert f"store {uri} could not be opened" in err
    assert err.endswith("check --tracking-uri\n")
    assert after == {}


@pytest.mark.parametrize("output", ["file", "file/below", "x" * 300])
def test_a_work_folder_that_cannot_be_made_is_one_line(left, output):
    Path("file").touch()
    before = tree()
    err, _ = left(f"{ADAPT} --output {output}")
    assert f"workbench: {output}: cannot be written (" in err
    assert "--output" in err
    assert tree() == before


@pytest.mark.parametrize("uri", ["sqlite:///o.db", "sqlite+pysqlite:///o.db"])
@pytest.mark.parametrize("make", [alembic_database, other_database])
@pytest.mark.parametrize("command", [ADAPT, "compare"])
def test_another_applications_database_stays_as_it_is(left, uri, make, command):
    make()
    before = Path("o.db").read_bytes()
    try:
        left(f"{command} --tracking-uri {uri}")
    finally:
        assert Path("o.db").read_bytes() == before


@pytest.mark.parametrize(
    "uri", ["sqlite:///file/x.db", "sqlite:x.db", "SQLITE:///x.db", "http://[::1", "file:old"]
)
def test_a_store_that_cannot_be_used_leaves_nothing_behind(left, uri):
    Path("file").touch()
    left(f"{ADAPT} --tracking-uri {uri}")
    assert tree() == {Path("file"): b""}


@pytest.mark.parametrize("command", [f"{ADAPT} --dry-run", "compare"])
def test_reading_leaves_an_empty_database_empty(run_cli, command):
    Path("empty.db").touch()
    run_cli(*shlex.split(command), "--tracking-uri", "sqlite:///empty.db")
    assert tree() == {Path("empty.db"): b""}


# --- help -----------------------------------------------------------------------------------


def commands():
    """Every command of the command line by its words."""
    found = {(): get_command(app)}
    for name, command in found[()].commands.items():
        found[(name,)] = command
        for child, subcommand in getattr(command, "commands", {}).items():
            found[(name, child)] = subcommand
    return found


COMMANDS = commands()


def help_of(run_cli, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "240")
    status, out, err = run_cli(*words, "--help")
    assert (status, err) == (0, "")
    return out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_describes_every_option(run_cli, monkeypatch, words):
    out = help_of(run_cli, monkeypatch, words)
    assert "Usage: workbench" in re.sub(r"python -m \w+\.", "", out)
    for parameter in COMMANDS[words].params:
        if parameter.param_type_name == "option":
            assert re.search(rf"{parameter.opts[0]}\b.*[a-z]", out), parameter.opts
            assert parameter.help
    for name, command in getattr(COMMANDS[words], "commands", {}).items():
        assert re.search(rf"│ {name}\s+\w", out)
        assert command.help


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_examples_that_parse(run_cli, monkeypatch, words):
    out = help_of(run_cli, monkeypatch, words)
    text = re.sub(r"\\\s*\n\s*", "", out.split("╭")[0])  # long commands go on in the next line
    examples = re.findall(r"^.*?\b(workbench (?!\[).*?)\s*$", text, re.MULTILINE)
    examples = [line for line in examples if "Usage" not in line and "OPTIONS" not in line]
    assert examples
    for line in examples:
        args = shlex.split(line)[1:]
        depth = 2 if tuple(args[:2]) in COMMANDS else 1
        command = COMMANDS[tuple(args[:depth])]
        command.make_context("workbench", list(args[depth:]))  # raises when it does not parse


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_prints_descriptions_whole(run_cli, monkeypatch, words):
    """None of it may be taken for markup and vanish."""
    descriptions = [parameter.help for parameter in COMMANDS[words].params]
    out = " ".join(re.sub("[│╭╰─╮╯]", " ", help_of(run_cli, monkeypatch, words)).split())
    for text in descriptions:
        assert " ".join(text.split()) in out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_panels_of_at_most_ten_options(words):
    panels = Counter(
        getattr(parameter, "rich_help_panel", None)
        for parameter in COMMANDS[words].params
        if parameter.param_type_name == "option"
    )
    assert all(number <= 10 for number in panels.values()), panels


def test_the_short_form_of_help_is_the_same(run_cli):
    assert run_cli("adapt", "-h") == run_cli("adapt", "--help")


def test_defaults_are_shown(run_cli, monkeypatch):
    out = help_of(run_cli, monkeypatch, ("adapt",))
    for option, default in {"--divergence": "kl", "--seeds": "1", "--head": "auto"}.items():
        assert re.search(rf"{option}\b.*\[default: {default}\]", out)
    assert "[default: full-scratch,full-fine,pfa-scratch,pfa-fine]" in out


def test_version(run_cli):
    assert run_cli("--version") == (0, f"workbench {workbench.__version__}\n", "")


# --- a process of its own ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "lines"),
    [("adapt --source digits --target digits-3v8 --epochs 0 --lr nan", 2), ("frobnicate", 1)],
)
def test_a_real_process_exits_with_2_and_writes_to_stderr_alone(command, lines):
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *command.split()],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == lines
    assert all(line.startswith("workbench: ") for line in done.stderr.splitlines())
    assert list(Path().iterdir()) == []
