"""What cannot be compressed is rejected, or left as it is, with a reason."""

import pytest
import torch
from torch import nn

from workbench.compression.groups.forward_path import Additions
from workbench.compression.groups.proof import prove
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.structure import Cut
from workbench.compression.groups.tracing import find_structure
from workbench.errors import NetworkError

SHAPE = (3, 16, 16)


def chain(*layers):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Network(nn.Module):
    """Some layers and a forward function."""

    def __init__(self, run, **layers):
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images):
        return self.run(self, images)


def pooled(features):
    return features.mean(dim=(2, 3))


def test_a_grouped_convolution_keeps_as_many_filters_in_each_group():
    model = chain(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 2, 1))
    structure = find_structure(model, SHAPE)
    assert [(g.name, g.filters, g.blocks) for g in structure.groups] == [("0", 8, 4), ("1", 12, 4)]
    assert [structure.groups[0].buildable(count) for count in (1, 4, 5, 8)] == [4, 4, 8, 8]
    kept = {"0": [1, 2, 4, 7], "1": [0, 1, 2, 4, 5, 8, 10, 11]}
    with pytest.raises(NetworkError, match="must all keep the same number"):
        rebuild(model, kept, structure)
    kept["1"] = [0, 1, 3, 5, 7, 8, 10, 11]
    smaller = rebuild(model, kept, structure)
    assert smaller[1].weight.shape == (8, 1, 3, 3)
    assert torch.equal(smaller[1].weight[0, 0], model[1].weight[0, 1])
    assert torch.equal(smaller[1].weight[3, 0], model[1].weight[5, 0])


def test_channels_that_a_norm_averages_over_stay():
    model = chain(
        nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1)
    )
    structure = find_structure(model, SHAPE)
    assert [group.name for group in structure.groups] == ["2"]
    assert structure.uncompressed == {
        "0": "feeds '1' (GroupNorm), which averages over its channels"
    }
    with pytest.raises(NetworkError, match=r"layer '0' is not compressed: feeds '1'"):
        rebuild(model, {"0": [0]}, structure)


def test_what_the_graph_gets_wrong_fails_the_proof_and_stays():
    def forward(model, images):
        return pooled(model.head(model.plain(torch.roll(model.rolled(images), 1, dims=1))))

    model = Network(forward, rolled=nn.Conv2d(3, 8, 1), plain=nn.Conv2d(8, 8, 1),
                    head=nn.Conv2d(8, 2, 1))  # fmt: skip
    structure = find_structure(model, SHAPE)
    assert [group.name for group in structure.groups] == ["plain"]
    assert "changes the outputs" in structure.uncompressed["rolled"]


def test_the_proof_sees_a_wrong_index():
    model = chain(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1))
    structure = find_structure(model, SHAPE)
    (group,) = structure.groups
    for place, cut in enumerate(group.cuts):
        wrong = cut.pairs.copy()
        wrong[:, 1] = wrong[::-1, 1]
        cuts = list(group.cuts)
        cuts[place] = Cut(cut.layer, cut.side, wrong)
        object.__setattr__(group, "cuts", tuple(cuts))
        with pytest.raises(NetworkError, match="no filters can be removed exactly"):
            prove(model, structure, SHAPE)
        cuts[place] = cut
        object.__setattr__(group, "cuts", tuple(cuts))


def shared():
    layer = nn.Conv2d(3, 3, 1)
    return chain(layer, nn.ReLU(), layer, nn.Conv2d(3, 2, 1))


def tied():
    model = chain(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    model[2].weight = model[0].weight
    return nn.Sequential(nn.Conv2d(3, 4, 1), *model)


def fickle(model, images):
    features = model.one(images)
    if images.mean() > -0.5:
        features = model.two(features)
    return pooled(model.head(features))


def windows(model, images):
    folded = model.one(images).view(2, 4, 4, 4, 4, 4).permute(0, 2, 4, 1, 3, 5)
    return pooled(model.head(folded.reshape(32, 4, 4, 4)))


def layers(**more):
    return {"one": nn.Conv2d(3, 4, 1), "head": nn.Conv2d(4, 2, 1), **more}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "has no convolution and no linear layer"),
        (chain(nn.Conv2d(3, 2, 1)), "no layer with filters to remove besides its classifier"),
        (shared(), "layer '0' runs more than once"),
        (tied(), "layers '1' and '3' share their weights"),
        (Network(fickle, two=nn.Conv2d(4, 4, 1), **layers()), "depends on the image's values"),
        (chain(nn.Conv2d(3, 4, 3), nn.MaxPool2d(32), nn.Conv2d(4, 2, 1)),
         r"does not run on 3x16x16 images.*in '1'"),
        (Network(lambda m, x: m.head(m.one(x)), **layers()), r"must return one tensor of logits"),
        (Network(lambda m, x: {"logits": pooled(m.one(x))}, **layers()), "it returns .*dict"),
        (Network(windows, **layers()), "layer 'forward' folds the image into windows"),
        (Network(torch.no_grad()(lambda m, x: pooled(m.head(m.one(x)))), **layers()),
         "computes without gradients"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_compressed_is_rejected_in_one_line(model, message):
    with pytest.raises(NetworkError, match=message) as caught:
        find_structure(model, SHAPE)
    assert "\n" not in str(caught.value)


def test_the_network_is_left_as_it_was():
    model = chain(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 2, 1)).train()
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_structure(model, SHAPE)
    assert model.training
    assert not model[0].weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model[0]._forward_hooks


def test_additions_are_counted_in_order_of_execution():
    seen = []
    with Additions(lambda number, result: seen.append((number, result.item()))):
        total = torch.tensor(1.0) + torch.tensor(2.0)
        total += torch.tensor(3.0)
        total = total + 1  # a number is no branch
        torch.add(total, total)
    assert seen == [(0, 3.0), (1, 6.0), (2, 14.0)]
