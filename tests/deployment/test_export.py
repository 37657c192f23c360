"""Networks leave the workbench: exported, proven, loaded again, and asked about images."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import workbench
from workbench.compression.narrow_networks import build_narrow
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import load_images
from workbench.deployment.file_formats import FORMATS
from workbench.deployment.predict import prepare
from workbench.errors import WeightsError
from workbench.models.weight_files import Card, read_card

DIGITS = SOURCES["digits"]
CARD = Card.of("simplecnn", DIGITS, ("3", "8"), (20, 20, 20, 30, 30, 30, 30, 30))
ONNX = pytest.importorskip  # "pip install .[test]" of a distributor may leave the extra out


@pytest.fixture
def weights(tmp_path):
    """A compressed network's weight file, as the workbench writes it."""
    model = build_narrow(CARD.model, CARD.shape, 2, CARD.widths, seed=3)
    path = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), path, CARD.metadata())
    return path


@pytest.fixture
def image(tmp_path):
    """A digit of the test split as a PNG, larger than the network's images."""
    digit = load_images("digits", "test", None).pixels[0, 0]
    pixels = np.kron((digit.astype(float) * 255 / 16).astype(np.uint8), np.ones((4, 4), np.uint8))
    path = tmp_path / "digit.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("format_", ["safetensors", "pt2", "onnx"])
def test_an_exported_file_says_what_it_is_and_computes_the_same(run_cli, weights, image, format_):
    if format_ == "onnx":
        ONNX("onnxruntime"), ONNX("onnxscript")
    status, out, err = run_cli("export", weights, "--format", format_)
    assert status == 0, err
    assert "written and verified on all 72 test images of digits: accuracy " in out
    assert "the classes agree on 100.0 %, the logits differ by" in out
    path = Path(f"network.{'safetensors' if format_ == 'safetensors' else format_}")
    assert path.is_file()
    assert not list(Path().glob("*.part*"))
    assert run_cli("export", weights, "--format", format_)[0] == 2  # never overwritten
    if format_ == "pt2":
        extra = {"workbench.json": ""}
        program = torch.export.load(path, extra_files=extra)
        assert json.loads(extra["workbench.json"])["classes"] == ["3", "8"]
        assert program.module()(torch.zeros(5, 1, 8, 8)).shape == (5, 2)
        status, _, err = run_cli("predict", path, image)
        assert status == 2
        assert "can run code" in err
        return
    expected = workbench.predict(str(weights), [image], top=2)
    found = workbench.predict(str(path), [image], top=2)
    assert found[0].classes == expected[0].classes
    assert found[0].probabilities == pytest.approx(expected[0].probabilities, abs=1e-5)


def test_the_card_has_the_normalisation_and_older_files_get_their_sources(weights, tmp_path):
    assert read_card(weights) == CARD
    assert (CARD.mean, CARD.std, CARD.white) == (DIGITS.mean, DIGITS.std, 16)
    old = json.loads(CARD.metadata()["workbench"])
    for name in ("mean", "std", "white"):
        del old[name]
    path = tmp_path / "old.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"workbench": json.dumps(old)})
    assert read_card(path) == CARD


def test_an_image_is_prepared_as_the_training_saw_it(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    source = SOURCES["cifar10"]
    card = Card.of("vgg16", source, ("cat", "dog"))
    expected = normalise(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()), source)
    np.testing.assert_allclose(prepare([tmp_path / "a.png"], card), expected.numpy(), atol=1e-5)


def test_a_large_image_is_scaled_and_its_middle_is_cut_out(tmp_path):
    wide = np.zeros((64, 192, 3), dtype=np.uint8)
    wide[:, 64:128] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    card = replace(Card.of("vgg16", SOURCES["cifar10"], ("a", "b")), mean=(0, 0, 0), std=(1, 1, 1))
    assert (prepare([tmp_path / "wide.png"], card)[:, :, :, 1:-1] == 1).all()


def test_probabilities_are_told_as_text_and_as_json(run_cli, weights, image):
    status, out, _ = run_cli("predict", weights, image, image, "--top", 2)
    assert status == 0
    assert len(out.splitlines()) == 2
    (row, _) = json.loads(run_cli("predict", weights, image, image, "--json")[1])
    assert sorted(row["classes"]) == ["3", "8"]
    assert sum(row["probabilities"]) == pytest.approx(1)
    assert row["probabilities"] == sorted(row["probabilities"], reverse=True)


def test_a_file_that_computes_something_else_is_removed(run_cli, weights, monkeypatch):
    written = FORMATS["safetensors"]

    def wrong(trained, settings, path):
        for value in trained.network.parameters():
            value.data *= 1.01
        report = written.write(trained, settings, path)
        for value in trained.network.parameters():
            value.data /= 1.5
        return report

    monkeypatch.setitem(FORMATS, "safetensors", replace(written, write=wrong))
    status, out, err = run_cli("export", weights)
    assert (status, out) == (1, "")
    assert "differs from its network by" in err
    assert not list(Path().glob("network*"))


def test_a_loaded_network_goes_on_training(weights):
    model = workbench.load_network(weights)
    digits = load_images("digits", "train", None).of_classes(("3", "8"), "digits")
    images, labels = normalise(torch.from_numpy(digits.pixels), DIGITS), digits.labels
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(images), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_a_run_and_an_adaptation_are_found_by_their_ids(run_cli, image):
    command = ["adapt", "--source", "digits", "--target", "digits-3v8", "--source-epochs", 1]
    status, out, err = run_cli(
        *command, "--epochs", 1, "--protocols", "full-fine,pfa-fine", "--json"
    )
    assert status == 0, err
    result = json.loads(out)
    assert run_cli("export", result["run_id"], "--out", "best.safetensors")[0] == 0
    training = result["protocols"][1]["run_ids"][0]
    assert run_cli("export", training, "--out", "small.safetensors")[0] == 0
    assert read_card(Path("small.safetensors")).classes == ("3", "8")
    assert run_cli("predict", training, image)[0] == 0
    kept = result["recommended"]
    small = kept.startswith("pfa")
    assert read_card(Path("best.safetensors")).widths == (
        tuple(row["kept"] for row in result["recipe"]) if small else ()
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["export", "gone.safetensors"], "gone.safetensors: no such file"),
        (["export", "0123abc"], "is not a file, and there is no store here"),
        (["export", "{weights}", "--format", "tflite"], "--format: unknown value 'tflite'"),
        (["export", "{weights}", "--out", "x.onnx"], "must end in .safetensors"),
        (["export", "{weights}", "--out", "no/x.safetensors"], "is not a writable folder"),
        (["predict", "{weights}", "gone.png", "text.png"], "gone.png: no such image"),
        (["predict", "{weights}", "gone.png", "text.png"], "text.png: cannot be read as an image"),
        (["predict", "{weights}", "text.png", "--top", "0"], "--top 0 is too small"),
        (["predict", "text.onnx", "text.png"], "text.onnx"),
        (["predict", "text.png", "text.png"], "text.png"),
    ],
)
def test_mistakes_are_told(run_cli, weights, tmp_path, command, message):
    for name in ("text.png", "text.onnx"):
        (tmp_path / name).write_text("no image")
    before = sorted(tmp_path.iterdir())
    if "text.onnx" in command:
        ONNX("onnxruntime")
    status, out, err = run_cli(*(part.format(weights=weights) for part in command))
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


def test_an_image_that_is_a_pipe_is_not_waited_for(run_cli, weights, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    writer = threading.Thread(target=(tmp_path / "pipe.png").write_text, args="x", daemon=True)
    writer.start()  # it ends the wait of a reader that does wait
    status, out, err = run_cli("predict", weights, "pipe.png")
    assert (status, out) == (2, "")
    assert err == "workbench: pipe.png: is not a regular file; name an image file\n"


@pytest.mark.parametrize(
    "command",
    [
        ["export", "1" * 400],
        ["export", "1" * 400 + ".safetensors"],
        ["export", "a b\x1b[2J"],
        ["export", "{weights}", "--out", "1" * 400 + ".safetensors"],
        ["export", "{weights}", "--out", "1" * 400 + "/a.safetensors"],
        ["predict", "1" * 400, "a.png"],
        ["predict", "1" * 400 + ".onnx", "a.png"],
        ["predict", "{weights}", "1" * 400],
    ],
)
def test_an_absurd_name_is_one_line(run_cli, weights, tmp_path, command):
    if "onnx" in command[1]:
        ONNX("onnxruntime")
    before = sorted(tmp_path.iterdir())
    status, out, err = run_cli(*(part.format(weights=weights) for part in command))
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("workbench: ")
    assert "\x1b" not in line
    assert sorted(tmp_path.iterdir()) == before


def test_the_longest_name_of_a_file_is_written(run_cli, weights):
    name = "n" * 240 + ".safetensors"  # the model card is longer by .md
    assert run_cli("export", weights, "--out", name)[0] == 0
    assert Path(name).is_file()


def test_names_that_would_steer_a_terminal_are_escaped(run_cli, weights, image, tmp_path):
    network, card = workbench.load_network(weights), read_card(weights)
    evil = ("\x1b[2Jcat\n:dog: [red]", "\x9b8\u202e")
    path = tmp_path / "net\x1b]0;x\x07.safetensors"
    save_file(network.state_dict(), path, replace(card, classes=evil).metadata())
    photo = image.rename(tmp_path / "\x1b[31mdigit.png")
    status, out, err = run_cli("predict", path, photo)
    assert status == 0, err
    (line,) = out.splitlines()
    assert line.isprintable()
    assert "\\x1b[2Jcat\\n:dog: [red]" in line
    assert "\\x1b[31mdigit.png" in line
    rows = json.loads(run_cli("predict", path, photo, "--json")[1])
    assert set(rows[0]["classes"]) == set(evil)
    status, out, _ = run_cli("export", path, "--out", "\x1b[1ma.safetensors")
    assert status == 0
    assert "".join(out.splitlines()).isprintable()


def test_an_onnx_file_is_not_believed_either(run_cli, weights, image):
    onnx = ONNX("onnx")
    ONNX("onnxruntime"), ONNX("onnxscript")
    assert run_cli("export", weights, "--format", "onnx", "--out", "a.onnx")[0] == 0
    card = json.loads(CARD.text())
    wrong = {
        "std is 0": {**card, "std": [0]},
        "image shape is 1000000": {**card, "shape": [1, 10**6, 10**6]},
        "does not run on its images": {**card, "shape": [3, 8, 8], "mean": [0] * 3, "std": [1] * 3},
        "one output for each of its 3 classes": {**card, "classes": ["3", "8", "9"]},
    }
    for said, content in wrong.items():
        model = onnx.load("a.onnx")
        (entry,) = [entry for entry in model.metadata_props if entry.key == "workbench"]
        entry.value = json.dumps(content)
        onnx.save(model, "b.onnx")
        status, out, err = run_cli("predict", "b.onnx", image)
        assert (status, out) == (2, "")
        (line,) = err.splitlines()
        assert line.startswith("workbench: b.onnx: ")
        assert said in line


def test_a_file_without_a_card_is_rejected(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(WeightsError, match="was not written by the workbench"):
        workbench.predict(str(tmp_path / "plain.safetensors"), ["a.png"])
