"""Weights from and to files. Nothing that is loaded may run code.

safetensors holds tensors and nothing else; a ``.pt`` file is a pickle and is read through
torch's ``weights_only`` loader, which builds tensors and plain containers only.
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

from workbench.data.catalog import SOURCES, Source
from workbench.errors import WeightsError
from workbench.models.external_networks import DEFAULT_WEIGHTS

_PICKLES = (".pt", ".pth")
_CARD = "workbench"
#: What torch's careful unpickler raises on files that are damaged or no pickles at all.
_UNPICKLING = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError,
    AttributeError,
)  # fmt: skip


@dataclass(frozen=True)
class Card:
    """What a weight file says of its network, enough to build it again.

    Attributes:
        model: the architecture.
        source: the data set that its images come from.
        classes: names of the outputs, in order.
        shape: channels, height, width of an image.
        widths: filters of every filter group; empty for the full network.
        mean, std, white: of the images' normalisation, as in ``catalog.Source``; those of the
            known source where a file of an earlier version does not have them.
        sparsity: penalty on the batch norms' scales that it was trained with; 0 where there was
            none, or a file of an earlier version does not say.
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

    @classmethod
    def of(
        cls,
        model: str,
        source: Source,
        classes: tuple[str, ...],
        widths: tuple[int, ...] = (),
        *,
        images: str | None = None,
    ) -> Card:
        """The card of a network.

        Args:
            source: the set that it was trained on, with the form of its images.
            images: name of the set that its images come from now; the source's when None.
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
        )

    def metadata(self) -> dict[str, str]:
        """The card as safetensors metadata."""
        return {"format": "pt", _CARD: json.dumps(asdict(self))}


def check_weights(path: Path | None) -> list[str]:
    """A line when there is no such file for ``--weights``; None is never wrong."""
    if path is None or str(path) == DEFAULT_WEIGHTS or path.is_file():
        return []
    return [f"--weights {path}: no such file; 'workbench train' makes one"]


def has_card(path: Path) -> bool:
    """Whether a weight file says what its network is; False for one that cannot be read."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return _CARD in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def has_penalty(path: Path) -> bool:
    """Whether a weight file says that batch norms' scales were penalised in its training."""
    return has_card(path) and read_card(path).sparsity > 0


def read_card(path: Path) -> Card:
    """The card in a safetensors file that the workbench wrote.

    Raises:
        WeightsError: when the file is missing, damaged or has no valid card.
    """
    try:
        with safe_open(path, framework="pt") as file:
            saved = json.loads((file.metadata() or {})[_CARD])
        return card_from(saved)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: no readable safetensors file ({error})") from None
    except (KeyError, TypeError, ValueError, IndexError):
        raise WeightsError(
            f"{path}: was not written by the workbench: it does not say what its network is"
        ) from None


def card_from(saved: Mapping[str, Any]) -> Card:
    """A card from the plain data of ``Card.metadata``.

    Raises:
        KeyError, TypeError, ValueError, IndexError: when it is none.
    """
    known = SOURCES.get(str(saved["source"]))
    has = "mean" in saved or known is None
    return Card(
        str(saved["model"]),
        str(saved["source"]),
        tuple(map(str, saved["classes"])),
        (int(saved["shape"][0]), int(saved["shape"][1]), int(saved["shape"][2])),
        tuple(map(int, saved["widths"])),
        tuple(map(float, saved["mean"] if has or known is None else known.mean)),
        tuple(map(float, saved["std"] if has or known is None else known.std)),
        int(saved["white"] if has or known is None else known.white),
        float(saved.get("sparsity", 0)),
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a weight file, floating-point ones as float32.

    Args:
        path: ``.safetensors``, or ``.pt`` / ``.pth`` with a state dict (or one under
            "state_dict").

    Raises:
        WeightsError: when the file is missing, damaged, of another kind, or would run code.
    """
    tensors = _read_file(path)
    if isinstance(tensors, Mapping) and isinstance(tensors.get("state_dict"), Mapping):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise WeightsError(f"{path}: holds no state dict; save the network's state_dict()")
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_complex():
            raise WeightsError(
                f"{path}: '{name}' is no plain dense tensor; save the network's state_dict()"
            )
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def _read_file(path: Path) -> Any:
    """Whatever the file holds, loaded without running code."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix in _PICKLES:
            return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsError(f"{path}: damaged or no safetensors file ({error})") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    except _UNPICKLING as error:
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise WeightsError(
                f"{path}: holds more than tensors, which loading would execute; save the "
                "network's state_dict() as .safetensors"
            ) from None
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise WeightsError(f"{path}: damaged or no PyTorch file ({reason})") from None
    raise WeightsError(
        f"{path}: unknown kind of weight file '{path.suffix}'; use .safetensors or .pt"
    )


def put_weights(model: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Load a state dict into a network.

    Batch-norm step counters may be missing; every other name and shape must fit.

    Args:
        origin: the file's name, for messages.

    Raises:
        WeightsError: with all misfits counted and the first of them named.
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
    """Write safetensors so that a reader sees the whole file or none.

    Raises:
        OSError: when it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file({name: t.contiguous() for name, t in tensors.items()}, part, metadata)
        os.replace(part, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # a full disk comes as text alone
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
    finally:
        part.unlink(missing_ok=True)
