"""The table of compression methods: from a layer's spectrum to its keep count.

A new method is one file here, one line in the table and one test file.
"""

from __future__ import annotations

from collections.abc import Callable

from numpy.typing import NDArray

from workbench.compression.methods import pfa_en, pfa_kl
from workbench.compression.options import RecipeOptions

METHODS: dict[str, Callable[[NDArray, RecipeOptions], int]] = {
    "pfa-kl": pfa_kl.keep_count,
    "pfa-en": pfa_en.keep_count,
}
