"""The four protocols: {full, compressed} network x {random, inherited} weights, as data.

Source paper, section 5: the same hyper-parameters for all four, so that what differs is the
network and where its weights come from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """One cell of the table.

    Attributes:
        compressed: the network has the recipe's filters instead of all.
        inherited: it starts from the source network's weights instead of random ones.
    """

    name: str
    compressed: bool
    inherited: bool


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("full-scratch", compressed=False, inherited=False),
        Protocol("full-fine", compressed=False, inherited=True),
        Protocol("pfa-scratch", compressed=True, inherited=False),
        Protocol("pfa-fine", compressed=True, inherited=True),
    )
}
