"""The protocols, as data: {full, compressed} network x {random, inherited} weights, and four more.

The four protocols of the source paper (section 5) have the same hyper-parameters, so they differ
only in the network and in the origin of its weights. "pfa-scratch-b" trains the compressed
network for as many FLOPs as the full one (Liu et al., "Rethinking the Value of Network Pruning",
ICLR 2019). "pfa-distill" trains it with the full network as the teacher (``distillation``).
"source" is the source network without further training, with the target's rows of its classifier.
"pfa-source" is its compressed network without further training, compensated with ``--compensate``.
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
        distilled: it learns from another network; without options, from that of full-fine with
            seed 0.
        trained: it is trained for the target.
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
        Protocol("pfa-source", compressed=True, inherited=True, trained=False),
    )
}
#: The four protocols of the paper.
FOUR = ("full-scratch", "full-fine", "pfa-scratch", "pfa-fine")
#: The unchanged source network, which is a row of every comparison.
UNTRAINED = "source"
#: The compressed network without training, a row of every comparison with ``--compensate``.
COMPRESSED_UNTRAINED = "pfa-source"
#: Protocol and seed of the teacher of a distilled network.
TEACHER, TEACHER_SEED = "full-fine", 0
