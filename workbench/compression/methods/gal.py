"""Filters whose soft masks are not zero: GAL (method card).

Idea: a filter whose mask was closed by a training with a penalty is not needed.
Formula: the score is the mask m. Without a budget, filters with m > 0 are kept, at least one per
layer; with one, those with the largest m over all layers, but none with m = 0. ``--min-share``
(20 % with a budget), ``--multiple-of`` and other recipes may keep some of these, too.
Cost: the training of the masks, see ``training.gates.gal``, where the rest of the card is.
When it does not help: where the penalty has closed all masks of a layer; the first filter is kept.

Lin et al., CVPR 2019 (arXiv 1903.09291).
"""

from __future__ import annotations

from workbench.compression.evidence.evidence import Array, Evidence
from workbench.compression.methods.trained_gates import counts_of

counts = counts_of("gal", open_only=True)


def scores(evidence: Evidence) -> Array:
    """Shape (n,): the masks, at least 0; the largest are kept."""
    return evidence.measured["gal"]
