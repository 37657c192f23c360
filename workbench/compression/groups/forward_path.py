"""The path of one forward pass: the layers and additions that run, in order."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from workbench.compression.groups.rebuild import Convolution
from workbench.errors import NetworkError

_IMAGE_DIMS, _WINDOWS_DIMS = 4, 6
_ADDITIONS = frozenset(
    (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__)
)
_VIEWS = frozenset((Tensor.view, Tensor.reshape, torch.reshape))


class Additions(TorchFunctionMode):
    """While active, counts the additions of two tensors and passes each sum to a callback.

    Args:
        on_sum: called with the addition's number and its sum, before any in-place operation on
            it.
        on_view: called with a tensor before and after each view or reshape.
    """

    def __init__(
        self,
        on_sum: Callable[[int, Tensor], None],
        on_view: Callable[[Tensor, Tensor], None] = lambda before, after: None,
    ) -> None:
        super().__init__()
        self._on_sum, self._on_view, self._count = on_sum, on_view, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _ADDITIONS and all(isinstance(part, Tensor) for part in args[:2]):
            self._on_sum(self._count, result)
            self._count += 1
        elif func in _VIEWS:
            self._on_view(args[0], result)
        return result


@dataclass
class ForwardPath:
    """The path of one forward pass, in order.

    Attributes:
        layers: names of convolutions and linear layers.
        modules: names of all modules with their own values (``has_values``).
        sums: the autograd node of each addition. They are kept alive because the dependency graph
            identifies nodes by identity.
        places: the innermost module of each addition.
        shapes: the shape of each sum.
        folds: autograd nodes of views from or to five or more dimensions.
        output: the autograd node of the logits.
    """

    layers: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    sums: list[Any] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    folds: list[Any] = field(default_factory=list)
    output: Any = None


def noise(shape: tuple[int, int, int]) -> Tensor:
    """Two fixed images of noise: shape (2, channels, height, width)."""
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


def path_on_noise(model: nn.Module, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """The modules that run on noise in evaluation mode, in the form of ``Structure.path``.

    It serves networks that are trained without compression, which need no proof.

    Args:
        model: the network, on the CPU; it is not changed.
        shape: channels, height, width of an image.
    """
    traced, path = copy.deepcopy(model).eval(), ForwardPath()
    with torch.no_grad(), _watched(traced, [], path):
        traced(noise(shape))
    return tuple(path.modules)


def walk(model: nn.Module, image: Tensor, path: ForwardPath) -> Tensor:
    """Run the network and record its path.

    Raises:
        NetworkError: when it does not run, cannot be followed, or does not return logits.
    """
    inside: list[str] = []

    def on_sum(_number: int, result: Tensor) -> None:
        path.sums.append(result.grad_fn)
        path.places.append(inside[-1] if inside else "")
        path.shapes.append(tuple(result.shape))

    def on_view(before: Tensor, after: Tensor) -> None:
        if after.ndim >= _WINDOWS_DIMS:
            raise NetworkError(
                f"{type(model).__name__}: layer '{_innermost(inside)}' folds the image into "
                f"windows (a view of {after.ndim} dimensions), through which the layers' "
                "dependencies cannot be followed; use another --model"
            )
        if max(before.ndim, after.ndim) > _IMAGE_DIMS:
            path.folds.append(after.grad_fn)

    with _watched(model, inside, path), Additions(on_sum, on_view):
        try:
            output = model(image)
        except NetworkError:
            raise
        except Exception as error:  # noqa: BLE001 - the user's network may raise anything
            size = "x".join(str(side) for side in image.shape[1:])
            raise NetworkError(
                f"{type(model).__name__} does not run on {size} images: "
                f"{type(error).__name__} in '{_innermost(inside)}': "
                f"{short(error)}; use larger images or another --model"
            ) from None
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(image):
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output)
        raise NetworkError(
            f"{type(model).__name__} must return one tensor of logits, (images, classes); it "
            f"returns {found}"
        )
    path.output = output.grad_fn
    if path.output is None and torch.is_grad_enabled():
        raise NetworkError(
            f"{type(model).__name__} computes without gradients; remove torch.no_grad() from its "
            "forward()"
        )
    return output


def has_values(module: nn.Module) -> bool:
    """Whether a module itself, not its submodules, has weights, biases or statistics."""
    tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return bool(tensors) or isinstance(module, (*Convolution, nn.Linear))


def _innermost(inside: list[str]) -> str:
    return (inside and inside[-1]) or "forward"


@contextmanager
def _watched(model: nn.Module, inside: list[str], path: ForwardPath) -> Iterator[None]:
    """In the block, keep the running modules in ``inside`` and record modules in ``path``."""
    hooks = []
    for name, module in model.named_modules():
        lists = [path.layers] if isinstance(module, (*Convolution, nn.Linear)) else []
        lists += [path.modules] if has_values(module) else []

        def enter(_m: nn.Module, _i: Any, name: str = name, lists: list[list[str]] = lists) -> None:
            for names in (inside, *lists):
                names.append(name)

        def leave(_m: nn.Module, _i: Any, _o: Any) -> None:
            inside.pop()

        hooks.append(module.register_forward_pre_hook(enter))
        hooks.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def short(error: BaseException) -> str:
    """An error's message on one line, or its type's name if the message is empty."""
    return " ".join(str(error).split())[:200] or type(error).__name__
