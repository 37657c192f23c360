"""ExecuTorch files: written, verified, opened again; damaged files do not end the process."""

import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import load_images
from workbench.deployment.executorch_files import open_pte, write_pte
from workbench.errors import ExportError, SettingsError, WeightsError
from workbench.models.networks import build_network, place
from workbench.models.weight_files import Card

DIGITS = SOURCES["digits"]
CARD = Card.of("simplecnn", DIGITS, ("3", "8"), (4, 4, 4, 6, 6, 6, 6, 6))
needs_executorch = pytest.mark.skipif(
    find_spec("executorch") is None, reason="needs the extra [executorch]"
)


class Gated(nn.Module):
    """A depthwise block with SiLU, squeeze-and-excitation and a shortcut."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.gate, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8 * 64, 2)

    def forward(self, x):
        x = nn.functional.silu(self.stem(x))
        y = self.deep(x)
        y = x + y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        return self.head(y.flatten(1))


@pytest.fixture(scope="module")
def images():
    return normalise(torch.from_numpy(load_images("digits", "test", None).pixels[:8]), DIGITS)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return place(Gated().eval(), torch.device("cpu"))


@pytest.fixture(scope="module")
def written(network, images, tmp_path_factory):
    path = tmp_path_factory.mktemp("pte") / "a.pte"
    write_pte(network, CARD, images, path)
    return path


@needs_executorch
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_file_computes_what_its_network_computes(written, network, images, count):
    card, classify = open_pte(written)
    assert card == CARD
    logits = classify(images[:count].numpy())
    assert (logits.dtype, logits.shape) == (np.float32, (count, 2))
    with torch.inference_mode():
        np.testing.assert_allclose(logits, network(images[:count]).numpy(), rtol=0, atol=1e-5)


@needs_executorch
def test_convolutions_are_delegated(written):
    content = written.read_bytes()
    assert b"XnnpackBackend" in content
    assert b"convolution" not in content


@needs_executorch
def test_loading_prints_nothing(written, images, capfd, caplog):
    open_pte(written)[1](images.numpy())
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@needs_executorch
def test_images_of_another_size_are_an_error(written):
    with pytest.raises(WeightsError, match="does not run on its images"):
        open_pte(written)[1](np.zeros((1, 1, 9, 9), np.float32))


@needs_executorch
def test_a_network_that_cannot_be_exported_is_one_line(images, tmp_path):
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ExportError, match="ExecuTorch cannot write this network") as error:
        write_pte(Branching().eval(), CARD, images, tmp_path / "a.pte")
    assert len(error.value.problems) == 1
    assert not (tmp_path / "a.pte").exists()


@pytest.mark.parametrize("size", [0, 1, 6, 100, 1000, 100_000])
def test_random_bytes_are_one_line(tmp_path, size):
    path = tmp_path / "a.pte"
    for start in (b"", b"1234ET12"):
        path.write_bytes(start + np.random.default_rng(size).bytes(size))
        with pytest.raises(WeightsError, match=r"a\.pte: (not a readable|damaged)") as error:
            open_pte(path)
        assert len(error.value.problems) == 1


@needs_executorch
def test_a_cut_or_changed_file_is_one_line(written, tmp_path):
    """Changed bytes in the names of operators end the process if the runtime reads them."""
    content, path = written.read_bytes(), tmp_path / "a.pte"
    for size in (7, 40, 1000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(WeightsError, match=r"not a readable|damaged"):
            open_pte(path)
    for place_ in np.random.default_rng(0).integers(8, len(content), 200):
        changed = bytearray(content)
        changed[place_] ^= 0xFF
        path.write_bytes(changed)
        with pytest.raises(WeightsError, match="damaged"):
            open_pte(path)
    path.write_bytes(content + b"x")
    with pytest.raises(WeightsError, match="damaged"):
        open_pte(path)


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    for path in (tmp_path / "gone.pte", tmp_path):
        with pytest.raises(WeightsError, match="no such file"):
            open_pte(path)


def test_a_missing_library_is_named(network, images, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "executorch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(SettingsError, match=r"pip install 'pfa-workbench\[executorch\]'"):
        write_pte(network, CARD, images, tmp_path / "a.pte")
    assert os.listdir(tmp_path) == []


@needs_executorch
@pytest.mark.slow
@pytest.mark.parametrize("model", ["simplecnn", "torchvision:mobilenet_v3_small", "resnet56"])
def test_known_networks_compute_the_same(model, tmp_path):
    network = place(build_network(model, (3, 32, 32), 2).eval(), torch.device("cpu"))
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    write_pte(network, CARD, images, tmp_path / "a.pte")
    with torch.inference_mode():
        wanted = network(images).numpy()
    logits = open_pte(tmp_path / "a.pte")[1](images.numpy())
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
