"""Trainings in two processes of torchrun give the results of one process."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shared_trainings
import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file, save_file
from torch import nn

from workbench.data.image_batches import Share
from workbench.models.networks import build_network
from workbench.training import processes
from workbench.training.checkpoints import Checkpoint
from workbench.training.settings import TrainingSettings
from workbench.training.shared_dropout import Masks

SCRIPT = Path(shared_trainings.__file__)


def torchrun(*command, cwd):
    """Run a program in two processes of one thread each; the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *command],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory, warm):
    """The folder with the results of ``shared_trainings`` in two processes."""
    folder = tmp_path_factory.mktemp("shared")
    saved = Checkpoint(folder / "one.safetensors", "key")
    shared_trainings.train(shared_trainings.images(), checkpoint=saved)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = []
    for number in "01":  # as torchrun starts them, but without importing torch three times
        rank = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        with pytest.MonkeyPatch.context() as patch:
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
            for name, value in (rank | place).items():
                patch.setenv(name, value)
            both.append(warm.spawn(folder, cwd=folder, script=SCRIPT))
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    return folder


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("name", list(shared_trainings.CASES))
def test_two_processes_train_the_network_of_one(shared, name):
    options = shared_trainings.CASES[name]
    losses, weights = shared_trainings.train(shared_trainings.images(), **options)
    assert read(shared, name) == pytest.approx(losses, abs=1e-5)
    found = load_file(shared / f"{name}.safetensors")
    for key, value in weights.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4)


def test_a_training_goes_on_with_another_number_of_processes(shared):
    whole, _ = shared_trainings.train(shared_trainings.images())
    one = read(shared, "resumed")
    saved = Checkpoint(shared / "two.safetensors", "key")
    numbers = []
    two, _ = shared_trainings.train(
        shared_trainings.images(),
        checkpoint=saved,
        on_epoch=lambda epoch: numbers.append(epoch.number),
    )
    assert numbers == [4]  # the state after the third epoch was found
    assert one == pytest.approx(whole, abs=1e-5)
    assert two == pytest.approx(whole, abs=1e-5)
    assert one[:3] == whole[:3]
    assert two[:3] == read(shared, "plain")[:3]


def test_streamed_files_are_divided(shared, tmp_path):
    images = shared_trainings.stream(tmp_path / "images")
    losses, _ = shared_trainings.train(images)
    assert read(shared, "files") == pytest.approx(losses, abs=1e-5)


def test_an_error_in_one_process_stops_the_training_in_all(shared):
    damaged, diverged, losses = read(shared, "errors")
    assert damaged.startswith("process 1: ")
    assert "can no longer be read" in damaged
    assert "after epoch 1; try a lower --lr" in diverged
    assert losses == pytest.approx(read(shared, "plain"), abs=1e-6)


def test_the_end_of_one_process_ends_all(tmp_path):
    done = torchrun(SCRIPT, tmp_path, "crash", cwd=tmp_path)
    assert done.returncode == 1
    assert f"exitcode  : -{signal.SIGKILL:d}" in done.stderr


@pytest.mark.slow
def test_only_the_first_process_records(run_cli, tmp_path, request):
    shutil.copyfile(request.getfixturevalue("_empty_store")(), tmp_path / "two.db")
    options = (
        "train --source digits --model simplecnn --epochs 2 --schedule one-cycle --lr 0.0005 "
        "--batch-size 500 --device cpu --precision fp32 --tracking-uri sqlite:///{0}.db "
        "--output {0} --out {0}.safetensors"
    )
    done = torchrun("-m", "workbench", *options.format("two").split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    status, out, _ = run_cli(*options.format("one").split())
    assert status == 0
    assert done.stdout == out.replace("one.safetensors", "two.safetensors")
    (one,), (two,) = runs(tmp_path / "one.db"), runs(tmp_path / "two.db")
    assert losses_of(tmp_path / "two.db", two) == pytest.approx(
        losses_of(tmp_path / "one.db", one), abs=1e-5
    )
    assert two.data.tags["workbench.processes"] == "2"
    assert "workbench.processes" not in one.data.tags
    assert two.data.params.keys() == one.data.params.keys()


def client_of(store):
    return MlflowClient(f"sqlite:///{store}")


def runs(store):
    client = client_of(store)
    return client.search_runs([each.experiment_id for each in client.search_experiments()])


def losses_of(store, run):
    history = client_of(store).get_metric_history(run.info.run_id, "train_loss")
    return [each.value for each in sorted(history, key=lambda each: each.step)]


def test_norms_on_parts_of_a_batch_compute_something_else(shared):
    assert read(shared, "parts") != pytest.approx(read(shared, "plain"), abs=1e-3)
    assert "norm_parts" not in shared_trainings.PLAN.parts()


@pytest.mark.parametrize("command", ["train --out a.safetensors", "adapt --target digits-3v8"])
def test_an_option_for_several_processes_is_rejected_in_one(run_cli, command):
    status, _, err = run_cli(*command.split(), "--source", "digits", "--no-sync-batch-norm")
    assert status == 2
    assert err == (
        "workbench: --no-sync-batch-norm has no effect in one process; start it by torchrun or "
        "leave it out\n"
    )


def test_protocols_may_have_norms_on_parts_of_a_batch(monkeypatch):
    monkeypatch.setattr(processes, "share", lambda: Share(0, 2))
    settings = TrainingSettings(sync_batch_norm=False)
    assert settings.problems() == []
    assert settings.regularisers["norm_parts"] == 2
    assert "norm_parts" not in TrainingSettings().regularisers


@pytest.mark.slow
def test_an_adaptation_is_trained_with_norms_on_parts(tmp_path, request):
    shutil.copyfile(request.getfixturevalue("_empty_store")(), tmp_path / "a.db")
    source = build_network("timm:resnet10t", (1, 8, 8), 10, seed=1)
    save_file(source.state_dict(), tmp_path / "source.safetensors")
    done = torchrun(
        "-m", "workbench", *"adapt --source digits --target digits-3v8 --model timm:resnet10t "
        "--weights source.safetensors --lr 0.001 --epochs 1 --schedule one-cycle "
        "--protocols full-fine,pfa-fine --seeds 2 --tracking-uri sqlite:///a.db --json "
        "--no-sync-batch-norm".split(), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    params = {run.data.tags["mlflow.runName"]: run.data.params for run in runs(tmp_path / "a.db")}
    parts = {name: found["norm_parts"] for name, found in params.items() if "norm_parts" in found}
    assert parts == {
        f"{protocol} · digits-3v8 · seed {seed}": "2"
        for protocol in ("full-fine", "pfa-fine")
        for seed in (0, 1)
    }


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_shares_of_a_batch_are_its_images_once(count):
    sizes, shares = (8, 9, 11), [Share(number, count) for number in range(count)]
    places = np.concatenate([share.places(sizes) for share in shares])
    assert sorted(places) == list(range(28))
    for size in sizes:
        own = [share.size(size) for share in shares]
        assert sum(own) == size
        assert max(own) - min(own) <= 1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d])
def test_masks_are_those_of_torch_in_one_process(layout, kind):
    whole = torch.ones(7, 4, 3, 3).to(memory_format=layout)
    torch.manual_seed(5)
    wanted = kind(0.3)(whole)
    parts = []
    for number in range(2):
        share = Share(number, 2)
        masks = Masks(share, torch.Generator().manual_seed(5), 7)
        part = whole[share.part(7)]
        parts.append(part * masks.draw(part, 0.3, by_channel=kind is nn.Dropout2d))
    assert torch.equal(torch.cat(parts), wanted)


def test_one_process_draws_as_before():
    assert processes.own_seed(7) == 7
    assert processes.share() == Share(0, 1)
