"""Checks of the arrays of a packed tensor, which anybody may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Parts: TypeAlias = Mapping[str, NDArray[Any]]


def checked_array(parts: Parts, name: str, dtype: type[np.generic], axes: int) -> NDArray[Any]:
    """One of the arrays.

    Raises:
        ValueError: when it has another type or another number of axes.
    """
    array = parts[name]
    if array.dtype != dtype or array.ndim != axes:
        raise ValueError(f"its {name} are {array.dtype} with {array.ndim} axes")
    return array


def finite_array(parts: Parts, name: str, axes: int) -> NDArray[np.float32]:
    """One of the arrays, in float32.

    Raises:
        ValueError: as for ``checked_array``, or when it holds NaN or infinity.
    """
    array = checked_array(parts, name, np.float32, axes)
    if not np.isfinite(array).all():
        raise ValueError(f"its {name} hold NaN or infinity")
    return array
