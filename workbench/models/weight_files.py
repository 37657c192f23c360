"""Read and write weight files; no loaded file can run code.

A safetensors file holds only tensors. A ``.pt`` file is a pickle and is read through torch's
``weights_only`` loader, which builds only tensors and plain containers.
"""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workbench.data.catalog import LARGEST_IMAGE, SMALLEST_IMAGE, SOURCES, Source
from workbench.data.checked_values import listed, mapped, number, required, short_text, whole
from workbench.data.whole_files import parse_json, written_whole
from workbench.errors import WeightsError
from workbench.models.external_networks import DEFAULT_WEIGHTS
from workbench.models.factors import Factor, factors_from, plain_factors

_PICKLES = (".pt", ".pth")
#: Name of the card in the metadata of a file.
CARD = "workbench"
_MOST_TEXT = 1 << 20  # characters of a card; a card for ImageNet has 20,000
_MOST_WIDTH = 100_000  # filters of a group, and classes
_MOST_SCALE = 1e6  # bound of a normalisation, where white is 1
#: Exceptions of torch's restricted unpickler for files that are damaged or not pickles.
_UNPICKLING = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError,
    AttributeError,
)  # fmt: skip


@dataclass(frozen=True)
class Card:
    """Description of a network in its weight file, sufficient to build it again.

    Attributes:
        model: the architecture.
        source: the data set of its images.
        classes: names of the outputs, in order.
        shape: channels, height, width of an image.
        widths: number of filters of every filter group; empty for the full network.
        mean, std, white: the images' normalisation, as in ``data.catalog.Source``. For files of
            earlier versions without these values, those of the known source are used.
        sparsity: penalty on the batch norms' scales in its training; 0 without a penalty, and for
            files of earlier versions without this value.
        factors: layers that are replaced by two thinner ones; absent from the text when empty.
    """

    model: str
    source: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    widths: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    white: int = 255
    sparsity: float = 0.0
    factors: tuple[Factor, ...] = ()

    @classmethod
    def of(
        cls,
        model: str,
        source: Source,
        classes: tuple[str, ...],
        widths: tuple[int, ...] = (),
        *,
        images: str | None = None,
        factors: tuple[Factor, ...] = (),
    ) -> Card:
        """Make the card of a network.

        Args:
            source: the data set of its training, with the form of its images.
            images: name of the data set of its current images; the source's name when None.
            factors: layers that are replaced by two thinner ones.
        """
        return cls(
            model,
            images or source.name,
            classes,
            source.shape,
            widths,
            source.mean,
            source.std,
            source.white,
            factors=factors,
        )

    def metadata(self) -> dict[str, str]:
        """The card as safetensors metadata."""
        return {"format": "pt", CARD: self.text()}

    def text(self) -> str:
        """The card as JSON text."""
        plain = asdict(self)
        del plain["factors"]
        if self.factors:
            plain["factors"] = plain_factors(self.factors)
        return json.dumps(plain)


def check_weights(path: Path | None) -> list[str]:
    """A problem line when there is no such file for ``--weights``; none for None."""
    if path is None or str(path) == DEFAULT_WEIGHTS or os.path.isfile(path):
        return []
    return [f"--weights {path}: no such file; 'workbench train' writes one"]


def has_card(path: Path) -> bool:
    """Whether a weight file has a card; False for a file that cannot be read."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return CARD in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def has_penalty(path: Path) -> bool:
    """Whether batch norms' scales were penalised in the training, according to the card."""
    return has_card(path) and read_card(path).sparsity > 0


def read_card(path: Path) -> Card:
    """Read the card of a safetensors file that the workbench wrote.

    Raises:
        WeightsError: when the file is missing, damaged or has no valid card.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(CARD)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from None
    return card_from(path, text)


def card_from(path: Path, text: str | None) -> Card:
    """Parse and check the text of a card, as written by ``Card.text``.

    Args:
        path: the file, for messages.
        text: the text; None when the file has no card.

    Raises:
        WeightsError: when it is not a card, or its values are out of range.
    """
    if text is None:
        raise WeightsError(
            f"{path}: was not written by the workbench: it has no description of its network"
        )
    try:
        return _checked_card(mapped("it", parse_json(text, _MOST_TEXT)))
    except ValueError as error:
        raise WeightsError(
            f"{path}: its description of the network is not valid: {error}; "
            "export or train it again"
        ) from None


def _checked_card(saved: dict[str, Any]) -> Card:
    """Check that all values of a card are in range before anything is allocated from them."""
    source = short_text("source", required("it", saved, "source"))
    known = SOURCES.get(source)
    if known and "mean" not in saved:  # a file of an earlier version
        form = {"mean": list(known.mean), "std": list(known.std), "white": known.white}
        saved = {**saved, **form}
    channels, height, width = (
        whole("image shape", side, 1, LARGEST_IMAGE)
        for side in listed("image shape", required("it", saved, "shape"), 3, 3)
    )
    if channels not in (1, 3) or height != width or height < SMALLEST_IMAGE:
        raise ValueError(
            f"image shape is {channels}x{height}x{width}, not 1 or 3 channels of a square of "
            f"{SMALLEST_IMAGE} to {LARGEST_IMAGE} pixels"
        )
    classes = listed("classes", required("it", saved, "classes"), 2, _MOST_WIDTH)
    widths = listed("widths", required("it", saved, "widths"))
    means = listed("mean", required("it", saved, "mean"), channels, channels)
    stds = listed("std", required("it", saved, "std"), channels, channels)
    return Card(
        short_text("model", required("it", saved, "model")),
        source,
        tuple(short_text("a class", label) for label in classes),
        (channels, height, width),
        tuple(whole("a width", filters, 1, _MOST_WIDTH) for filters in widths),
        tuple(number("mean", value, -_MOST_SCALE, _MOST_SCALE) for value in means),
        tuple(number("std", value, 1 / _MOST_SCALE, _MOST_SCALE) for value in stds),
        whole("white", required("it", saved, "white"), 1, 255),
        number("sparsity", saved.get("sparsity", 0)),
        factors_from(saved.get("factors", [])),
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file, floating-point ones as float32.

    Args:
        path: ``.safetensors``, or ``.pt`` / ``.pth`` with a state dict (or one under
            "state_dict").

    Raises:
        WeightsError: when the file is missing, damaged, of an unknown kind, or would run code.
    """
    tensors = _read_file(path)
    if isinstance(tensors, Mapping) and isinstance(tensors.get("state_dict"), Mapping):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise WeightsError(f"{path}: is not a state dict; save the network's state_dict()")
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_complex():
            raise WeightsError(
                f"{path}: '{name}' is not a plain dense tensor; save the network's state_dict()"
            )
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def _read_file(path: Path) -> Any:
    """Load the content of a file without running code."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix in _PICKLES:
            return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsError(f"{path}: damaged or not a safetensors file ({error})") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    except _UNPICKLING as error:
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise WeightsError(
                f"{path}: holds more than tensors, and loading it would run code; save the "
                "network's state_dict() as .safetensors"
            ) from None
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise WeightsError(f"{path}: damaged or not a PyTorch file ({reason})") from None
    raise WeightsError(
        f"{path}: unknown kind of weight file '{path.suffix}'; use .safetensors or .pt"
    )


def put_weights(model: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Load a state dict into a network.

    Batch-norm step counters may be missing; every other name and shape must match.

    Args:
        origin: the file's name, for messages.

    Raises:
        WeightsError: gives the first mismatch and the number of the others.
    """
    wanted = model.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    problems = [f"'{name}' is missing" for name in wanted.keys() - tensors.keys() - counters]
    problems += [f"'{name}' is not in the network" for name in tensors.keys() - wanted.keys()]
    problems += [
        f"'{name}' is {_shape(tensors[name])} in the file and {_shape(wanted[name])} in the network"
        for name in wanted.keys() & tensors.keys()
        if tensors[name].shape != wanted[name].shape
    ]
    problems += [
        f"'{name}' holds {tensors[name].dtype} in the file and {wanted[name].dtype} in the network"
        for name in wanted.keys() & tensors.keys()
        if tensors[name].is_floating_point() != wanted[name].is_floating_point()
    ]
    problems += [
        f"'{name}' holds NaN or infinity"
        for name in wanted.keys() & tensors.keys()
        if not bool(torch.isfinite(tensors[name]).all())
    ]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise WeightsError(
            f"{origin}: does not fit the network: {sorted(problems)[0]}{more}; "
            "check --model and --source"
        )
    model.load_state_dict(dict(tensors), strict=False)


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "a number"


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically: a reader sees the complete file or none.

    Raises:
        OSError: when it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with written_whole(path) as part:
            save_file({name: t.contiguous() for name, t in tensors.items()}, part, metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # a full disk is reported only as text
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
