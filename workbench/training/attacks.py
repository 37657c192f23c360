"""Accuracy under adversarial changes of the images: FGSM and PGD (method card).

Idea: changes of pixels that are too small to see can change the predicted class.
Both attacks use the gradient of the network's own loss (white-box, float32) and change no pixel by
more than epsilon, which is given in 1/255 of the range from black to white.
Formula: FGSM takes one step, x + eps sign(grad L(x)). PGD starts at a random point within epsilon
(fixed seed), takes 10 steps of eps/4 in the direction of the sign, and after each of them goes back
to the nearest point that is within epsilon of x. Both are limited to valid pixels. They act before
the normalisation, and pixels are not rounded to whole values afterwards. L is the cross-entropy
with the true label.
Cost: a forward and a backward pass per step: 1 for FGSM and 10 for PGD, for each epsilon.
What it does not show: the accuracy under a stronger attack (more steps, restarts, other losses) is
lower, so a number here is an upper bound. Networks whose gradients vanish look more robust than
they are. int8 files have no gradient and are not attacked. Images that are classified wrongly
before the attack are counted, too; PGD moves a few of them into their class.

Goodfellow, Shlens, Szegedy, ICLR 2015 (arXiv 1412.6572); Madry et al., ICLR 2018 (arXiv
1706.06083).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from workbench.data.augmentation import Scale, normalise_pixels
from workbench.data.image_batches import ImageSet, batches
from workbench.models.networks import place
from workbench.models.processor import Processor, exact_fp32
from workbench.training.attack_names import FGSM, PGD, attack_metric
from workbench.training.plans import derive_seed

_BATCH = 128  # images; gradients need the memory of a training step
_STEPS, _STEP = 10, 0.25  # of PGD; a step as a share of epsilon


def attack_accuracies(
    model: nn.Module,
    images: ImageSet,
    source: Scale,
    processor: Processor,
    epsilons: Sequence[int],
    *,
    on_batch: Callable[[int], None] = lambda images: None,
) -> dict[str, float]:
    """Share of the images that are classified correctly under each attack.

    Args:
        model: the network; it is moved to the processor's device and into evaluation mode.
        images: with their true labels.
        source: normalisation of the images.
        epsilons: largest changes of a pixel, in 1/255 of its range.
        on_batch: called after each batch with the number of images that are done.

    Returns:
        Shares in [0, 1] by the names of ``attack_names.attack_metric``.
    """
    device = processor.torch_device
    place(model, device).eval()
    starts = {epsilon: _random_starts(epsilon) for epsilon in epsilons}
    hits: dict[str, Tensor] = {}
    done = 0
    with exact_fp32(device.type):
        for pixels, labels in batches(images, _BATCH, device):
            clean = pixels.to(torch.float32, memory_format=torch.channels_last)
            for epsilon, start in starts.items():
                size = epsilon / 255 * source.white
                for name, attack in (
                    (FGSM, fgsm(model, clean, labels, source, size)),
                    (PGD, pgd(model, clean, labels, source, size, start(clean))),
                ):
                    metric = attack_metric(name, epsilon)
                    found = _hits(model, attack, labels, source)
                    hits[metric] = hits.get(metric, torch.zeros_like(found)) + found
            done += len(labels)
            on_batch(done)
    return {name: int(found) / len(images) for name, found in hits.items()}


def fgsm(model: nn.Module, pixels: Tensor, labels: Tensor, source: Scale, size: float) -> Tensor:
    """Change every pixel by ``size`` in the direction that raises the loss.

    Args:
        model: in evaluation mode.
        pixels: float32, shape (b, c, h, w), in [0, source.white].
        labels: int64, shape (b,).
        size: in the unit of the pixels.

    Returns:
        The changed pixels, in [0, source.white].
    """
    return (pixels + size * _direction(model, pixels, labels, source)).clamp(0, source.white)


def pgd(
    model: nn.Module, pixels: Tensor, labels: Tensor, source: Scale, size: float, start: Tensor
) -> Tensor:
    """Raise the loss in ten steps; no pixel changes by more than ``size``.

    Args:
        model, pixels, labels, source, size: as for ``fgsm``.
        start: where to begin, in [-1, 1] times ``size``, shape of ``pixels``.

    Returns:
        The changed pixels, in [0, source.white].
    """
    low, high = (pixels - size).clamp(min=0), (pixels + size).clamp(max=source.white)
    changed = torch.clamp(pixels + size * start, low, high)
    for _ in range(_STEPS):
        step = _STEP * size * _direction(model, changed, labels, source)
        changed = torch.clamp(changed + step, low, high)
    return changed


def _random_starts(epsilon: int) -> Callable[[Tensor], Tensor]:
    """Random starts of PGD, the same on every device and whatever the other epsilons are."""
    generator = torch.Generator().manual_seed(derive_seed(0, "pgd", epsilon))

    def start(pixels: Tensor) -> Tensor:
        drawn = torch.rand(pixels.shape, generator=generator)
        return (2 * drawn - 1).to(pixels.device)

    return start


def _direction(model: nn.Module, pixels: Tensor, labels: Tensor, source: Scale) -> Tensor:
    """Sign of the loss's gradient; 0 where a pixel has no influence."""
    with torch.enable_grad():
        variable = pixels.detach().requires_grad_()
        logits = model(normalise_pixels(variable, source))
        # A sum, so that the gradient of an image does not depend on the batch.
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, variable)
    return gradient.sign()


def _hits(model: nn.Module, pixels: Tensor, labels: Tensor, source: Scale) -> Tensor:
    with torch.inference_mode():
        logits = model(normalise_pixels(pixels, source))
        hits: Tensor = (logits.argmax(dim=1) == labels).sum()
    return hits
