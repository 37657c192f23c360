"""``workbench report`` through the real command line, on recorded digits."""

import re
from pathlib import Path

import pytest

import workbench
from workbench.adaptation import pipeline
from workbench.adaptation.results.report_facts import without_folders
from workbench.experiments.bench_report import method_and_budget
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import KIND
from workbench.store.stored_results import stored_predictions

DIGITS = {
    "source": "digits", "source_epochs": 2, "epochs": 2, "batch_size": 64,
    "schedule": "one-cycle",
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A store with an adaptation and a search, recorded once: (address, adaptation, search)."""
    home = tmp_path_factory.mktemp("reports")
    where = {"tracking_uri": f"sqlite:///{home}/mlflow.db", "output": home / "work"}
    adaptation = workbench.adapt(
        target="digits-3v8",
        seeds=2,
        protocols="full-fine,pfa-fine",
        **DIGITS,
        **where,
    )
    search = workbench.shrink(
        target="digits-0v1", recipes="uniform", budgets="0.3", rungs=1, **DIGITS, **where
    )
    return where["tracking_uri"], adaptation, search


@pytest.fixture
def report(recorded, run_cli):
    """Run the command on the recorded store: (status, text of report.html or None, stderr)."""

    def run(*words):
        status, _, err = run_cli("report", *words, "--tracking-uri", recorded[0])
        path = Path("report.html")
        return status, path.read_text() if path.exists() else None, err

    return run


def headings(html):
    return re.findall(r'<h2 id="(.*?)"', html)


WHOLE = [
    "networks", "trade", "filters", "layers", "training", "confusion", "images", "calibration",
    "origin",
]  # fmt: skip


def test_every_adaptation_and_search_stores_its_report(recorded):
    uri, adaptation, search = recorded
    store = Store(uri)
    for run_id, wanted in ((adaptation.run_id, WHOLE), (search.run_id, ["search", *WHOLE])):
        path = store.fetch(store.run(run_id), "report.html")
        assert headings(path.read_text()) == wanted
        assert path.stat().st_size < 5e6
    chosen = store.run(search.adaptation.run_id)
    assert store.fetch(chosen, "report.html") is None  # it is a part of the search's
    assert adaptation.report == str(store.fetch(store.run(adaptation.run_id), "report.html"))


def test_an_adaptation_of_a_grid_has_no_report_until_somebody_adapts(recorded):
    uri = recorded[0]
    output = Path(uri.removeprefix("sqlite:///")).parent / "work"
    options = {
        **DIGITS, "target": "digits-0v1", "protocols": "full-fine", "tracking_uri": uri,
        "output": output,
    }  # fmt: skip
    found = pipeline.adapt(store_report=False, **options)
    store = Store(uri)
    assert found.report == ""
    assert store.fetch(store.run(found.run_id), "report.html") is None
    again = workbench.adapt(**options)
    assert (again.run_id, again.trained) == (found.run_id, 0)
    first = Path(again.report).read_text()
    assert headings(first)[0] == "networks"
    assert pipeline.adapt(store_report=False, **options).report == again.report


def test_the_report_of_a_run_shows_what_was_recorded(recorded, report):
    status, html, err = report(recorded[1].run_id)
    assert (status, err) == (0, "")
    assert headings(html) == WHOLE
    for result in recorded[1].networks:
        assert f">{result.label}</th>" in html
        assert f"{100 * result.accuracy_mean:.2f} %" in html
    for layer in recorded[1].recipe.layers:
        assert layer.layer in html
    assert "workbench adapt --source digits --target digits-3v8 --protocols" in html
    assert f"workbench adapt --like {recorded[1].run_id}" in html
    assert 'src="data:image/png;base64,' in html
    # Confusion matrices of all networks: two classes, and the images of all seeds.
    counts = re.findall(r"--v:[\d.]+\">(\d+)</td>", html)
    images = recorded[1].protocols[0].images
    own = sum(len(result.hits) for result in recorded[1].networks)
    assert sum(map(int, counts)) == 2 * own * images  # on both sides


def test_the_report_is_that_of_the_run_itself(recorded, report):
    store = Store(recorded[0])
    stored = store.fetch(store.run(recorded[1].run_id), "report.html").read_text()
    assert report("--target", "digits-3v8")[1] == stored


def test_predictions_agree_with_the_recorded_hits(recorded):
    store = Store(recorded[0])
    for result in recorded[1].networks:
        for run_id, hits in zip(result.run_ids, result.hits, strict=True):
            found = stored_predictions(store, store.run(run_id))
            assert int(found.correct.sum()) == hits
            assert len(found.labels) == result.images


def test_a_search_and_a_comparison_are_reported(recorded, report):
    _, adaptation, search = recorded
    status, html, err = report(search.run_id)
    assert status == 0, err
    assert headings(html) == ["search", *WHOLE]
    assert "workbench shrink --source digits --target digits-0v1" in html
    Path("report.html").unlink()
    status, html, err = report("--compare", adaptation.run_id, search.run_id)
    assert status == 0, err
    assert headings(html) == ["networks", "trade", "filters", "origin"]
    assert "digits-3v8" in html
    assert "digits-0v1" in html


def test_python_writes_the_same_file(recorded, tmp_path):
    path = workbench.report(target="digits-3v8", out="own.html", tracking_uri=recorded[0])
    assert path == Path("own.html")
    assert headings(path.read_text()) == WHOLE


def test_what_was_not_recorded_is_said_in_a_line(recorded, report):
    store, moved = Store(recorded[0]), []
    run = store.run(recorded[1].run_id)
    lost = [store.fetch(run, "correlations.safetensors")]
    lost += [
        store.fetch(store.run(run_id), "predictions.safetensors")
        for result in recorded[1].networks
        for run_id in result.run_ids
    ]
    try:
        for path in lost:
            moved.append((path.rename(path.with_suffix(".away")), path))
        status, html, err = report(run.run_id)
    finally:
        for away, path in moved:
            away.rename(path)
    assert status == 0, err
    assert headings(html) == [*WHOLE[:5], "origin", "missing"]
    missing = html[html.index('id="missing"') :]
    assert missing.count("<li>") == 2
    assert "no class probabilities" in missing


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("run 'a': /home/ann/my runs/x/recipe.json is damaged", "run 'a': recipe.json is damaged"),
        (
            "/data/sets has no cifar100 images; use /mnt/x",
            "sets has no cifar100 images; use x",
        ),
        ("photos/cat/1.jpg: no such file", "photos/cat/1.jpg: no such file"),
        ("'/a/b.png' and/or (/c/d e.png)", "'b.png' and/or (d e.png)"),
    ],
)
def test_a_report_spreads_no_folders_of_this_machine(line, shown):
    assert without_folders(line) == shown


def test_an_existing_file_is_not_overwritten(report):
    Path("report.html").write_text("mine")
    status, html, err = report("--target", "digits-3v8")
    assert (status, html) == (2, "mine")
    assert "already exists" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name one thing to report"),
        (("--target", "digits-3v9"), "did you mean 'digits-3v8'?"),
        (("0" * 32,), "there is no run"),
        (("--target", "digits-3v8", "--bench"), "name one thing to report"),
        (("--compare", "0" * 32), "at least two different runs"),
        (("0" * 32, "1" * 32), "several runs need --compare"),
        (("--target", "digits-3v8", "--out", "a.pdf"), "must end in .html"),
        (("--bench", "--results", "nowhere"), "no rows of a bench"),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(report, words, message):
    status, html, err = report(*words)
    assert (status, html) == (2, None)
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_training_is_no_adaptation(recorded, report):
    status, html, err = report(recorded[1].protocols[0].run_ids[0])
    assert (status, html) == (2, None)
    assert "is a run of kind 'protocol'" in err
    store = Store(recorded[0])
    assert store.run(recorded[1].protocols[0].run_ids[0]).tags[KIND] == "protocol"


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("pfa-kl", ("pfa-kl", "pfa-kl")),
        ("pfa-en 0.8", ("pfa-en 0.8", "")),
        ("pfa-kl flops 0.1", ("pfa-kl", "0.1 of the FLOPs")),
        ("fp footprint pfa-kl", ("fp", "pfa-kl")),
        ("fp footprint 0.25 compensate", ("fp compensate", "0.25")),
        ("random flops 0.1 selection pfa draw 2", ("random", "0.1 of the FLOPs")),
        (
            "pfa-cost flops 0.1 cost flops min-share 0.05",
            ("pfa-cost min-share 0.05", "0.1 of the FLOPs"),
        ),
        ("uniform selection apoz flops 0.5", ("uniform selection apoz", "0.5 of the FLOPs")),
    ],
)  # fmt: skip
def test_a_method_and_its_budget_are_told_apart(label, parts):
    assert method_and_budget(label) == parts


def test_the_rows_of_the_repository_are_reported(run_cli):
    results = Path(workbench.__file__).parents[1] / "docs/results"
    if not results.is_dir():
        pytest.skip("needs the docs of a checkout")
    status, out, err = run_cli("report", "--bench", "--results", results)
    assert status == 0, err
    assert out.startswith("report.html: written")
    html = Path("report.html").read_text()
    assert "vgg16 of cifar100, 15 epochs" in html
    assert "Paired differences" in html
    assert headings(html)[-1] == "origin"
