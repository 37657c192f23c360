"""The training loop: repeatable, resumable, and true to its plan."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench.compression.narrow_networks import build_narrow
from workbench.data.augmentation import apply_views, draw_views, normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.errors import TrainingError
from workbench.models.processor import resolve_processor
from workbench.training.checkpoints import Checkpoint
from workbench.training.evaluation import evaluate
from workbench.training.loop import fit
from workbench.training.plans import Plan, batch_sizes, derive_seed, fit_to, learning_rate

DIGITS = SOURCES["digits"]
CPU = resolve_processor("cpu", "fp32")
WIDTHS = (6, 6, 6, 8, 8, 8, 8, 8)
PLAN = Plan(4, "one-cycle", 2, 0.1, 16, 1e-4, augment=False)


@pytest.fixture
def images():
    """Two classes that differ in where their light is."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 6, (65, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(65) % 2
    pixels[labels == 1, :, :4] += 10
    return Images(pixels, labels)


def network(seed=0):
    return build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=seed)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def train(images, plan=PLAN, seed=0, **options):
    model = network()
    progress = fit(model, images, DIGITS, plan, seed=seed, processor=CPU, **options)
    return model, progress


def test_it_learns(images):
    model, progress = train(images, replace(PLAN, epochs=12))
    assert progress.epochs[-1].loss < 0.3 < progress.epochs[0].loss
    assert evaluate(model, images, DIGITS, CPU).hits >= 60


def test_the_same_seed_gives_the_same_weights_bit_for_bit(images):
    first, again, other = (train(images, seed=seed)[0] for seed in (1, 1, 2))
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


def test_the_callers_random_state_is_left_alone(images):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    train(images)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_training_that_was_cut_off_ends_with_the_same_weights(images, tmp_path, stop_after):
    class CutError(Exception):
        pass

    def cut(epoch):
        if epoch.number == stop_after:
            raise CutError

    whole, told = train(images)
    checkpoint = Checkpoint(tmp_path / "state.safetensors", "key")
    with pytest.raises(CutError):
        train(images, checkpoint=checkpoint, on_epoch=cut)
    numbers = []
    resumed, progress = train(
        images, checkpoint=checkpoint, on_epoch=lambda epoch: numbers.append(epoch.number)
    )
    assert numbers == list(range(stop_after + 1, 5))
    assert same(weights(whole), weights(resumed))
    assert progress.epochs == told.epochs


@pytest.mark.parametrize("damage", ["other key", "cut off"])
def test_a_state_that_does_not_fit_is_not_taken_up(images, tmp_path, damage):
    path = tmp_path / "state.safetensors"
    train(images, checkpoint=Checkpoint(path, "other" if damage == "other key" else "key"))
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-10])
    numbers = []
    train(
        images,
        checkpoint=Checkpoint(path, "key"),
        on_epoch=lambda epoch: numbers.append(epoch.number),
    )
    assert numbers[0] == 1


def test_trainings_use_the_deterministic_kernels_of_cudnn(images):
    before, chosen = torch.backends.cudnn.deterministic, []
    train(images, on_epoch=lambda _: chosen.append(torch.backends.cudnn.deterministic))
    assert chosen == [True] * PLAN.epochs
    assert torch.backends.cudnn.deterministic == before


def test_a_loss_that_is_no_number_ends_the_training_with_a_remedy(images):
    with pytest.raises(TrainingError, match=r"loss is nan after epoch 1; try a lower --lr"):
        train(images, replace(PLAN, learning_rate=1e30))


def test_a_penalty_is_named_when_the_loss_is_no_number(images):
    remedy = r"a lower --lr \(now 0\.1\) or a lower --orthogonality \(now 1e\+30\)"
    with pytest.raises(TrainingError, match=remedy):
        train(images, replace(PLAN, learning_rate=0.1, orthogonality=1e30))


@pytest.mark.parametrize(
    ("images_", "size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (3, 8, [3]), (5, 2, [2, 3])],
)
def test_a_last_batch_of_one_joins_the_one_before(images_, size, sizes):
    assert batch_sizes(images_, size) == sizes


@pytest.mark.parametrize(("images_", "size"), [(1, 4), (4, 1)])
def test_batches_of_one_are_rejected(images_, size):
    with pytest.raises(ValueError, match="cannot train"):
        batch_sizes(images_, size)


def test_the_batch_size_is_capped_at_the_number_of_images():
    assert fit_to(PLAN, 7).batch_size == 7
    assert fit_to(PLAN, 700).batch_size == 16


def test_the_papers_schedule_decays_once():
    plan = replace(PLAN, schedule="paper", epochs=160, decay_epoch=90)
    rates = [learning_rate(plan, step, 320) for step in range(320)]
    assert rates == [0.1] * 180 + [pytest.approx(0.01)] * 140


def test_one_cycle_rises_to_the_peak_and_falls_to_nothing():
    rates = [learning_rate(PLAN, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.004)
    assert rates[25] == max(rates) == pytest.approx(0.1)
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[-1] < 1e-4
    assert all(math.isfinite(learning_rate(PLAN, step, 1)) for step in range(1))


def test_seeds_of_different_purposes_never_meet():
    seeds = {
        derive_seed(s, p, n) for s in range(20) for p in ("order", "dropout") for n in range(20)
    }
    assert len(seeds) == 800


def test_views_equal_padding_cropping_and_flipping_one_by_one():
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.integers(0, 256, (9, 3, 6, 5), dtype=np.uint8))
    views = draw_views(9, 2, True, torch.Generator().manual_seed(0))
    assert set(views[:, 2].tolist()) == {0, 1}
    for image, (down, right, mirror), seen in zip(
        images, views.tolist(), apply_views(images, views, 2), strict=True
    ):
        padded = np.pad(image.numpy(), ((0, 0), (2, 2), (2, 2)))
        crop = padded[:, down : down + 6, right : right + 5]
        assert np.array_equal(seen.numpy(), crop[:, :, ::-1] if mirror else crop)


def test_without_crop_and_flip_a_view_is_the_image():
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    assert torch.equal(apply_views(images, draw_views(1, 0, False, torch.Generator()), 0), images)


def test_normalised_digits_have_zero_mean_and_unit_spread():
    from workbench.data.known_sets import load_images

    train_images = load_images("digits", "train", None)
    pixels = normalise(torch.from_numpy(train_images.pixels), DIGITS)
    assert pixels.mean().item() == pytest.approx(0, abs=1e-3)
    assert pixels.std().item() == pytest.approx(1, abs=1e-3)


def test_evaluation_counts_hits_over_all_batches(images, monkeypatch):
    model = network()
    whole = evaluate(model, images, DIGITS, CPU)
    monkeypatch.setattr("workbench.training.evaluation._EVALUATION_BATCH", 10)
    parts = evaluate(model, images, DIGITS, CPU)
    np.testing.assert_array_equal(parts.correct, whole.correct)
    assert (parts.hits, parts.top_hits) == (whole.hits, whole.top_hits)
    with torch.no_grad():
        logits = model.eval()(normalise(torch.from_numpy(images.pixels), DIGITS))
    np.testing.assert_array_equal(whole.correct, logits.argmax(1).numpy() == images.labels)
    assert whole.hits == int((logits.argmax(1).numpy() == images.labels).sum())
    assert whole.top_hits == len(images)  # of two classes, both are among five


def test_every_image_of_an_epoch_gets_the_view_drawn_for_it(monkeypatch):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    crops = Images(pixels, np.arange(10) % 2)
    seen = []

    def record(batch, views, padding, *, reflect):
        seen.append(views)
        return apply_views(batch, views, padding)

    monkeypatch.setattr("workbench.data.image_batches.apply_views", record)
    model = build_narrow("simplecnn", (3, 32, 32), 2, WIDTHS)
    plan = replace(PLAN, epochs=1, batch_size=4, augment=True)
    fit(model, crops, SOURCES["cifar10"], plan, seed=0, processor=CPU)
    generator = torch.Generator().manual_seed(derive_seed(0, "order", 1))
    torch.randperm(10, generator=generator)
    assert [len(views) for views in seen] == [4, 4, 2]
    assert torch.equal(torch.cat(seen), draw_views(10, 4, True, generator))


def test_bf16_trains_in_bf16(images):
    _, exact = train(images)
    model = network()
    kinds = set()
    model.features[0].register_forward_hook(lambda m, i, out: kinds.add(out.dtype))
    told = fit(model, images, DIGITS, PLAN, seed=0, processor=replace(CPU, precision="bf16"))
    assert kinds == {torch.bfloat16}
    assert model.features[0].weight.dtype == torch.float32
    assert told.epochs[-1].loss == pytest.approx(exact.epochs[-1].loss, rel=0.2)
    assert told.epochs[-1].loss != exact.epochs[-1].loss


def test_evaluation_counts_hits_among_the_first_five(images):
    model = build_narrow("simplecnn", (1, 8, 8), 9, WIDTHS, seed=4)
    found = evaluate(model, images, DIGITS, CPU)
    with torch.no_grad():
        logits = model.eval()(normalise(torch.from_numpy(images.pixels), DIGITS)).numpy()
    ranks = (-logits).argsort(axis=1)
    expected = sum(label in rank[:5] for label, rank in zip(images.labels, ranks, strict=True))
    assert found.hits < found.top_hits == expected < len(images)


def test_label_smoothing_is_the_loss_of_smoothed_labels(images, monkeypatch):
    """One step of one batch: the loss against its formula on the same logits."""
    plan = replace(PLAN, epochs=1, batch_size=len(images), label_smoothing=0.3)
    logits = []
    model = network()
    model.register_forward_hook(lambda m, i, out: logits.append(out.detach()))
    progress = fit(model, images, DIGITS, plan, seed=0, processor=CPU)
    generator = torch.Generator().manual_seed(derive_seed(0, "order", 1))
    order = torch.randperm(len(images), generator=generator)
    labels = torch.from_numpy(images.labels)[order]
    log_shares = torch.log_softmax(logits[0].double(), dim=1)
    hit = log_shares.gather(1, labels[:, None]).squeeze(1)
    expected = -(0.7 * hit + 0.3 * log_shares.mean(dim=1)).mean()
    assert progress.epochs[0].loss == pytest.approx(expected.item(), rel=1e-6)


def test_options_that_are_not_used_leave_plans_as_they_were_recorded():
    assert "label_smoothing" not in PLAN.parts()
    assert "reflect" not in PLAN.parts()
    assert PLAN.parts()["augment"] is False
    assert replace(PLAN, reflect=True, label_smoothing=0.1).parts().keys() > PLAN.parts().keys()
