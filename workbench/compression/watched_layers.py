"""Stop a network that takes another path on real images than the proof saw (method card).

Idea: ``tracing`` runs a network on noise and on one constant image. A branch that neither takes,
such as ``if x.mean() > 0.1``, leads to layers that nobody has proven. So the network is watched
while it works on real images: in the analysis, in trainings and in evaluations.
Formula: the proof's path is the list of all modules with values of their own (``has_values``:
convolutions, linear layers, norms, ...), in the order in which they ran, each as often as it ran.
In evaluation mode every pass must run exactly this list; a module that does not belong there is
stopped before it runs.
In training mode a network may differ for good reasons: auxiliary heads, layers dropped at random.
What the images must not do is to choose the path. So a batch that takes a new path in training
mode is run again, at once, in evaluation mode and without gradients. If it takes the proof's path
there, the difference comes from the training mode: the path is accepted, and the same path is not
asked about again. If not, the images are the cause, and the training stops.
Cost: 2 microseconds per module and pass on one CPU core, torch's calls of the hooks included: 35
for simplecnn and 59 for VGG-16, whose training steps of 64 images take 0.1 and 2 seconds there
(0.03 % and 0.003 %). It is not yet timed on a GPU, where steps are shorter. A new path in training
mode costs one more forward pass; most networks never take one. The extra pass changes neither
weights, nor statistics of norms, nor torch's random state, so trained weights are the same to the
bit with and without watching.
When it does not help: a branch between operations without values of their own (``relu`` or
``tanh``, an addition or none) runs the same modules and is not seen. Nor is a branch that looks at
the images in training mode only, which no evaluated or exported network takes; nor one that, in
training mode, gives a path that has been accepted before. Where seeds are trained together,
``torch.vmap`` refuses to branch on values at all; they are then trained, and watched, one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from workbench.compression.forward_path import has_values
from workbench.errors import NetworkError

_END = None  # what follows the last module of a known path
#: Known paths as a tree: by the name of the module that runs next, what may follow it.
_Tree = dict[str | None, "_Tree"]


@dataclass(slots=True)
class _Pass:
    """A forward pass that is under way.

    Attributes:
        network: the watched network, or a copy of it.
        inputs: what it was called with.
        place: where in the tree of known paths it is.
        is_accepted: whether its images have taken the proof's path in evaluation mode.
    """

    network: nn.Module
    inputs: tuple[Any, ...]
    place: _Tree
    is_accepted: bool = False


class _Passes(threading.local):
    """The pass that is under way in each thread: DataParallel runs copies in several."""

    now: _Pass | None = None


@dataclass(frozen=True)
class _Watched:
    """What the hooks of one network share.

    Attributes:
        path: the proof's.
        proven: the tree of that path alone.
        trained: the tree of the paths that are known in training mode; it grows.
        passes: what is under way.
    """

    path: Sequence[str]
    proven: _Tree
    trained: _Tree
    passes: _Passes


def watch(network: nn.Module, path: Sequence[str]) -> list[RemovableHandle]:
    """Compare every forward pass of a network with the path that the proof saw.

    Copies of the network (``copy.deepcopy``, ``torch.func.functional_call``, DataParallel) are
    watched with it.

    Args:
        network: called with positional arguments; full or rebuilt.
        path: of its structure (``structure.Structure.path``).

    Returns:
        Handles that end the watching when they are removed.

    Raises:
        NetworkError: not here, but from the forward pass whose path differs.
    """
    watched = _Watched(path, _tree(path), _tree(path), _Passes())
    handles = [network.register_forward_pre_hook(_beginning(watched))]
    for name, module in network.named_modules():
        if has_values(module):
            handles.append(module.register_forward_pre_hook(_entering(watched, name)))
    return [*handles, network.register_forward_hook(_ending(watched))]


@contextmanager
def watching(network: nn.Module, path: Sequence[str]) -> Iterator[None]:
    """``watch`` a network while this is open."""
    handles = watch(network, path)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# The hooks are functions, not methods: a copied network shares its functions, and what they
# know, with the one that it was copied from.


def _beginning(watched: _Watched) -> Callable[..., None]:
    def begin(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        known = watched.trained if module.training else watched.proven
        watched.passes.now = _Pass(module, inputs, known)

    return begin


def _entering(watched: _Watched, name: str) -> Callable[..., None]:
    passes = watched.passes

    def enter(_module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        now = passes.now
        if now is not None:  # None: a layer that is called by itself
            now.place = now.place.get(name) or _leave(watched, now, name)

    return enter


def _ending(watched: _Watched) -> Callable[..., None]:
    def end(*_: Any) -> None:
        now, watched.passes.now = watched.passes.now, None
        if now is not None and _END not in now.place:
            _leave(watched, now, _END)
            watched.passes.now = None

    return end


def _leave(watched: _Watched, now: _Pass, name: str | None) -> _Tree:
    """What follows when a pass leaves the known paths, if it may."""
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
    """Run a pass again in evaluation mode, and leave no trace of it."""
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
    """One line: the network, the first layer that differs, and what is expected."""
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
