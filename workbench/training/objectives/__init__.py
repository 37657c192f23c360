"""The objectives of distillation: what a network compares with its teacher, one file each.

``soft_targets`` compares probabilities. The others compare features and are added to it:
loss = (1 - a) CE(labels) + a soft targets + weight x feature loss. With ``--distill-weight 0``,
labels and features alone remain, as in most of their papers. ``matched_layers`` chooses the layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from workbench.training.objectives import attention_transfer, fitnets, rkd, similarity
from workbench.training.objectives.matched_layers import Reads


@dataclass(frozen=True)
class FeatureLoss:
    """How an objective compares features.

    Attributes:
        reads: the layers whose inputs are compared.
        loss: a scalar from the student's and the teacher's features at one layer, fp32. The losses
            of several layers are added.
        weight: of the feature loss, relative to the loss on labels and probabilities.
        by_channel: only channels that both networks have are compared, one by one.
    """

    reads: Reads
    loss: Callable[[Tensor, Tensor], Tensor]
    weight: float
    by_channel: bool = False


#: By name; None compares probabilities only.
OBJECTIVES: dict[str, FeatureLoss | None] = {
    "soft-targets": None,
    "attention-transfer": FeatureLoss(
        "large maps", attention_transfer.attention_loss, attention_transfer.WEIGHT
    ),
    "similarity": FeatureLoss("last map", similarity.similarity_loss, similarity.WEIGHT),
    "fitnets": FeatureLoss("middle map", fitnets.hint_loss, fitnets.WEIGHT, by_channel=True),
    "rkd": FeatureLoss("embedding", rkd.relation_loss, 1.0),
}
