"""Teachers of pfa-distill: who they are, what their students learn, and how chains are recorded."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.plans.run_keys import protocol_key
from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.source_network import SourceNetwork, source_structure
from workbench.adaptation.tasks.task import resolve
from workbench.adaptation.trainings.teacher_chains import assistant_task
from workbench.adaptation.trainings.teachers import TrainedTeacher
from workbench.adaptation.trainings.training_jobs import protocol_job
from workbench.compression.costs.costs import Costs
from workbench.compression.recipes.recipes import LayerRecipe, Recipe
from workbench.data.known_sets import load_images
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.store.mlflow_store import Store
from workbench.training.distillation_options import (
    BOTH,
    FULL_FINE,
    MUTUAL,
    OBJECTIVES,
    SOURCE,
    STUDENT,
    TAUGHT,
)  # fmt: skip
from workbench.training.mutual_learning import Peers
from workbench.training.objectives import OBJECTIVES as TABLE
from workbench.training.protocols import PROTOCOLS

CPU = Processor("cpu", "fp32", 1)
DISTILLED = PROTOCOLS["pfa-distill"]
ADAPT = (
    "adapt", "--source", "digits", "--target", "digits-3v8", "--schedule", "one-cycle",
    "--source-epochs", 1, "--epochs", 1, "--batch-size", 64, "--protocols", "pfa-distill",
)  # fmt: skip


@pytest.fixture(scope="module")
def source():
    model = build_network("simplecnn", (1, 8, 8), 10, seed=7)
    torch.manual_seed(0)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value += 0.01 * torch.randn(value.shape).abs()
    return SourceNetwork(model.state_dict(), "source")


def load(**options):
    given = {"protocols": "full-fine,pfa-distill", **options}
    task = resolve(Settings.of(source="digits", target="digits-3v8", **given))
    train, test = (
        load_images("digits", split, None).of_classes(task.domain.classes, "digits")
        for split in ("train", "test")
    )
    return LoadedTask(task, CPU, train, test)


@pytest.fixture(scope="module")
def analysis():
    """A quarter of the filters of every group."""
    layers = tuple(
        LayerRecipe(
            group.name, group.filters, tuple(range(0, group.filters, 4)), 1, 1, 0.0, 1.0,
            (1.0,) * group.filters,
        )
        for group in source_structure(load().task).groups
    )  # fmt: skip
    return Analysis(Recipe("pfa-kl", 1, layers), Costs(400, 4), Costs(100, 1))


def key(loaded, source, analysis, kind=FULL_FINE, teacher="t"):
    return protocol_key(loaded, DISTILLED, 0, source.fingerprint, analysis, teacher, kind)


def test_the_table_has_the_objectives_that_a_user_can_name():
    assert (*TABLE, MUTUAL) == OBJECTIVES
    assert tuple(TABLE) == TAUGHT


@pytest.mark.parametrize("kind", [SOURCE, BOTH])
def test_a_student_of_all_classes_is_cut_to_the_targets_exactly(source, analysis, kind):
    loaded = load(teacher=kind)
    weights = source
    if kind == BOTH:
        full = build_network("simplecnn", (1, 8, 8), 2, seed=1)
        weights = SourceNetwork(full.state_dict(), "full-fine")
    teacher = TrainedTeacher(kind, weights)
    job = protocol_job(loaded, DISTILLED, 0, source, analysis, teacher)
    network = job.make_model().eval()
    inputs = torch.randn(9, 1, 8, 8)
    before, after = network(inputs), job.finish(network).eval()(inputs)
    assert before.shape == (9, 10)
    torch.testing.assert_close(after, before[:, [3, 8]], rtol=1e-6, atol=1e-6)
    cut = job.finish(network).state_dict()
    for name, value in network.state_dict().items():
        rows = [3, 8] if value.ndim and len(value) == 10 else slice(None)
        assert torch.equal(cut[name], value[rows] if value.ndim else value)
    assert set(job.train.labels) == {3, 8}
    assert (job.train.labels == [3, 8][0]).sum() == (loaded.train.labels == 0).sum()
    assert set(job.test.labels) == {0, 1}
    assert job.make_teacher().logits(inputs).shape == (9, 10)
    assert job.card.classes == loaded.task.domain.classes


def test_the_source_teaches_its_own_logits(source, analysis):
    job = protocol_job(load(), DISTILLED, 0, source, analysis, TrainedTeacher(SOURCE, source))
    inputs = torch.randn(4, 1, 8, 8)
    teacher = job.make_teacher()
    teacher.prepare(torch.device("cpu"))
    full = source.build(load().task).eval()
    torch.testing.assert_close(teacher.logits(inputs), full(inputs))


def test_a_compressed_teacher_teaches_the_targets_classes(source, analysis):
    loaded = load(objective="fitnets")
    first = protocol_job(loaded, DISTILLED, 0, source, analysis, TrainedTeacher(SOURCE, source))
    weights = SourceNetwork(first.finish(first.make_model()).state_dict(), "student")
    teacher = TrainedTeacher(STUDENT, weights, analysis.recipe, 2)
    job = protocol_job(loaded, DISTILLED, 0, source, analysis, teacher)
    student, taught = job.make_model(), job.make_teacher()
    inputs = torch.randn(4, 1, 8, 8)
    assert student(inputs).shape == taught.logits(inputs).shape == (4, 2)
    (layer,) = taught.layers
    assert layer.ours == layer.theirs == tuple(range(len(layer.ours)))
    assert (job.params["teacher"], job.params["generation"]) == ("student", 2)
    assert "generations: 2" in job.artifacts["options.yaml"]


def test_mutual_learning_stores_the_compressed_network(source, analysis):
    loaded = load(objective="mutual")
    job = protocol_job(loaded, DISTILLED, 0, source, analysis, TrainedTeacher(MUTUAL, source))
    peers = job.make_model()
    assert isinstance(peers, Peers)
    small, full = peers.networks
    assert job.finish(peers) is small
    ours, theirs = (sum(p.numel() for p in net.parameters()) for net in (small, full))
    assert ours < theirs / 8


def test_keys_change_with_what_is_learned_and_only_then(source, analysis):
    plain = key(load(), source, analysis)
    assert key(load(generations=3, assistant=True), source, analysis) == plain
    assert key(load(), source, analysis, STUDENT) == plain
    others = [key(load(), source, analysis, kind) for kind in (SOURCE, BOTH)]
    others += [key(load(objective=name), source, analysis) for name in OBJECTIVES[1:]]
    assert len({plain, *others}) == 1 + len(others)
    fine = PROTOCOLS["pfa-fine"]
    keys = {
        protocol_key(load(**options), fine, 0, source.fingerprint, analysis)
        for options in ({}, {"objective": "rkd"}, {"teacher": "source"})
    }
    assert len(keys) == 1


def test_an_assistant_lies_at_the_geometric_mean_of_the_footprints(analysis):
    task = assistant_task(load(assistant=True, seeds=3, objective="rkd"), analysis).task
    assert task.settings.recipe.footprint == task.asked.recipe.footprint == 0.5
    training = task.settings.training
    assert (training.seeds, training.generations, training.assistant) == (1, 1, False)
    assert training.objective == "rkd"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Options of one store for all commands, so that the source and full-fine are trained once."""
    folder = tmp_path_factory.mktemp("shared")
    return ("--tracking-uri", f"sqlite:///{folder}/store.db", "--output", folder / "work")


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ("--objective attention-transfer", ["teacher: full-fine, seed 0"]),
        ("--objective similarity --teacher source --generations 2", [
            "generation 1 of 2: pfa-distill, seed 0",
        ]),
        ("--objective fitnets --assistant", [
            "teacher: full-fine, seed 0", "teacher assistant: pfa-distill, seed 0",
        ]),
        ("--objective rkd --teacher both", ["teacher: full-fine, seed 0"]),
        ("--objective mutual", []),
    ],
)  # fmt: skip
def test_every_way_runs_is_previewed_and_found_again(run_cli, shared, options, steps):
    command = (*ADAPT, *options.split(), *shared, "--json")
    status, out, err = run_cli(*command, "--dry-run")
    assert status == 0, err
    titles = [step["step"] for step in json.loads(out)["steps"]]
    assert [title for title in titles if title.startswith(("teacher", "generation"))] == steps
    status, out, err = run_cli(*command)
    assert status == 0, err
    first = json.loads(out)
    store = Store(shared[1])
    run = store.run(first["protocols"][0]["run_ids"][0])
    weights = load_file(store.fetch(run, "weights.safetensors"))
    assert len(weights["features.26.weight"]) == 2
    _, out, _ = run_cli(*command, "--dry-run")
    assert {step["state"] for step in json.loads(out)["steps"]} == {"done"}
    for step in steps:
        if step.startswith("teacher: "):
            continue
        # A network of a chain is that of an ordinary adaptation, whose options it has.
        ids = [each["run_id"] for each in json.loads(out)["steps"] if each["step"] == step]
        status, again, err = run_cli("adapt", "--like", ids[0], *shared, "--json")
        assert status == 0, err
        assert json.loads(again)["protocols"][0]["run_ids"] == ids
    status, again, err = run_cli("adapt", "--like", run.run_id, *shared, "--json")
    assert status == 0, err
    assert json.loads(again)["protocols"][0]["run_ids"] == [run.run_id]


def test_a_student_of_the_source_resumes_with_all_its_classes(run_cli, shared, monkeypatch):
    monkeypatch.setattr("workbench.adaptation.trainings.training_jobs._PROTOCOL_CHECKPOINT", 0.0)
    command = (*ADAPT, *shared, "--teacher", "source", "--epochs", 2, "--json")
    run_cli(*ADAPT, *shared, "--protocols", "source")  # trains the source network

    def cut(self, epoch):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("workbench.store.recorder.LiveMetrics.add", cut)
        assert run_cli(*command)[0] == 130
    (saved,) = Path(shared[3]).glob("*/checkpoint.safetensors")
    assert len(load_file(saved)["model.features.26.weight"]) == 10
    found = []
    for repeated in ((), ("--fresh",)):
        status, out, err = run_cli(*command, *repeated)
        assert status == 0, err
        store = Store(shared[1])
        run = store.run(json.loads(out)["protocols"][0]["run_ids"][0])
        found.append(load_file(store.fetch(run, "weights.safetensors")))
    resumed, whole = found
    assert len(whole["features.26.weight"]) == 2
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


FLAT = """
from torch import nn

def flat(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, num_classes))
"""


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--objective atention-transfer", "unknown value 'atention-transfer'; did you mean"),
        ("--teacher full", "--teacher: unknown value 'full'"),
        ("--generations 0", "--generations 0 is not within 1 to 100"),
        ("--teacher source --head new", "which needs --head slice; use --teacher full-fine"),
        ("--teacher both --steps 2 --epochs 4", "--steps 2 have only the target's"),
        ("--objective mutual --generations 2", "--generations has no effect with --objective mut"),
        ("--objective mutual --temperature 2", "--temperature has no effect with --objective mut"),
        ("--objective attention-transfer --model flat:flat", "use --objective soft-targets or rkd"),
    ],
)
def test_a_wrong_choice_is_one_line(run_cli, tmp_path, monkeypatch, options, line):
    (tmp_path / "flat.py").write_text(FLAT)
    monkeypatch.syspath_prepend(tmp_path)
    status, _, err = run_cli(*ADAPT, *options.split())
    assert status == 2
    assert line in err
    assert err.count("\n") == 1
