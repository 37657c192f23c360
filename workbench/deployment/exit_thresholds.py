"""Thresholds of a multi-exit network, from its answers to held-out images; NumPy only.

Rule (Huang et al., ICLR 2018, section 5; the authors' code): of n images, the share that leaves at
exit k is proportional to q^k. The threshold of exit k is an order statistic: the confidence of the
last of the most confident images that are to leave there, among those that have not left. One
number q gives all thresholds; a small q lets nearly all images leave at the first exit,
a large one nearly none before the last.

An image leaves at the first exit whose confidence is at least the threshold. 0 lets every image
leave, infinity none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Values of q that are tried. The smallest sends all images to the first exit, the largest to the
#: last.
_QS = (0.0, *np.geomspace(1e-3, 1e3, 241), np.inf)


@dataclass(frozen=True, eq=False)
class ExitCosts:
    """What an image costs until it leaves, as shares of the network without exits.

    Attributes:
        depths: FLOPs of the network up to each exit, without the exits' own, shape (exits + 1,),
            ascending; the last one is 1.
        heads: FLOPs of each exit but the last, shape (exits,).
    """

    depths: Floats
    heads: Floats

    def of(self, thresholds: Floats) -> Floats:
        """FLOPs of an image that leaves at each exit, shape (exits + 1,).

        An exit with an infinite threshold is not computed.
        """
        paid = np.concatenate([np.cumsum(np.where(np.isfinite(thresholds), self.heads, 0)), [0]])
        paid[-1] = paid[-2]
        total: Floats = self.depths + paid
        return total


@dataclass(frozen=True, eq=False)
class Exits:
    """Thresholds, and what they do to the held-out images.

    Attributes:
        thresholds: shape (exits,); the last exit has none.
        shares: of the images that leave at each exit, the last one included.
        flops: expected FLOPs per image, as a share of those of the network without exits.
        accuracy: share of the images that are classified correctly.
    """

    thresholds: Floats
    shares: tuple[float, ...]
    flops: float
    accuracy: float


def thresholds_of(confidences: Floats, q: float) -> Floats:
    """The thresholds for one q.

    Args:
        confidences: largest probability of each image at each exit but the last, shape (exits, n).
        q: from 0 to infinity.

    Returns:
        Shape (exits,); infinity where no image is to leave, and 0 where all remaining ones are.
    """
    exits, images = confidences.shape
    wanted = np.floor(images * _leaving_shares(q, exits + 1)[:-1] + 1e-9).astype(int)
    left = np.ones(images, dtype=bool)
    thresholds = np.full(exits, np.inf)
    for place, count in enumerate(wanted):
        remaining = np.sort(confidences[place, left])[::-1]
        if count >= len(remaining):
            thresholds[place] = 0
        elif count:
            thresholds[place] = remaining[count - 1]
        left &= confidences[place] < thresholds[place]
    return thresholds


def _leaving_shares(q: float, exits: int) -> Floats:
    """q, q^2, ... divided by their sum; all at one end for 0 and infinity."""
    if q in (0.0, np.inf):
        one: Floats = np.eye(exits)[0 if q == 0 else -1]
        return one
    powers = np.log(q) * np.arange(exits)
    shares = np.exp(powers - powers.max())
    found: Floats = shares / shares.sum()
    return found


def leaving(confidences: Floats, thresholds: Floats) -> NDArray[np.int64]:
    """The exit at which each image leaves, from 0; shape (n,).

    Args:
        confidences: as for ``thresholds_of``.
    """
    sure = np.vstack([confidences >= thresholds[:, None], np.ones(confidences.shape[1], bool)])
    first: NDArray[np.int64] = sure.argmax(axis=0)
    return first


def judged(
    confidences: Floats, correct: NDArray[np.bool_], thresholds: Floats, costs: ExitCosts
) -> Exits:
    """What thresholds do to images.

    Args:
        confidences: as for ``thresholds_of``.
        correct: whether each exit classifies each image correctly, shape (exits + 1, n).
    """
    at = leaving(confidences, thresholds)
    shares = np.bincount(at, minlength=len(correct)) / len(at)
    flops = float((shares * costs.of(thresholds)).sum())
    hits = correct[at, np.arange(len(at))]
    return Exits(thresholds, tuple(shares.tolist()), flops, float(hits.mean()))


def all_exits(
    confidences: Floats, correct: NDArray[np.bool_], costs: ExitCosts
) -> tuple[Exits, ...]:
    """The choices of ``within_budget`` and ``within_tolerance``; arguments as for ``judged``."""
    every = {tuple(thresholds_of(confidences, q).tolist()): None for q in _QS}
    return tuple(judged(confidences, correct, np.array(each), costs) for each in every)


def within_budget(choices: tuple[Exits, ...], flops: float) -> Exits | None:
    """The most accurate choice of at most this share of the FLOPs; the cheapest one of equals.

    None if all cost more.
    """
    cheap = [each for each in choices if each.flops <= flops + 1e-9]
    return max(cheap, key=lambda each: (each.accuracy, -each.flops), default=None)


def within_tolerance(choices: tuple[Exits, ...], last: float, points: float) -> Exits:
    """The cheapest choice whose accuracy is at most so many percentage points below the last exit.

    Args:
        last: accuracy of the last exit, in [0, 1]; one choice sends all images there.
    """
    good = [each for each in choices if each.accuracy >= last - points / 100 - 1e-9]
    return min(good, key=lambda each: (each.flops, -each.accuracy))
