"""Stop a network whose path on real images differs from the path of the proof (method card).

Idea: ``tracing`` runs a network on noise and on one constant image. A branch that neither image
takes, such as ``if x.mean() > 0.1``, leads to layers that the proof did not cover. So the modules
that run on real images are watched: in the analysis, in trainings and in evaluations.
Formula: the proof's path is the list of all modules with their own values (``has_values``:
convolutions, linear layers, norms, ...), in the order in which they ran, each as often as it ran.
In evaluation mode every pass must run exactly this list; the pass stops before any other module
runs.
In training mode a network may differ for good reasons: auxiliary heads, layers dropped at random.
But the images must not determine the path. So a batch that takes a new path in training mode is
immediately run again in evaluation mode and without gradients. If it takes the proof's path there,
the training mode causes the difference: the path is accepted, and is not checked again. Otherwise
the images cause the difference, and the training stops.
Cost: 2 microseconds per module and pass on one CPU core, torch's calls of the hooks included: 35
for simplecnn and 59 for VGG-16, whose training steps of 64 images take 0.1 and 2 seconds there
(0.03 % and 0.003 %). It is not yet timed on a GPU, where steps are shorter. A new path in training
mode costs one more forward pass; most networks never take one. The extra pass changes neither
weights, nor statistics of norms, nor torch's random state, so trained weights are bit-identical
with and without watching.
When it does not help: a branch between operations without their own values (``relu`` or ``tanh``,
with or without an addition) runs the same modules and is not detected. A branch on the images that
exists only in training mode is not detected either; evaluated and exported networks do not take it.
Nor is a branch in training mode to a path that was accepted before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from workbench.compression.groups.forward_path import has_values
from workbench.errors import NetworkError

_END = None  # what follows the last module of a known path
#: Known paths as a tree: a dict from the name of the next module to the tree of what may follow.
_Tree = dict[str | None, "_Tree"]


@dataclass(slots=True)
class _Pass:
    """A running forward pass.

    Attributes:
        network: the watched network, or a copy of it.
        inputs: its arguments.
        place: the subtree of known paths that the pass has reached.
        is_accepted: whether its images take the proof's path in evaluation mode.
    """

    network: nn.Module
    inputs: tuple[Any, ...]
    place: _Tree
    is_accepted: bool = False


class _Passes(threading.local):
    """The running pass of each thread: DataParallel runs copies in several threads."""

    now: _Pass | None = None

    def __reduce__(self) -> tuple[type[_Passes], tuple[()]]:
        return _Passes, ()  # a running pass stays in its process


@dataclass(frozen=True)
class _Watched:
    """State that the hooks of one network share.

    Attributes:
        path: the proof's path.
        proven: the tree of that path alone.
        trained: the tree of the paths known in training mode; it grows.
        passes: the running passes.
    """

    path: Sequence[str]
    proven: _Tree
    trained: _Tree
    passes: _Passes


def watch(network: nn.Module, path: Sequence[str]) -> list[RemovableHandle]:
    """Compare every forward pass of a network with the path of the proof.

    Copies of the network (``copy.deepcopy``, DataParallel) are watched too.

    Args:
        network: a full or rebuilt network, to be called with positional arguments.
        path: the path of its structure (``structure.Structure.path``).

    Returns:
        Handles; removing them ends the watching.

    Raises:
        NetworkError: not here, but from the forward pass whose path differs.
    """
    watched = _Watched(path, _tree(path), _tree(path), _Passes())
    handles = [network.register_forward_pre_hook(_Beginning(watched))]
    for name, module in network.named_modules():
        if has_values(module):
            handles.append(module.register_forward_pre_hook(_Entering(watched, name)))
    return [*handles, network.register_forward_hook(_Ending(watched))]


@contextmanager
def watching(network: nn.Module, path: Sequence[str]) -> Iterator[None]:
    """Watch a network inside the block, as ``watch`` does."""
    handles = watch(network, path)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Hook:
    """A hook whose copies share its state, as those of a function do: copies are watched too."""

    watched: _Watched

    def __deepcopy__(self, _memo: object) -> Self:
        return self


class _Beginning(_Hook):
    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        watched = self.watched
        known = watched.trained if module.training else watched.proven
        watched.passes.now = _Pass(module, inputs, known)


@dataclass(frozen=True)
class _Entering(_Hook):
    name: str

    def __call__(self, _module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        now = self.watched.passes.now
        if now is not None:  # None: a layer is called outside a pass of the network
            now.place = now.place.get(self.name) or _leave(self.watched, now, self.name)


class _Ending(_Hook):
    def __call__(self, *_: Any) -> None:
        watched = self.watched
        now, watched.passes.now = watched.passes.now, None
        if now is not None and _END not in now.place:
            _leave(watched, now, _END)
            watched.passes.now = None


def _leave(watched: _Watched, now: _Pass, name: str | None) -> _Tree:
    """Add a new path in training mode and return its subtree.

    Raises:
        NetworkError: when the images cause the new path.
    """
    if not now.network.training:
        raise NetworkError(_difference(watched, now, name))
    if not now.is_accepted:
        _evaluate(now)
        watched.passes.now, now.is_accepted = now, True
    return now.place.setdefault(name, {})


def _tree(path: Sequence[str]) -> _Tree:
    tree: _Tree = {_END: {}}
    for name in reversed(path):
        tree = {name: tree}
    return tree


def _evaluate(now: _Pass) -> None:
    """Run a pass again in evaluation mode, without side effects."""
    modes = [(module, module.training) for module in now.network.modules()]
    cuda = {int(x.get_device()) for x in now.inputs if isinstance(x, torch.Tensor) and x.is_cuda}
    now.network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=cuda):
            now.network(*now.inputs)
    finally:
        for module, mode in modes:
            module.training = mode


def _difference(watched: _Watched, now: _Pass, name: str | None) -> str:
    """A message with the network, the first layer that differs, and the expected one."""
    number, path, place = 0, watched.path, watched.proven
    while place is not now.place:
        place, number = place[path[number]], number + 1
    expected = f"'{path[number]}'" if number < len(path) else "the end"
    found = "the pass ends" if name is _END else f"layer '{name}' runs"
    return (
        f"{type(now.network).__name__}: which layers run depends on the image's values: on these "
        f"images {found} where {expected} is expected (step {number + 1} of {len(path)}); such "
        "control flow cannot be traced; use another --model"
    )
