"""Remove heads of self-attention (method card).

Idea: the heads of an attention layer work side by side, and only the projection after them adds
them up. So a head is removed like a filter: its rows of the queries, keys and values, and its
columns of the projection. The heads of one layer are one filter group whose filters are heads.
Formula: with heads of size d, head h has the rows h d to (h + 1) d of each third of the layer
``qkv``, and the same columns of ``proj``. A head of zeros has values of zero, so its output is zero
and removing it is exact.
Response of a head: the Euclidean norm of its d outputs, at the token where it is largest.
Cost: nothing beyond the measurement of any other layer.
When it does not help: small transformers have few heads (3 in DeiT-tiny), so the smallest step is
large. Only layers written as in timm are recognised: ``qkv``, ``proj``, ``num_heads``,
``head_dim``. ``nn.MultiheadAttention`` derives the size of a head from the width of the embedding,
so it cannot have fewer heads.

Michel et al., "Are Sixteen Heads Really Better than One?", NeurIPS 2019, remove heads by the
gradient of the loss; here the method of the recipe decides.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from workbench.compression.groups.structure import Cut, FilterGroup, ResponsePoint

#: The reason why heads of ``nn.MultiheadAttention`` stay.
FIXED_HEADS = (
    "is an nn.MultiheadAttention, whose heads have the size of the embedding over their number; "
    "write it with qkv, proj, num_heads and head_dim, as in timm"
)


def is_attention(part: nn.Module) -> bool:
    """Whether a module is a self-attention whose heads can be removed."""
    qkv, proj = getattr(part, "qkv", None), getattr(part, "proj", None)
    heads, size = getattr(part, "num_heads", None), getattr(part, "head_dim", None)
    if not (isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear)):
        return False
    if not (isinstance(heads, int) and isinstance(size, int)):
        return False
    return (qkv.out_features, proj.in_features) == (3 * heads * size, heads * size)


def head_groups(modules: Mapping[str, nn.Module]) -> dict[str, FilterGroup]:
    """The group of heads of each attention layer, by the name of its ``qkv``.

    Args:
        modules: all modules of a network, by name.
    """
    found = {}
    for name, part in modules.items():
        if is_attention(part):
            group = _group(name, int(part.num_heads), int(part.head_dim))  # type: ignore[arg-type]
            found[group.name] = group
    return found


def _group(name: str, heads: int, size: int) -> FilterGroup:
    prefix = f"{name}." if name else ""
    columns = np.arange(heads * size)
    owners = columns // size
    rows = np.concatenate([columns + third * heads * size for third in range(3)])
    response = ResponsePoint(f"{prefix}proj", channels=tuple(range(heads * size)), of_input=True)
    cuts = (
        Cut(f"{prefix}qkv", "filters", np.stack([np.tile(owners, 3), rows], axis=1)),
        Cut(name, "filters", np.stack([np.arange(heads)] * 2, axis=1)),
        Cut(f"{prefix}proj", "inputs", np.stack([owners, columns], axis=1)),
    )
    return FilterGroup(f"{prefix}qkv", heads, (f"{prefix}qkv",), response, cuts=cuts, kind="heads")


def set_heads(attention: nn.Module, heads: int) -> None:
    """Tell an attention layer how many heads its narrowed layers have."""
    attention.num_heads = heads  # type: ignore[assignment]
    if hasattr(attention, "attn_dim"):
        attention.attn_dim = heads * int(attention.head_dim)  # type: ignore[arg-type, assignment]
