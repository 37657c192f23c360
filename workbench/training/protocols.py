"""The protocols, as data: {full, compressed} network x {random, inherited} weights, and three more.

Source paper, section 5: the same hyper-parameters for the four, so that what differs is the
network and where its weights come from. The others are asked for by name: "pfa-scratch-b"
trains the compressed network for as many FLOPs as the full one (Liu et al., "Rethinking the Value
of Network Pruning", ICLR 2019), "pfa-distill" lets it follow the full one (``distillation``),
"source" is the source network as it is, with the target's rows of its classifier.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """One way to get a network for the target.

    Attributes:
        compressed: the network has the recipe's filters instead of all.
        inherited: it starts from the source network's weights instead of random ones.
        equal_compute: it is trained for as many FLOPs as the full network, not as many epochs.
        distilled: it follows the network of full-fine, seed 0.
        trained: it is trained at all.
    """

    name: str
    compressed: bool
    inherited: bool
    equal_compute: bool = False
    distilled: bool = False
    trained: bool = True


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("full-scratch", compressed=False, inherited=False),
        Protocol("full-fine", compressed=False, inherited=True),
        Protocol("pfa-scratch", compressed=True, inherited=False),
        Protocol("pfa-fine", compressed=True, inherited=True),
        Protocol("pfa-scratch-b", compressed=True, inherited=False, equal_compute=True),
        Protocol("pfa-distill", compressed=True, inherited=True, distilled=True),
        Protocol("source", compressed=False, inherited=True, trained=False),
    )
}
#: The paper's.
FOUR = ("full-scratch", "full-fine", "pfa-scratch", "pfa-fine")
#: The source network as it is: a row of every comparison.
UNTRAINED = "source"
#: What a distilled network follows: this protocol's network, with this seed.
TEACHER, TEACHER_SEED = "full-fine", 0
