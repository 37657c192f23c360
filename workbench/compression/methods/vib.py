"""Filters whose trained gates carry information: VIB (method card).

Idea: a filter whose gate is pure noise after the training is not needed.
Formula: the score is log(mu^2 / sigma^2) of each gate. Without a budget, filters with a score above
0 are kept, at least one per layer; with one, those with the largest scores over all layers.
Cost: the training of the gates, see ``training.gates.vib``, where the rest of the card is.
When it does not help: where the gates were trained too briefly to differ.

Dai, Zhu, Guo, Wipf, ICML 2018 (arXiv 1802.10399).
"""

from __future__ import annotations

from workbench.compression.evidence.evidence import Array, Evidence
from workbench.compression.methods.trained_gates import counts_of

counts = counts_of("vib", open_only=False)


def scores(evidence: Evidence) -> Array:
    """Shape (n,): log(mu^2 / sigma^2); the largest are kept."""
    return evidence.measured["vib"]
