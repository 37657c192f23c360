"""Networks from torchvision, from timm and from the user's own code.

``torchvision:resnet18`` and ``timm:resnet18`` are looked up in the tables of those libraries.
``package.module:function`` is the user's own code. It is imported only when the user names it on
the command line, never because a weight file names it (see ``models.weight_files``).
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from workbench.errors import NetworkError, did_you_mean

Builder = Callable[[tuple[int, int, int], int], nn.Module]
#: Given instead of a weight file: the pretrained weights of the network's library.
DEFAULT_WEIGHTS = "DEFAULT"
_TORCHVISION, _TIMM = "torchvision", "timm"
#: torchvision's classifiers with extra outputs for training, which the four protocols do not use.
_AUXILIARY = ("googlenet", "inception_v3")


def is_users_own(name: str) -> bool:
    """Whether a model name refers to the user's own code."""
    return ":" in name and name.partition(":")[0] not in (_TORCHVISION, _TIMM)


def find_builder(name: str) -> Builder:
    """The function that builds a network from an image shape and a number of classes.

    Args:
        name: ``torchvision:NAME``, ``timm:NAME`` or ``package.module:function``.

    Raises:
        NetworkError: when there is no network of that name, or its module cannot be imported.
    """
    family, _, member = name.partition(":")
    if family == _TORCHVISION:
        return _torchvision_builder(member)
    if family == _TIMM:
        return _timm_builder(member)
    return _users_builder(family, member)


def pretrained(name: str) -> Mapping[str, Tensor]:
    """Return torchvision's own weights (``--weights DEFAULT``), downloaded if missing.

    Raises:
        NetworkError: when the network has no such weights or the download fails.
    """
    from torchvision.models import get_model_weights

    family, _, member = name.partition(":")
    if family != _TORCHVISION:
        raise NetworkError(
            f"--weights DEFAULT: only torchvision's networks have default weights, not '{name}'; "
            "name a file"
        )
    _torchvision_builder(member)
    weights = get_model_weights(member).DEFAULT
    try:
        tensors: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise NetworkError(
            f"--weights DEFAULT: {weights.url} could not be downloaded "
            f"({' '.join(str(error).split())}); download it and name the file"
        ) from None
    return tensors


def _torchvision_builder(member: str) -> Builder:
    from torchvision import models

    known = models.list_models(module=models)
    if member not in known:
        raise NetworkError(
            f"--model: torchvision has no classification network '{member}'"
            f"{did_you_mean(member, known)}"
        )
    options: dict[str, Any] = {}
    if member in _AUXILIARY:
        options = {"aux_logits": False, "init_weights": False}

    def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
        size = {"image_size": shape[1]} if member.startswith("vit_") else {}
        network: nn.Module = models.get_model(
            member, weights=None, num_classes=classes, **options, **size
        )
        return network

    return build


def _timm_builder(member: str) -> Builder:
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError:
        raise NetworkError(
            f"--model timm:{member}: timm is not installed; pip install 'pfa-workbench[timm]'"
        ) from None
    known = timm.list_models()
    if member not in known:
        raise NetworkError(f"--model: timm has no network '{member}'{did_you_mean(member, known)}")

    own = timm.get_pretrained_cfg(member)
    fixed = bool(own and own.fixed_input_size)  # a transformer's positional embeddings

    def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
        size = {"img_size": shape[1]} if fixed else {}
        network: nn.Module = timm.create_model(
            member, pretrained=False, num_classes=classes, in_chans=shape[0], **size
        )
        return network

    return build


def _users_builder(module: str, function: str) -> Builder:
    name = f"{module}:{function}"
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as other tools that accept module:function do
    try:
        found = getattr(importlib.import_module(module), function)
        parameters = inspect.signature(found).parameters
    except Exception as error:  # noqa: BLE001 - the user's module may raise anything
        raise NetworkError(
            f"--model {name}: cannot be imported "
            f"({type(error).__name__}: {' '.join(str(error).split())}); "
            "name package.module:function"
        ) from None

    accepted = set(parameters)
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        accepted.add("num_classes")  # the name that torchvision and timm use, too

    def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
        given = {"num_classes": classes, "in_channels": shape[0], "image_size": shape[1]}
        try:
            network = found(**{key: value for key, value in given.items() if key in accepted})
        except Exception as error:  # noqa: BLE001 - the user's function may raise anything
            raise NetworkError(
                f"--model {name}: building it failed "
                f"({type(error).__name__}: {' '.join(str(error).split())})"
            ) from None
        if not isinstance(network, nn.Module):
            raise NetworkError(
                f"--model {name}: returns {type(network).__name__}, not a torch.nn.Module"
            )
        return network

    return build
