"""PFA-KL as a compression method; the mathematics and its card are in ``pfa.kl``."""

from __future__ import annotations

from numpy.typing import NDArray

from workbench.pfa import kl_keep_count


def keep_count(spectrum: NDArray, energy: float | None) -> int:
    """Filters to keep; PFA-KL has no parameter and takes no notice of ``energy``."""
    return kl_keep_count(spectrum)
