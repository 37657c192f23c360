"""Filters that can only be removed together are one filter of their group."""

import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.evidence.evidence import filter_weights
from workbench.compression.evidence.responses import measure_responses
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.tracing import find_structure
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.errors import NetworkError

SHAPE = (1, 8, 8)


class Ghost(nn.Module):
    """A stream of 8 filters, to which 4 filters and 4 copies of them are added."""

    def __init__(self, last=8):
        super().__init__()
        self.last = last
        self.stem = nn.Conv2d(1, last, 3, padding=1)
        self.plain = nn.Conv2d(last, 4, 1)
        self.cheap = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.head = nn.Conv2d(last, 10, 1)

    def forward(self, images):
        stream = self.stem(images)
        few = torch.relu(self.plain(stream))
        both = torch.cat([few, torch.relu(self.cheap(few))], dim=1)[:, : self.last]
        return self.head(torch.relu(stream + both)).mean(dim=(2, 3))


def ghost(last=8):
    torch.manual_seed(0)
    return Ghost(last).eval()


def test_a_filter_and_its_cheap_copy_are_one():
    model = ghost()
    (group,) = find_structure(model, SHAPE).groups
    assert (group.name, group.filters, group.kind) == ("stem", 4, "sets")
    assert group.layers == ("stem", "plain", "cheap")
    removed = {(c.layer, c.side): c.indices(np.array([1, 3])).tolist() for c in group.cuts}
    assert removed == {
        ("stem", "filters"): [1, 3, 5, 7], ("plain", "filters"): [1, 3],
        ("cheap", "filters"): [1, 3], ("plain", "inputs"): [1, 3, 5, 7],
        ("head", "inputs"): [1, 3, 5, 7],
    }  # fmt: skip
    smaller = rebuild(model, {"stem": [0, 2]}, find_structure(model, SHAPE))
    assert [len(smaller.get_submodule(name).weight) for name in group.layers] == [4, 2, 2]
    for layer, gone in (("stem", [1, 3, 5, 7]), ("plain", [1, 3]), ("cheap", [1, 3])):
        part = model.get_submodule(layer)
        part.weight.data[gone], part.bias.data[gone] = 0, 0
    images = torch.randn(3, *SHAPE)
    assert torch.allclose(smaller(images), model(images), rtol=0, atol=1e-6)


def test_sets_of_different_sizes_stay():
    with pytest.raises(NetworkError, match="no filters can be removed exactly"):
        find_structure(ghost(last=7), SHAPE)


def test_the_response_of_a_set_is_the_length_of_its_channels():
    model = ghost()
    structure = find_structure(model, SHAPE)
    pixels = np.random.default_rng(0).integers(0, 17, (6, 1, 8, 8), dtype=np.uint8)
    images = Images(pixels, np.zeros(6, dtype=np.int64))
    source = SOURCES["digits"]
    found = measure_responses(model, structure.groups, images, source, torch.device("cpu"))
    seen = []
    relu, torch.relu = torch.relu, lambda x: (seen.append(x), relu(x))[1]
    try:
        measure_responses(model, structure.groups, images, source, torch.device("cpu"))
    finally:
        torch.relu = relu
    stream = seen[-1].detach().numpy()  # the input of the last ReLU: stream + both
    naive = np.sqrt(stream[:, :4] ** 2 + stream[:, 4:] ** 2).max(axis=(2, 3))
    np.testing.assert_allclose(found["stem"].mean, naive.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found["stem"].covariance, np.cov(naive.T), rtol=1e-3, atol=1e-6)


def test_the_weights_of_a_set_are_those_of_all_its_filters():
    model = ghost()
    (group,) = find_structure(model, SHAPE).groups
    weights = filter_weights(model, group)
    parts = [
        model.stem.weight.detach().reshape(2, 4, 9).permute(1, 0, 2).reshape(4, -1),
        model.plain.weight.detach().reshape(4, -1),
        model.cheap.weight.detach().reshape(4, -1),
    ]
    wanted = np.concatenate([part.numpy() for part in parts], axis=1)
    np.testing.assert_array_equal(np.sort(weights, axis=1), np.sort(wanted, axis=1))
