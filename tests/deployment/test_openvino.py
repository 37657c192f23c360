"""ONNX files in OpenVINO: the same numbers as onnxruntime, and one line for damaged files."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images, load_images
from workbench.deployment.onnx_files import write_onnx
from workbench.deployment.openvino_runtime import open_openvino
from workbench.deployment.quantisation.int8_qat import make_int8_qat
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import TrainedNetwork
from workbench.errors import SettingsError, WeightsError
from workbench.models.weight_files import Card

DIGITS = SOURCES["digits"]
CARD = Card.of("simplecnn", DIGITS, DIGITS.classes)


@pytest.fixture(scope="module")
def images():
    train = load_images("digits", "train", None)
    return Images(train.pixels[:64], train.labels[:64])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.SiLU(), nn.Flatten(),
        nn.Linear(8 * 16, 10),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def batch(images):
    return normalise(torch.from_numpy(images.pixels), CARD).contiguous()


@pytest.fixture(scope="module")
def file(network, batch, tmp_path_factory):
    for library in ("openvino", "onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(library)
    path = tmp_path_factory.mktemp("onnx") / "a.onnx"
    write_onnx(network, CARD, path)
    return path


@pytest.mark.parametrize("threads", [1, 2])
def test_float_files_compute_what_the_network_computes(file, network, batch, threads):
    run = open_openvino(file, threads)
    with torch.inference_mode():
        wanted = network(batch).numpy()
    first = run(batch[:1].numpy())
    np.testing.assert_allclose(run(batch.numpy()), wanted, rtol=0, atol=1e-4)
    np.testing.assert_allclose(first, wanted[:1], rtol=0, atol=1e-4)  # not overwritten
    assert run(batch[:0].numpy()).shape == (0, 10)


def test_int8_files_compute_what_onnxruntime_computes(file, network, images, batch, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "int8.onnx"
    make_int8_qat(TrainedNetwork(network, CARD, images), DeploymentSettings(qat_epochs=1), path)
    (wanted,) = runtime.InferenceSession(path).run(["logits"], {"images": batch.numpy()})
    found = open_openvino(path, 1)(batch.numpy())
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


def test_images_of_another_shape_are_an_error(file):
    run = open_openvino(file, 1)
    for shape in [(1, 3, 8, 8), (1, 1, 9, 9), (1, 8, 8)]:
        with pytest.raises(WeightsError, match="takes images of"):
            run(np.zeros(shape, np.float32))


def test_damaged_files_are_one_line(file, tmp_path, capfd):
    content, path = file.read_bytes(), tmp_path / "b.onnx"
    damaged = [b"", b"no network", np.random.default_rng(0).bytes(1000)]
    for bad in [*damaged, *(content[:size] for size in (1, 100, len(content) // 2))]:
        path.write_bytes(bad)
        with pytest.raises(WeightsError, match=r"b\.onnx: not a readable ONNX file") as error:
            open_openvino(path, 1)
        assert len(error.value.problems) == 1
    assert capfd.readouterr() == ("", "")
    for gone in (tmp_path / "gone.onnx", tmp_path):
        with pytest.raises(WeightsError, match="no such file"):
            open_openvino(gone, 1)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SettingsError, match=r"pip install 'pfa-workbench\[openvino\]'"):
        open_openvino(tmp_path / "a.onnx", 1)
