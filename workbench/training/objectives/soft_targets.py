"""Soft targets: the small network learns the teacher's probabilities (method card).

Idea: the teacher's probabilities carry more information than the label: they also show which
other classes an image resembles. A network with a quarter of the filters can reproduce them even
where it could not learn them from labels alone.
Formula: loss = (1 - a) CE(y, p(1)) + a T^2 KL(q(T) || p(T)), with the teacher's and the student's
softmax q and p at temperature T. T^2 keeps the gradients' size independent of T.
Cost: one forward pass of the teacher per image, in addition to about three of the student.
When it does not help: with two classes, where the probabilities add little to the label, and
where the teacher is no better than the student. The logits of a confident teacher are far apart,
and then the gradient grows with T: at VGG-16's learning rate of 0.1, training on two classes
failed with T = 4, so the default is 1.

With a = 1 and T = 1, repeated over generations, this is label refinery: the labels are the
teacher's probabilities for the same view of the image, and no others are used (Bagherinezhad,
Horton, Rastegari, Farhadi, "Label Refinery", 2018, arXiv 1805.02641).

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531),
section 2.
"""

from __future__ import annotations

from torch import Tensor, nn


def soft_loss(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """T^2 KL(q || p), the mean over the images.

    Args:
        logits, wanted: shape (b, classes), the student's and the teacher's.
        temperature: T, above 0.
    """
    ours = nn.functional.log_softmax(logits / temperature, dim=1)
    theirs = nn.functional.log_softmax(wanted / temperature, dim=1)
    divergence = nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    return divergence * temperature**2
