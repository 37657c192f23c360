"""The objectives of distillation: their laws, slow transcriptions, and the layers they compare."""

import math
from dataclasses import replace

import naive
import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.groups.rebuild import rebuild
from workbench.compression.narrow_networks import structure_of
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.errors import NetworkError
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.training.distillation import Teacher
from workbench.training.distillation_options import TAUGHT
from workbench.training.loop import fit
from workbench.training.mean_teacher import MeanTeacher
from workbench.training.mutual_learning import MutualLearning, Peers, mutual_losses
from workbench.training.objectives import OBJECTIVES
from workbench.training.objectives.attention_transfer import attention_loss
from workbench.training.objectives.fitnets import hint_loss
from workbench.training.objectives.matched_layers import match_layers
from workbench.training.objectives.rkd import (
    MOST_ANGLES,
    angle_loss,
    distance_loss,
    relation_loss,
)
from workbench.training.objectives.similarity import similarity_loss
from workbench.training.objectives.soft_targets import soft_loss
from workbench.training.plans import Plan

DIGITS, SHAPE, CPU = SOURCES["digits"], (1, 8, 8), Processor("cpu", "fp32", 1)
PLAN = Plan(2, "one-cycle", 1, 0.05, 16, 5e-4, augment=False)
LOSSES = {
    "attention": attention_loss, "similarity": similarity_loss, "hint": hint_loss,
    "relation": relation_loss,
}  # fmt: skip


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def features(name, images=5, channels=3, seed=0):
    """Embeddings for relations, maps for the others."""
    return draw(images, channels, *(() if name == "relation" else (4, 2)), seed=seed)


# --- laws of the losses -----------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_a_student_equal_to_its_teacher_has_neither_loss_nor_gradient(name):
    ours = features(name).requires_grad_()
    loss = LOSSES[name](ours, ours.detach().clone())
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-20)
    assert ours.grad.abs().max() < 1e-9
    other = features(name, seed=1).requires_grad_()
    loss = LOSSES[name](other, ours.detach())
    loss.backward()
    assert loss.item() > 1e-4
    assert other.grad.abs().max() > 1e-4


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("images", [1, 4])
def test_features_of_zero_and_single_images_have_finite_losses_and_gradients(name, images):
    """One image, one image of zeros among others, all images of zeros, all images equal."""
    some, theirs = features(name, images), features(name, images, seed=1)
    gap = some.clone()
    gap[0] = 0
    for ours in (some, gap, torch.zeros_like(some), some[:1].expand_as(some).clone()):
        for wanted in (theirs, torch.zeros_like(theirs)):
            student = ours.clone().requires_grad_()
            loss = LOSSES[name](student, wanted)
            loss.backward()
            assert torch.isfinite(loss)
            # Not the huge gradient of a division by almost zero either.
            assert student.grad.abs().max() < 1e3


@pytest.mark.parametrize("name", ["similarity", "relation"])
def test_relations_need_two_images(name):
    assert LOSSES[name](features(name, 1), features(name, 1, seed=1)).item() == pytest.approx(0)


@pytest.mark.parametrize("name", ["attention", "similarity"])
def test_the_order_of_channels_has_no_effect_and_their_number_may_differ(name):
    ours, theirs = features(name), features(name, channels=7, seed=1)
    loss = LOSSES[name](ours, theirs)
    assert LOSSES[name](ours[:, [2, 0, 1]], theirs.flip(1)).item() == pytest.approx(loss.item())
    assert LOSSES[name](5 * ours, theirs).item() == pytest.approx(loss.item())


def test_relations_survive_rotation_shift_and_scale():
    ours, theirs = draw(6, 3), draw(6, 4, seed=1)
    turn = torch.linalg.qr(draw(3, 3, seed=2)).Q
    moved = 7 * ours @ turn + draw(1, 3, seed=3)
    for loss in (distance_loss, angle_loss):
        assert loss(moved, theirs).item() == pytest.approx(loss(ours, theirs).item(), rel=1e-9)
        assert loss(moved, ours).item() == pytest.approx(0, abs=1e-20)


def test_angles_are_those_of_the_first_images_of_a_large_batch():
    ours, theirs = draw(MOST_ANGLES + 5, 3), draw(MOST_ANGLES + 5, 3, seed=1)
    first = angle_loss(ours[:MOST_ANGLES], theirs[:MOST_ANGLES])
    assert angle_loss(ours, theirs) == first
    assert distance_loss(ours, theirs) != distance_loss(ours[:MOST_ANGLES], theirs[:MOST_ANGLES])


def test_hints_without_common_channels_are_no_loss():
    assert hint_loss(draw(4, 0, 2, 2), draw(4, 0, 2, 2)).item() == 0


# --- slow transcriptions ----------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_the_papers(name):
    ours, theirs = features(name), features(name, seed=1)
    expected = getattr(naive, f"{name}_loss")(ours.numpy(), theirs.numpy())
    assert LOSSES[name](ours, theirs).item() == pytest.approx(expected, rel=1e-9)


def test_two_teachers_are_averaged_in_all_classes():
    inputs, temperature, rows = draw(5, 4), 3.0, [2, 0]
    wide, narrow = (nn.Linear(4, classes).double() for classes in (3, 2))
    mean = MeanTeacher(wide, narrow, rows, temperature)
    with torch.no_grad():
        logits = mean(inputs)
    for row, image in zip(logits, inputs, strict=True):
        source, target = (
            naive.softmax((layer(image) / temperature).tolist()) for layer in (wide, narrow)
        )
        expected = [share / 2 for share in source]
        for place, share in zip(rows, target, strict=True):
            expected[place] += share / 2
        assert naive.softmax((row / temperature).tolist()) == pytest.approx(expected, rel=1e-5)


def test_a_certain_teacher_gives_finite_logits():
    wide, narrow = nn.Linear(1, 3, bias=False), nn.Linear(1, 2, bias=False)
    for layer in (wide, narrow):
        nn.init.constant_(layer.weight, 0)
        layer.weight.data[0] = 1e6
    logits = MeanTeacher(wide, narrow, [2, 0], 1.0)(torch.ones(1, 1))
    assert torch.isfinite(logits).all()
    assert torch.isfinite(soft_loss(torch.zeros(1, 3), logits, 1.0))


# --- mutual learning ---------------------------------------------------------------------------


def on_labels(logits):
    return nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1]))


def test_one_network_alone_learns_from_the_labels():
    logits = draw(3, 2)
    assert mutual_losses(on_labels, [logits]) == [on_labels(logits)]


def test_each_network_learns_from_the_mean_divergence_of_the_others():
    logits = [draw(3, 2, seed=seed).requires_grad_() for seed in range(3)]
    losses = mutual_losses(on_labels, logits)
    for place, loss in enumerate(losses):
        apart = [
            naive.soft_cross_entropy(logits[place].tolist(), other.tolist(), 1.0)
            for j, other in enumerate(logits)
            if j != place
        ]
        expected = on_labels(logits[place]).item() + sum(apart) / 2
        assert loss.item() == pytest.approx(expected)
        gradients = torch.autograd.grad(loss, logits, allow_unused=True)
        assert [gradient is not None for gradient in gradients] == [i == place for i in range(3)]


def test_the_loss_of_peers_is_the_first_ones_and_moves_all():
    logits = [draw(3, 2, seed=seed).requires_grad_() for seed in range(2)]
    losses = mutual_losses(on_labels, logits)
    mixed = MutualLearning().mix(on_labels, logits[0], torch.stack(logits[1:]))
    assert mixed.item() == pytest.approx(losses[0].item())
    for got, wanted in zip(
        torch.autograd.grad(mixed, logits),
        torch.autograd.grad(sum(losses), logits),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


# --- layers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape"), [("simplecnn", (1, 8, 8)), ("resnet56", (3, 16, 16))])
def test_the_last_reader_of_each_resolution_is_compared(name, shape):
    network, structure = build_network(name, shape, 10), structure_of(name, shape, 10)
    found = {
        reads: [each.name for each in match_layers(reads, network, structure, shape)]
        for reads in ("large maps", "last map", "middle map", "embedding")
    }
    sizes = {}
    for layer in structure.layers:
        network.get_submodule(layer).register_forward_pre_hook(
            lambda m, seen, layer=layer: sizes.update({layer: tuple(seen[0].shape[2:])})
        )
    network.eval()(torch.zeros(2, *shape))
    last = {size: layer for layer, size in sizes.items() if math.prod(size) > 1 and size}
    expected = sorted(last.values(), key=structure.layers.index)
    large = [layer for layer in expected if math.prod(sizes[layer]) >= 16]
    assert found["large maps"] == large
    assert len(expected) > len(large) or name != "simplecnn"
    assert found["last map"] == expected[-1:]
    assert found["middle map"] == [expected[len(expected) // 2]]
    assert found["embedding"] == [structure.classifier.name]


class Flat(nn.Module):
    """A network of fully connected layers."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(64, 8), nn.Linear(8, 10)

    def forward(self, x):
        return self.two(torch.relu(self.one(x.flatten(1))))


def test_a_network_without_maps_has_an_embedding_only():
    from workbench.compression.groups.tracing import find_structure

    network = Flat()
    structure = find_structure(network, SHAPE)
    assert match_layers("embedding", network, structure, SHAPE)[0].name == "two"
    with pytest.raises(NetworkError, match="use --objective soft-targets or rkd"):
        match_layers("large maps", network, structure, SHAPE)


# --- in a training -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full():
    return build_network("simplecnn", SHAPE, 10, seed=3).eval()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 17, (40, *SHAPE), dtype=np.uint8)
    return Images(pixels, rng.integers(0, 10, 40))


def kept_filters(structure, seed=0):
    rng = np.random.default_rng(seed)
    return {
        group.name: sorted(rng.choice(group.filters, group.filters // 8, replace=False).tolist())
        for group in structure.groups
    }


def teacher_of(full, objective, ours, theirs=None, weight=1.0, network=None):
    structure, how = structure_of("simplecnn", SHAPE, 10), OBJECTIVES[objective]
    layers = ()
    if how:
        kept = (ours, theirs) if how.by_channel else None
        layers = match_layers(how.reads, full, structure, SHAPE, kept)
    return Teacher(network or full, 1.0, weight, how, layers)


def loss_of(teacher, student, inputs):
    with teacher.attached(student):
        logits = student(inputs)
        return teacher.mix(lambda own: own.sum() * 0, logits, teacher.logits(inputs))


@pytest.mark.parametrize("objective", TAUGHT)
def test_a_copy_of_the_teacher_has_nothing_to_learn(full, objective):
    student = rebuild(full, {}, structure_of("simplecnn", SHAPE, 10))
    loss = loss_of(teacher_of(full, objective, None), student, draw(6, *SHAPE).float())
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert max(p.grad.abs().max() for p in student.parameters() if p.grad is not None) < 1e-4


@pytest.mark.parametrize("objective", [name for name in TAUGHT if OBJECTIVES[name]])
def test_features_of_a_narrower_network_are_compared_as_the_loss_says(full, objective):
    structure = structure_of("simplecnn", SHAPE, 10)
    ours, theirs = kept_filters(structure), kept_filters(structure, seed=1)
    student, other = (rebuild(full, kept, structure).eval() for kept in (ours, theirs))
    inputs = draw(6, *SHAPE).float()
    for teaching, kept in ((full, None), (other, theirs)):
        teacher = teacher_of(full, objective, ours, kept, weight=0.0, network=teaching)
        expected = 0.0
        for layer in teacher.layers:
            seen = [_input_of(network, layer.name, inputs) for network in (student, teaching)]
            if objective == "fitnets":
                seen = _common(structure, layer.name, seen, ours, kept)
            if objective == "rkd":
                seen = [maps.mean(dim=(2, 3)) for maps in seen]
            expected += teacher.features.loss(*seen).item() * teacher.features.weight
        assert expected > 0 or objective == "fitnets"
        loss = loss_of(teacher, student, inputs)
        assert loss.item() == pytest.approx(expected, rel=1e-4)
        assert not teacher._taps
        assert not student.get_submodule(teacher.layers[0].name)._forward_pre_hooks


def _input_of(network, layer, inputs):
    seen = []
    handle = network.get_submodule(layer).register_forward_pre_hook(lambda m, i: seen.append(i[0]))
    with torch.no_grad():
        network(inputs)
    handle.remove()
    return seen[0]


def _common(structure, layer, seen, ours, theirs):
    """Channels of the one group that the layer reads, kept by both networks."""
    (group,) = (
        g for g in structure.groups if (layer, "inputs") in {(c.layer, c.side) for c in g.cuts}
    )
    mine = ours[group.name]
    other = theirs[group.name] if theirs else list(range(group.filters))
    both = [index for index in mine if index in other]
    return [
        maps[:, [kept.index(index) for index in both]]
        for maps, kept in zip(seen, (mine, other), strict=True)
    ]


@pytest.mark.parametrize("objective", ["attention-transfer", "similarity", "fitnets", "rkd"])
def test_a_training_brings_probabilities_and_features_closer(full, images, objective):
    structure = structure_of("simplecnn", SHAPE, 10)
    kept = kept_filters(structure)
    student = rebuild(full, kept, structure)
    for part in student.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    teacher = teacher_of(full, objective, kept)
    plan = replace(PLAN, epochs=4)
    done = fit(student, images, DIGITS, plan, seed=0, processor=CPU, teacher=teacher)
    assert done.epochs[-1].loss < done.epochs[0].loss
    assert not any(parameter.grad is not None for parameter in full.parameters())


def test_two_teachers_features_count_half_each(full):
    structure = structure_of("simplecnn", SHAPE, 10)
    student = rebuild(full, kept_filters(structure), structure)
    other = build_network("simplecnn", SHAPE, 10, seed=4).eval()
    inputs = draw(6, *SHAPE).float()
    mean = MeanTeacher(full, other, list(range(10)), 1.0)
    losses = [
        loss_of(teacher_of(full, "similarity", None, weight=0.0, network=net), student, inputs)
        for net in (full, other, mean)
    ]
    first, second, both = (loss.item() for loss in losses)
    assert both == pytest.approx((first + second) / 2, rel=1e-5)


def test_peers_are_trained_side_by_side_and_resume(full, images, tmp_path):
    from workbench.training.checkpoints import Checkpoint

    class CutError(Exception):
        pass

    def cut(epoch):
        raise CutError

    def peers():
        structure = structure_of("simplecnn", SHAPE, 10)
        return Peers(
            [rebuild(full, kept_filters(structure), structure), rebuild(full, {}, structure)]
        )

    def train(network, **options):
        guide = MutualLearning()
        fit(network, images, DIGITS, PLAN, seed=0, processor=CPU, teacher=guide, **options)
        return network.state_dict()

    whole = train(peers())
    start = peers().state_dict()
    assert not any(
        torch.equal(whole[n], start[n]) for n in whole if n.endswith("features.0.weight")
    )
    checkpoint = Checkpoint(tmp_path / "state.safetensors", "key")
    with pytest.raises(CutError):
        train(peers(), checkpoint=checkpoint, on_epoch=cut)
    again = train(peers(), checkpoint=checkpoint)
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    with pytest.raises(TypeError, match="has no peers"):
        train(full)
