"""Mixup and CutMix: laws, slow transcriptions, and what a training sees of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.models.processor import Processor
from workbench.training.distillation import Teacher
from workbench.training.loop import fit
from workbench.training.mixing import Mixer, Mixture, cut_box, label_loss, mixer_of
from workbench.training.plans import Plan, derive_seed

DIGITS, CPU = SOURCES["digits"], Processor("cpu", "fp32", 1)
PLAN = Plan(1, "one-cycle", 1, 0.05, 10, 0.0, augment=False)
MIXES = [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 1.0}]


def batch(count=6, height=5, width=7):
    return torch.randn(count, 2, height, width, generator=torch.Generator().manual_seed(0))


def drawn(seed=0, epoch=1, times=20, **alphas):
    mixer = Mixer(replace(PLAN, **alphas), seed, epoch)
    return [mixer.draw(batch()) for _ in range(times)]


def slow(mixture, inputs):
    """Pixel by pixel."""
    mixed = inputs.clone()
    for number, partner in enumerate(mixture.partners.tolist()):
        for row in range(inputs.shape[2]):
            for column in range(inputs.shape[3]):
                own, other = inputs[number, :, row, column], inputs[partner, :, row, column]
                if mixture.box is None:
                    value = mixture.share * own + (1 - mixture.share) * other
                else:
                    top, bottom, left, right = mixture.box
                    inside = top <= row < bottom and left <= column < right
                    value = other if inside else own
                mixed[number, :, row, column] = value
    return mixed


@pytest.mark.parametrize("alphas", MIXES)
def test_images_and_losses_equal_a_slow_transcription(alphas):
    inputs, labels = batch(), torch.tensor([0, 2, 1, 1, 0, 2])
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    for mixture in drawn(times=8, **alphas):
        torch.testing.assert_close(mixture.images(inputs), slow(mixture, inputs))
        loss = 0.0
        for number, partner in enumerate(mixture.partners.tolist()):
            mixed = [0.3 / 4] * 4  # smoothed by 0.3
            mixed[labels[number]] += 0.7 * mixture.share
            mixed[labels[partner]] += 0.7 * (1 - mixture.share)
            assert sum(mixed) == pytest.approx(1)
            logs = torch.log_softmax(logits[number].double(), 0).tolist()
            loss -= sum(share * log for share, log in zip(mixed, logs, strict=True)) / 6
        assert label_loss(logits, labels, 0.3, mixture).item() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("alphas", MIXES)
def test_shares_and_partners_are_in_range(alphas):
    for mixture in drawn(times=50, **alphas):
        assert 0 <= mixture.share <= 1
        assert sorted(mixture.partners.tolist()) == list(range(6))
        if mixture.box is not None:
            top, bottom, left, right = mixture.box
            assert 0 <= top <= bottom <= 5
            assert 0 <= left <= right <= 7
            assert mixture.share == pytest.approx(1 - (bottom - top) * (right - left) / 35)


def test_a_share_of_1_changes_nothing():
    inputs, labels = batch(), torch.arange(6) % 3
    for box in (None, cut_box(1.0, 5, 7, (2.2, 3.3))):
        mixture = Mixture(torch.arange(5, -1, -1), 1.0, box)
        assert torch.equal(mixture.images(inputs), inputs)
        logits = torch.randn(6, 3)
        plain = nn.functional.cross_entropy(logits, labels)
        assert torch.equal(label_loss(logits, labels, 0.0, mixture), plain)
        assert torch.equal(label_loss(logits, labels, 0.0, None), plain)


def test_a_share_of_0_gives_the_partners():
    inputs = batch()
    partners = torch.tensor([1, 2, 3, 4, 5, 0])
    for box in (None, cut_box(0.0, 5, 7, (2.5, 3.5))):
        assert torch.equal(Mixture(partners, 0.0, box).images(inputs), inputs[partners])


def test_mixup_with_alpha_near_0_leaves_every_image_whole():
    inputs = batch()
    for mixture in drawn(mixup=1e-6):
        mixed = mixture.images(inputs)
        distances = (mixed[:, None] - inputs[None]).flatten(2).norm(dim=2).min(dim=1).values
        assert distances.max() < 1e-5


def test_shares_follow_their_distribution():
    shares = [mixture.share for mixture in drawn(times=3000, mixup=0.5)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / 8, abs=0.01)  # of Beta(a, a): 1 / (4 (2 a + 1))
    few = [mixture.share for mixture in drawn(times=3000, mixup=8)]
    assert np.var(few) < 0.03


def test_a_coin_decides_where_both_are_chosen():
    cut = sum(mixture.box is not None for mixture in drawn(times=400, mixup=0.5, cutmix=1.0))
    assert 150 < cut < 250
    assert all(mixture.box is None for mixture in drawn(mixup=0.5))
    assert all(mixture.box is not None for mixture in drawn(cutmix=0.5))
    assert mixer_of(PLAN, 0, 1) is None


def test_mixtures_depend_on_seed_and_epoch_alone():
    first, again = drawn(mixup=0.5, seed=4), drawn(mixup=0.5, seed=4)
    assert [mixture.share for mixture in first] == [mixture.share for mixture in again]
    others = [drawn(mixup=0.5, seed=5), drawn(mixup=0.5, seed=4, epoch=2)]
    assert all(other[0].share != first[0].share for other in others)


def images_of(count=25):
    drawing = np.random.default_rng(0)
    pixels = drawing.integers(0, 17, (count, 1, 8, 8), dtype=np.uint8)
    return Images(pixels, drawing.integers(0, 3, count))


class Recorded(nn.Module):
    """A linear network that remembers its inputs and outputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.seen, self.logits = nn.Linear(64, 3), [], []

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        self.seen.append(images.detach().clone())
        self.logits.append(logits.detach().clone())
        return logits


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("alphas", MIXES)
def test_a_training_sees_the_mixtures_and_their_loss(alphas, smoothing):
    images, plan = images_of(), replace(PLAN, label_smoothing=smoothing, **alphas)
    model, plain = Recorded(), Recorded()
    progress = fit(model, images, DIGITS, plan, seed=2, processor=CPU)
    fit(plain, images, DIGITS, PLAN, seed=2, processor=CPU)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(derive_seed(2, "order", 1)))
    labels, mixer, losses = torch.from_numpy(images.labels)[order], Mixer(plan, 2, 1), []
    for number, (seen, unmixed, logits) in enumerate(
        zip(model.seen, plain.seen, model.logits, strict=True)
    ):
        mixture = mixer.draw(unmixed)
        torch.testing.assert_close(seen, slow(mixture, unmixed))
        own = labels[10 * number : 10 * number + len(seen)]
        each = nn.CrossEntropyLoss(label_smoothing=smoothing, reduction="sum")
        share = mixture.share
        losses.append(share * each(logits, own) + (1 - share) * each(logits, own[mixture.partners]))
    assert progress.epochs[0].loss == pytest.approx(float(sum(losses)) / 25, rel=1e-5)


def test_the_teacher_sees_the_same_mixtures():
    model, teacher = Recorded(), Recorded()
    plan = replace(PLAN, mixup=0.5, cutmix=1.0)
    fit(model, images_of(), DIGITS, plan, seed=2, processor=CPU, teacher=Teacher(teacher, 1, 0.5))
    assert all(torch.equal(*pair) for pair in zip(model.seen, teacher.seen, strict=True))


def test_mixing_runs_in_channels_last():
    inputs = normalise(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), SOURCES["cifar10"])
    for mixture in (Mixture(torch.arange(4), 0.5), Mixture(torch.arange(4), 0.5, (0, 4, 0, 8))):
        mixed = mixture.images(inputs)
        assert mixed.is_contiguous(memory_format=torch.channels_last)
