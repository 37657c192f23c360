"""Export to safetensors, torch.export programs and ONNX, each verified before it is kept.

Every file holds the network, its class names, its input size and the images' normalisation. The
input is a batch, of any size, of normalised images as ``predict.prepare`` returns them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from workbench.compression.narrow_networks import load_network
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.data_folder import data_folder, is_present
from workbench.data.decoding import UNREADABLE, Form, decode, quiet
from workbench.data.known_sets import load_images
from workbench.data.user_paths import check_new_file, user_path
from workbench.data.whole_files import written_whole
from workbench.deployment.run_weights import find_weights
from workbench.errors import ExportError, SettingsError, check_choice
from workbench.models.weight_files import CARD, Card, read_card, save_tensors
from workbench.store.unfinished_work import disk_errors

_IMAGES = 32  # images on which an exported file is compared with its network
_MOST_PIXELS = 1 << 23  # values in these images together, unless two images have more
_TOLERANCE = 1e-4  # as a share of the largest logit
_SUFFIXES = {"safetensors": ".safetensors", "pt2": ".pt2", "onnx": ".onnx"}
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Exported:
    """An exported file and its comparison with the network.

    Attributes:
        path: the file.
        images: number of images on which the file was compared with the network.
        real: whether these are test images of the network's classes; otherwise they are noise.
        difference: largest difference of logits, as a share of the largest logit.
        agreement: share of the images for which both predict the same class, in [0, 1].
    """

    path: Path
    images: int
    real: bool
    difference: float
    agreement: float


def export(
    run: str,
    *,
    format: str = "safetensors",  # noqa: A002 - named as the option
    out: Path | str | None = None,
    model: str | None = None,
    data_dir: Path | None = None,
    tracking_uri: str | None = None,
) -> Exported:
    """Write a network to a file, load the file again and compare it with the network.

    Args:
        run: as for ``run_weights.find_weights``.
        format: "safetensors", "pt2" (torch.export) or "onnx".
        out: file to write; ``network`` with the format's suffix when None. An existing file is
            not overwritten.
        model: name of the network, if the user's own code defines it.

    Raises:
        WorkbenchError: for anything that the user can correct; ``ExportError`` when the outputs
            of the file and the network differ (the file is then removed).
    """
    problems = check_choice("--format", format, list(_SUFFIXES))
    if problems:
        raise SettingsError(*problems)
    suffix = _SUFFIXES[format]
    path = check_new_file(user_path(out or f"network{suffix}"), "--out", suffix)
    write, read = _FORMATS[format]()
    source = find_weights(run, tracking_uri)
    network, card = load_network(source.weights, model), read_card(source.weights)
    images, real = _images(card, source.images, data_dir)
    with disk_errors(path.parent), written_whole(path, suffix) as part:
        write(network, card, images, part)
        with torch.inference_mode():
            wanted = network(images).numpy()
        found = read(part, model)(images.numpy())
        return _compare(path, wanted, found, real)


def _compare(path: Path, wanted: Logits, found: Logits, real: bool) -> Exported:
    difference = float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-30))
    agreement = float((found.argmax(1) == wanted.argmax(1)).mean())
    if not difference <= _TOLERANCE:
        raise ExportError(
            f"{path}: differs from its network by {difference:.1e} of the largest logit, more than "
            f"{_TOLERANCE:g}; the file was removed"
        )
    return Exported(path, len(wanted), real, difference, agreement)


def _images(card: Card, listed: Sequence[Path], data_dir: Path | None) -> tuple[torch.Tensor, bool]:
    """Normalised test images of the network's classes, or noise if there are none here."""
    count = min(_IMAGES, max(2, _MOST_PIXELS // math.prod(card.shape)))
    pixels = (
        _folder_pixels(card, listed[:count])
        if listed
        else _known_pixels(card, data_folder(data_dir))
    )
    if pixels is not None and len(pixels):
        return normalise(torch.from_numpy(pixels), card).contiguous(), True
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, *card.shape, generator=generator), False


def _known_pixels(card: Card, folder: Path) -> NDArray[np.uint8] | None:
    known = SOURCES.get(card.source)
    own = known and known.shape == card.shape and set(card.classes) <= set(known.classes)
    if not own or not is_present(card.source, folder):
        return None
    images = load_images(card.source, "test", folder).of_classes(card.classes, card.source)
    places = np.linspace(0, len(images) - 1, min(_IMAGES, len(images))).astype(int)
    pixels: NDArray[np.uint8] = images.pixels[places]
    return pixels


def _folder_pixels(card: Card, paths: Sequence[Path]) -> NDArray[np.uint8] | None:
    """Pixels of the files that still exist and are images; None without any."""
    form, read = Form(card.shape[0], card.shape[1], card.white), []
    with quiet():
        for path in paths:
            with suppress(*UNREADABLE):
                read.append(decode(path, form))
    return np.stack(read) if read else None


# --- formats: each function returns a writer and a reader ----------------------------------

Writer = Callable[[nn.Module, Card, torch.Tensor, Path], None]
Reader = Callable[[Path, str | None], Callable[[NDArray[np.float32]], Logits]]


def _safetensors() -> tuple[Writer, Reader]:
    def write(network: nn.Module, card: Card, _images: torch.Tensor, path: Path) -> None:
        save_tensors(dict(network.state_dict()), path, card.metadata())

    def read(path: Path, model: str | None) -> Callable[[NDArray[np.float32]], Logits]:
        return _runner(load_network(path, model))

    return write, read


def _pt2() -> tuple[Writer, Reader]:
    def write(network: nn.Module, card: Card, images: torch.Tensor, path: Path) -> None:
        batch = {0: torch.export.Dim.DYNAMIC}
        program = torch.export.export(network, (images,), dynamic_shapes=(batch,))
        torch.export.save(program, path, extra_files={f"{CARD}.json": card.text()})

    def read(path: Path, _model: str | None) -> Callable[[NDArray[np.float32]], Logits]:
        # torch.export.load unpickles, so load only the file that was just written here.
        return _runner(torch.export.load(path).module())

    return write, read


def _onnx() -> tuple[Writer, Reader]:
    onnx, runtime = import_onnx("onnx"), import_onnx("onnxruntime")
    import_onnx("onnxscript")

    def write(network: nn.Module, card: Card, images: torch.Tensor, path: Path) -> None:
        batch = {0: torch.export.Dim.DYNAMIC}
        program = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            dynamic_shapes=(batch,),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
        assert program is not None
        proto = program.model_proto
        entry = proto.metadata_props.add()
        entry.key, entry.value = CARD, card.text()
        onnx.save(proto, str(path))

    def read(path: Path, _model: str | None) -> Callable[[NDArray[np.float32]], Logits]:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda images: np.asarray(session.run(["logits"], {"images": images})[0])

    return write, read


_FORMATS: dict[str, Callable[[], tuple[Writer, Reader]]] = {
    "safetensors": _safetensors,
    "pt2": _pt2,
    "onnx": _onnx,
}


def import_onnx(name: str) -> Any:
    """Import a library of the extra ``[onnx]``.

    Raises:
        SettingsError: when it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise SettingsError(
            f"ONNX needs {name}, which is not installed; pip install 'pfa-workbench[onnx]'"
        ) from None


def _runner(network: Any) -> Callable[[NDArray[np.float32]], Logits]:
    def run(images: NDArray[np.float32]) -> Logits:
        with torch.inference_mode():
            logits: Logits = network(torch.from_numpy(images)).numpy()
        return logits

    return run
