"""Factors: which layers of a network are replaced by two thinner ones, as plain data.

``compression.factorisation`` chooses them and builds the layers. Recipes and the cards of weight
files contain them, so that a network is built again from its file alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workbench.data.checked_values import listed, mapped, short_text, whole

Kind = Literal["low-rank", "grouped"]
LOW_RANK: Kind = "low-rank"
GROUPED: Kind = "grouped"
#: Name of a factor's size by its kind: the key in files, and the word for people.
SIZES: dict[Kind, str] = {LOW_RANK: "rank", GROUPED: "group size"}
_MOST_FACTORS = 10_000
_MOST_SIZE = 100_000


@dataclass(frozen=True)
class Factor:
    """One layer of n filters that is replaced by two.

    Attributes:
        layer: the layer's name in the full network.
        kind: "low-rank": a layer of ``size`` filters, then a pointwise layer of n filters.
            "grouped": a grouped convolution with as many filters as input channels, then a
            pointwise convolution of n filters.
        size: the rank, at least 1, or the number of input channels of each group.
        bias: whether the second layer has a bias.
    """

    layer: str
    kind: Kind
    size: int
    bias: bool = False

    def __post_init__(self) -> None:
        if self.kind not in SIZES or self.size < 1:
            raise ValueError(f"{self.layer}: {self.kind} of size {self.size} is not a factor")

    def plain(self) -> dict[str, Any]:
        """The factor as plain data for JSON."""
        size = SIZES[self.kind].replace(" ", "_")
        return {"layer": self.layer, "kind": self.kind, size: self.size, "bias": self.bias}


def plain_factors(factors: Sequence[Factor]) -> list[dict[str, Any]]:
    """The factors as plain data for JSON, in their order."""
    return [factor.plain() for factor in factors]


def factors_from(content: object) -> tuple[Factor, ...]:
    """Read what ``plain_factors`` wrote; all values are checked.

    Raises:
        ValueError: with one clause, when they are not factors.
    """
    rows = [mapped("a factor", row) for row in listed("factors", content, 0, _MOST_FACTORS)]
    factors = tuple(map(_factor, rows))
    if len({factor.layer for factor in factors}) < len(factors):
        raise ValueError("factors name a layer twice")
    return factors


def _factor(row: dict[str, Any]) -> Factor:
    layer = short_text("a factor's layer", row.get("layer"))
    kind = row.get("kind")
    if kind not in SIZES:
        raise ValueError(f"{layer}: its kind of factor is not one of {', '.join(SIZES)}")
    bias = row.get("bias")
    if not isinstance(bias, bool):
        raise ValueError(f"{layer}: the bias of its factor is not true or false")
    size = whole(f"{layer}: {SIZES[kind]}", row.get(SIZES[kind].replace(" ", "_")), 1, _MOST_SIZE)
    return Factor(layer, kind, size, bias)
