"""A network that takes another path on real images than the proof saw is stopped."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.groups.forward_path import path_on_noise
from workbench.compression.groups.tracing import find_structure
from workbench.compression.groups.watched_layers import watch, watching
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.errors import NetworkError
from workbench.models.processor import Processor
from workbench.training.evaluation import evaluate
from workbench.training.loop import fit
from workbench.training.plans import Plan

SHAPE, DIGITS, CPU = (1, 8, 8), SOURCES["digits"], Processor("cpu", "fp32", 1)
PLAN = Plan(2, "one-cycle", 1, 0.05, 16, 5e-4, augment=False)
PATH = ("one", "norm", "two", "head")
DARK, BRIGHT = torch.zeros(2, *SHAPE), torch.ones(2, *SHAPE)


class Network(nn.Module):
    """Four layers and a spare one; ``run`` says what is done between the first and the last."""

    def __init__(self, run=None):
        super().__init__()
        self.one, self.two, self.spare = (nn.Conv2d(n, 4, 1) for n in (1, 4, 4))
        self.norm, self.drop = nn.BatchNorm2d(4), nn.Dropout()
        self.head = nn.Linear(4, 10)
        self.run = run or (lambda net, x, y: net.two(y))

    def forward(self, images):
        features = torch.relu(self.norm(self.one(images)))
        features = self.run(self, images, features)
        return self.head(self.drop(features.mean(dim=(2, 3))))


def more(net, x, y):
    y = net.two(y)
    return net.spare(y) if x.mean() > 0.5 else y


def fewer(net, x, y):
    return y if x.mean() > 0.5 else net.two(y)


def another(net, x, y):
    return net.spare(y) if x.mean() > 0.5 else net.two(y)


def twice(net, x, y):
    return net.two(net.norm(y)) if x.mean() > 0.5 else net.two(y)


def swapped(net, x, y):
    y = net.two(y)
    return net.norm(y) if x.mean() > 0.5 else y


def auxiliary(net, x, y):
    if net.training:
        net.spare(y)
    return more(net, x, y)


def only_auxiliary(net, x, y):
    if net.training:
        net.spare(y)
    return net.two(y)


def repeated(net, x, y):
    y = net.two(y)
    return net.two(y) if net.training and torch.rand(()) < 0.5 else y


def dropped(net, x, y):
    return y if net.training and torch.rand(()) < 0.5 else net.two(y)


def images_of(number=40):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, DIGITS.white + 1, (number, *SHAPE), dtype=np.uint8)
    return Images(pixels, rng.integers(0, 10, number))


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def count_runs(model):
    """How often the network was called, as a list that grows."""
    runs = []
    model.register_forward_pre_hook(lambda module, inputs: runs.append(module.training))
    return runs


def test_the_proof_writes_down_the_modules_that_ran():
    model = Network()
    assert find_structure(model, SHAPE).path == PATH
    assert path_on_noise(model.train(), SHAPE) == PATH
    assert model.training
    assert not model.one._forward_pre_hooks


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("run", "message"),
    [
        (more, r"layer 'spare' runs where 'head' is expected \(step 4 of 4\)"),
        (fewer, r"layer 'head' runs where 'two' is expected \(step 3 of 4\)"),
        (another, r"layer 'spare' runs where 'two' is expected"),
        (twice, r"layer 'norm' runs where 'two' is expected"),
        (swapped, r"layer 'norm' runs where 'head' is expected"),
    ],
)
def test_another_path_for_other_images_is_named_in_one_line(run, message, training):
    model = Network(run)
    assert find_structure(model, SHAPE).path == PATH
    watch(model.train(training), PATH)
    model(DARK)
    with pytest.raises(NetworkError, match=message) as caught:
        model(BRIGHT)
    assert str(caught.value).startswith("Network: which layers run depends on the image's values")
    assert str(caught.value).endswith("use another --model")
    assert "\n" not in str(caught.value)
    assert model.training == training
    model(DARK)


def test_a_pass_that_ends_early_is_named_too():
    def forward(images):
        return images.flatten(1) if images.mean() > 0.5 else Network.forward(model, images)

    model = Network().eval()
    model.forward = forward
    watch(model, PATH)
    model(DARK)
    with pytest.raises(NetworkError, match="the pass ends where 'one' is expected"):
        model(BRIGHT)


@pytest.mark.parametrize("training", [False, True])
def test_a_layer_that_does_not_belong_is_stopped_before_it_runs(training):
    model = Network(more).train(training)
    model.spare = nn.Conv2d(7, 7, 1)  # as in a network that was narrowed everywhere else
    watch(model, PATH)
    with pytest.raises(NetworkError, match="layer 'spare' runs where 'head' is expected"):
        model(BRIGHT)


def test_more_layers_in_training_mode_are_accepted_once_and_for_all():
    model = Network(auxiliary).train()
    runs = count_runs(model)
    watch(model, PATH)
    for _ in range(3):
        model(DARK)
    assert runs == [True, False, True, True]
    with pytest.raises(NetworkError, match="layer 'spare' runs where 'head' is expected"):
        model(BRIGHT)


def test_layers_that_are_dropped_at_random_in_training_mode_are_accepted():
    model = Network(dropped).train()
    watch(model, PATH)
    for _ in range(20):
        model(DARK)
        model(BRIGHT)
    model.eval()(BRIGHT)


def test_a_path_of_the_training_mode_is_none_of_the_evaluation():
    model = Network(lambda net, x, y: net.spare(y) if net.training else net.two(y))
    watch(model, PATH)
    model.train()(BRIGHT)
    model.run = lambda net, x, y: net.spare(y)
    with pytest.raises(NetworkError, match="'spare' runs where 'two'"):
        model.eval()(BRIGHT)


def test_asking_again_leaves_no_trace():
    model = Network(auxiliary).train()
    model.norm.eval()  # one frozen part stays frozen
    before, random = state_of(model), torch.get_rng_state()
    modes = [part.training for part in model.modules()]
    watch(model, PATH)
    model.drop.p = 0.0
    model(DARK)
    assert [part.training for part in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert same(state_of(model), before)


def test_watching_ends():
    model = Network(more).eval()
    with watching(model, PATH), pytest.raises(NetworkError):
        model(BRIGHT)
    model(BRIGHT)
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in model.modules())


def test_copies_are_watched_too():
    model = Network(more).eval()
    watch(model, PATH)
    with pytest.raises(NetworkError, match="layer 'spare' runs where 'head' is expected"):
        copy.deepcopy(model)(BRIGHT)


def test_threads_do_not_mix_their_passes():
    # DataParallel runs copies of the network, hooks included, in one thread each.
    first, meet = threading.local(), threading.Barrier(2, timeout=20)
    failures = []

    def run(net, x, y):
        if not hasattr(first, "done"):
            first.done = True
            meet.wait()
        return net.two(y)

    model = Network(run).eval()
    watch(model, PATH)

    def work():
        try:
            model(DARK)
        except Exception as error:  # noqa: BLE001 - what a thread raises is looked at below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_evaluation_is_watched():
    # Only the brighter of the two sets takes the branch.
    model = Network(more)
    watch(model, PATH)
    labels = np.zeros(4, dtype=np.int64)
    dark, bright = (Images(np.full((4, *SHAPE), v, dtype=np.uint8), labels) for v in (0, 16))
    evaluate(model, dark, DIGITS, CPU)
    with pytest.raises(NetworkError, match="use another --model"):
        evaluate(model, bright, DIGITS, CPU)


@pytest.mark.parametrize("run", [None, only_auxiliary, repeated])
def test_trained_weights_are_the_same_to_the_bit_with_and_without_watching(run):
    trained = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = Network(run)
        if watched:
            watch(model, find_structure(model, SHAPE).path)
        fit(model, images_of(), DIGITS, PLAN, seed=0, processor=CPU)
        trained.append(state_of(model))
    assert same(*trained)
