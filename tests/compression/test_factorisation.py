"""Factorised layers: exact at full size, the discarded energy as error, and rebuilt from files."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import workbench
from workbench.compression.compress import compress
from workbench.compression.costs.budget_limits import Budget
from workbench.compression.costs.costs import count_costs
from workbench.compression.factorisation import algebra
from workbench.compression.factorisation.layers import (
    FactorisedLayer,
    bias_of,
    factorise,
    path_of,
    weight_of,
)
from workbench.compression.factorisation.output_moments import measure_output_moments
from workbench.compression.groups.tracing import find_structure
from workbench.compression.groups.watched_layers import watching
from workbench.compression.method_names import FACTORISATIONS as NAMES
from workbench.compression.methods import FACTORISATIONS
from workbench.compression.narrow_networks import build_narrow
from workbench.compression.recipe_choice import factor_recipe
from workbench.compression.recipe_choice.budgeted_recipe import Candidate
from workbench.compression.recipe_choice.factor_candidates import layer_structure
from workbench.compression.recipe_choice.factor_recipe import (
    FactorChoice,
    choose_factors,
    collect_facts,
)
from workbench.compression.recipes.recipes import Recipe
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.errors import NetworkError, SettingsError, WeightsError
from workbench.models.factors import Factor, factors_from, plain_factors
from workbench.models.networks import build_network
from workbench.models.weight_files import Card, card_from

CPU = torch.device("cpu")
COLOUR = SOURCES["cifar10"]
RNG = np.random.default_rng(0)


def convolution(**options):
    torch.manual_seed(3)
    return nn.Conv2d(6, 8, 3, **options).double()


LAYERS = {
    "plain": convolution(),
    "strided, dilated": convolution(stride=2, dilation=2, padding=2),
    "reflected border, no bias": convolution(padding=1, padding_mode="reflect", bias=False),
    "circular border": convolution(padding="same", padding_mode="circular"),
    "rectangular": nn.Conv2d(6, 8, (3, 1), padding=(1, 0)).double(),
    "linear": nn.Linear(6, 8).double(),
}


def inputs_of(layer):
    size = (40, 6) if isinstance(layer, nn.Linear) else (5, 6, 9, 9)
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def rows_of(layer, output):
    last = output if isinstance(layer, nn.Linear) else output.movedim(1, -1)
    return last.reshape(-1, last.shape[-1]).detach().numpy()


# --- laws of the weights ------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("rank", [1, 3, 6, 8])
def test_the_error_of_dalr_is_the_sum_of_the_discarded_eigenvalues(name, rank):
    layer = LAYERS[name]
    images = inputs_of(layer)
    with torch.no_grad():
        rows = rows_of(layer, layer(images))
        mean, covariance = rows.mean(axis=0), np.cov(rows.T)
        factor = Factor("0", "low-rank", rank, bias=True)
        two = factorise(
            nn.Sequential(layer),
            [factor],
            lambda f, it: algebra.from_responses(
                weight_of(it), bias_of(it), mean, covariance, f.size
            ),
        )
        ours = rows_of(layer, two(images))
    error = ((ours - rows) ** 2).sum() / (len(rows) - 1)  # the ddof of the covariance
    discarded = np.sort(np.linalg.eigvalsh(covariance))[: 8 - rank].sum()
    assert error == pytest.approx(discarded, abs=1e-10)
    if rank == 8:
        np.testing.assert_allclose(ours, rows, atol=1e-6)


def test_responses_of_rank_one_need_one_filter():
    layer = convolution()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(8, 1, 1, 1) * layer.weight[:1])
        rows = rows_of(layer, layer(inputs_of(layer)))
        covariance = np.cov(rows.T)
        choices = algebra.response_choices(weight_of(layer), covariance)
        assert choices.wanted == choices.at_energy(0.999) == 1
        two = factorise(
            nn.Sequential(layer),
            [Factor("0", "low-rank", 1, bias=True)],
            lambda f, it: algebra.from_responses(
                weight_of(it), bias_of(it), rows.mean(axis=0), covariance, 1
            ),
        )
        np.testing.assert_allclose(rows_of(layer, two(inputs_of(layer))), rows, atol=1e-9)


@pytest.mark.parametrize("rank", [1, 4, 7, 8])
def test_the_error_of_svd_is_the_sum_of_the_discarded_squares(rank):
    weight = RNG.standard_normal((8, 3, 3, 3))
    two = algebra.from_weights(weight, None, rank)
    product = np.einsum("nk,kcij->ncij", two.second, two.first)
    discarded = np.linalg.svd(weight.reshape(8, 27), compute_uv=False)[rank:] ** 2
    assert ((weight - product) ** 2).sum() == pytest.approx(discarded.sum(), abs=1e-10)
    kept = algebra.weight_choices(weight).energy_of(rank)
    assert kept == pytest.approx(1 - discarded.sum() / (weight**2).sum())


def naive_groups(weight, size):
    """Block by block, as the paper describes it: the nearest matrix of rank g for each block."""
    whole, lost = np.zeros_like(weight), 0.0
    for start in range(0, weight.shape[1], size):
        block = weight[:, start : start + size]
        left, values, right = np.linalg.svd(block.reshape(len(weight), -1), full_matrices=False)
        whole[:, start : start + size] = sum(
            (values[i] * np.outer(left[:, i], right[i])).reshape(block.shape)
            for i in range(min(size, len(values)))
        )
        lost += (values[size:] ** 2).sum()
    return whole, lost


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_fga_is_the_transcription_and_loses_the_discarded_squares(size):
    layer = convolution(padding=1)
    weight = weight_of(layer)
    nearest, lost = naive_groups(weight, size)
    assert ((weight - nearest) ** 2).sum() == pytest.approx(lost, abs=1e-10)
    factor = Factor("0", "grouped", size, bias=True)
    two = factorise(
        nn.Sequential(layer),
        [factor],
        lambda f, it: algebra.from_groups(weight_of(it), bias_of(it), f.size),
    )
    with torch.no_grad():
        ours = two(inputs_of(layer))
        layer.weight.copy_(torch.from_numpy(nearest))
        torch.testing.assert_close(ours, layer(inputs_of(layer)), atol=1e-9, rtol=0)
    assert two[0].first.groups == 6 // size
    choices = algebra.group_choices(weight)
    assert choices.sizes.tolist() == [1, 2, 3, 6]
    assert (np.diff(choices.energies) >= 0).all()
    if size != 3:  # 3 may keep less than 2: its share is the better one of the two
        assert choices.energy_of(size) == pytest.approx(1 - lost / (weight**2).sum())


def test_fga_is_exact_for_blocks_of_low_rank():
    blocks = [RNG.standard_normal((8, 2)) @ RNG.standard_normal((2, 18)) for _ in range(3)]
    weight = np.concatenate([block.reshape(8, 2, 3, 3) for block in blocks], axis=1)
    assert algebra.group_choices(weight).at_energy(1.0) == 2
    two = algebra.from_groups(weight, None, 2)
    product = [
        two.second[:, i : i + 2] @ two.first[i : i + 2].reshape(2, -1) for i in range(0, 6, 2)
    ]
    for block, ours in zip(blocks, product, strict=True):
        np.testing.assert_allclose(ours, block, atol=1e-10)


def test_fga_has_no_size_for_a_share_that_its_blocks_cannot_keep():
    weight = RNG.standard_normal((8, 2, 3, 3))
    _, lost = naive_groups(weight, 2)
    most = 1 - lost / (weight**2).sum()
    assert most < 0.9
    choices = algebra.group_choices(weight)
    assert choices.at_energy(most - 1e-9) == 2
    assert choices.at_energy(most + 1e-9) is None


def test_a_layer_without_weights_or_outputs_has_a_size():
    nothing = np.zeros((4, 2, 3, 3))
    for choices in (
        algebra.weight_choices(nothing),
        algebra.group_choices(nothing),
        algebra.response_choices(nothing, np.zeros((4, 4))),
    ):
        assert choices.at_energy(0.95) == 1
        assert not choices.spectrum.any()
    assert algebra.response_choices(nothing, np.zeros((4, 4))).wanted == 1
    two = algebra.from_groups(nothing, None, 2)
    assert not two.first.any()
    assert not two.second.any()


@pytest.mark.parametrize("make", [algebra.weight_choices, algebra.group_choices])
@pytest.mark.parametrize("channels", [12, 6])
def test_more_energy_never_needs_less(make, channels):
    choices = make(RNG.standard_normal((8, channels, 3, 3)))
    found = [choices.at_energy(energy) for energy in np.linspace(0.01, 1, 60)]
    sizes = [math.inf if size is None else size for size in found]
    assert sizes == sorted(sizes)
    lossy = make is algebra.group_choices and channels < 8
    assert sizes[-1] == (math.inf if lossy else choices.sizes[-1])


# --- networks -----------------------------------------------------------------------------------


class Odd(nn.Module):
    """Layers that must stay, each for another reason."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.read = nn.Conv2d(8, 8, 1)
        self.asked = nn.Conv2d(8, 8, 1)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1))
        self.body = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.hidden = nn.Linear(12, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, images):
        x = torch.relu(self.normed(self.deep(torch.relu(self.stem(images)))))
        x = self.read(x) * self.read.weight.mean()  # its weights are read, too
        x = self.asked(x) * (2 if isinstance(self.asked, nn.Conv2d) else 3)
        x = torch.relu(self.norm(self.body(x))).mean((2, 3))
        return self.head(torch.relu(self.hidden(x)))


@pytest.fixture(scope="module")
def odd():
    torch.manual_seed(0)
    model = Odd().eval()
    return model, find_structure(model, (3, 12, 12))


def test_layers_that_cannot_be_replaced_say_why(odd):
    found = layer_structure(*odd, (3, 12, 12), "low-rank")
    assert [group.name for group in found.groups] == ["stem", "body", "hidden"]
    assert {name: why.split(" (")[0] for name, why in found.uncompressed.items()} == {
        "deep": "it is a grouped convolution already",
        "normed": "it computes its weights",
        "head": "it is the classifier",
        "read": "the network does not run with two layers in its place",
        "asked": "two layers in its place change the outputs",
    }
    grouped = layer_structure(*odd, (3, 12, 12), "grouped")
    assert [group.name for group in grouped.groups] == ["stem", "body"]
    assert "no groups of channels" in grouped.uncompressed["hidden"]


def test_residual_layers_are_replaced_one_by_one():
    model = build_network("resnet56", (3, 32, 32), 4)
    structure = find_structure(model, (3, 32, 32))
    found = layer_structure(model, structure, (3, 32, 32), "low-rank")
    assert len(found.groups) == len(structure.layers) - 1  # all but the classifier
    assert len(found.groups) > len(structure.groups)


def images_of(count=30, size=12):
    pixels = np.random.default_rng(2).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    return Images(pixels, np.zeros(count, dtype=np.int64))


@pytest.fixture(scope="module")
def measured(odd):
    model, structure = odd
    layers = layer_structure(model, structure, (3, 12, 12), "low-rank")
    return layers, measure_output_moments(model, layers.groups, images_of(), COLOUR, CPU)


def test_outputs_are_measured_at_all_positions(odd, measured, monkeypatch):
    model, _ = odd
    layers, moments = measured
    images = normalise(torch.from_numpy(images_of().pixels), COLOUR)
    with torch.no_grad():
        rows = rows_of(model.stem, model.stem(images)).astype(np.float64)
    assert moments["stem"].count == 30 * 12 * 12
    assert moments["hidden"].count == 30
    np.testing.assert_allclose(moments["stem"].covariance, np.cov(rows.T), rtol=1e-5, atol=1e-7)
    monkeypatch.setattr("workbench.compression.factorisation.output_moments._MOST_VALUES", 1000)
    parts = measure_output_moments(model, layers.groups, images_of(), COLOUR, CPU)
    np.testing.assert_allclose(parts["stem"].covariance, moments["stem"].covariance, rtol=1e-10)


def choice_of(name, odd, measured, fixed=()):
    model, structure = odd
    method = FACTORISATIONS[name]
    layers = layer_structure(model, structure, (3, 12, 12), method.kind)
    moments = measured[1] if method.reads_outputs else {}
    facts = collect_facts(model, layers, method, moments, (3, 12, 12))
    return FactorChoice(name, method, facts, layers, dict(fixed), 30)


def network_of(recipe, model, moments):
    method = FACTORISATIONS[recipe.method]
    return factorise(
        model,
        recipe.factors,
        lambda f, it: method.weights(weight_of(it), bias_of(it), f.size, moments.get(f.layer)),
    )


@pytest.mark.parametrize("name", NAMES)
def test_predicted_costs_are_those_of_the_network(name, odd, measured):
    model, structure = odd
    choice, full = choice_of(name, odd, measured), count_costs(model, (3, 12, 12))
    candidate = Candidate(model, structure, (3, 12, 12), CPU, full)
    thresholds = choice.thresholds()
    costs = [choice.costs(full, float(each)) for each in thresholds]
    for option in ("parameters", "flops"):
        values = [getattr(each, option) for each in costs]
        assert values == sorted(values)
        assert values[-1] <= getattr(full, option)
    for option, key in (("footprint", "parameters"), ("flops", "flops")):
        share = (getattr(costs[0], key) / getattr(full, key) + 1) / 2
        recipe = choose_factors(choice, candidate, None, Budget(option, share))
        small = network_of(recipe, model, measured[1])
        found = count_costs(small, (3, 12, 12))
        assert found == choice.costs(full, recipe.threshold)
        assert getattr(found, key) <= share * getattr(full, key)
        assert all(
            sum(p.numel() for p in small.get_submodule(each.layer).parameters())
            < sum(p.numel() for p in model.get_submodule(each.layer).parameters())
            for each in recipe.factors
        )
        with watching(small, path_of(small, structure.path)):
            small(torch.randn(2, 3, 12, 12))
    with pytest.raises(SettingsError, match=rf"{name} makes no network that small; the smallest"):
        choose_factors(choice, candidate, None, Budget("flops", 1e-6))


def test_ranks_are_those_of_pfa_on_the_spectrum_of_the_outputs(odd, measured):
    stem = measured[1]["stem"].covariance
    spectrum = np.sort(np.linalg.eigvalsh(stem))[::-1] / np.trace(stem)
    wanted = np.ceil(-(spectrum * np.log(spectrum)).sum() / np.log(8) * 8)
    choice = choice_of("dalr", odd, measured)
    facts = {layer.name: layer for layer in choice.facts}
    assert choice.method.size(facts["stem"].choices, None) == wanted
    rank = FACTORISATIONS["dalr-en"].size(facts["stem"].choices, 0.9)
    assert spectrum[:rank].sum() >= 0.9 > spectrum[: rank - 1].sum()


def test_layers_for_which_it_does_not_pay_stay_with_the_reason(odd, measured):
    recipe = choice_of("svd", odd, measured).recipe(1.0)
    assert recipe.factors == ()
    assert recipe.uncompressed["body"] == factor_recipe.DOES_NOT_PAY
    assert recipe.widths == ()
    assert recipe.kept == {}
    assert "factors" not in json.loads(recipe.to_json())
    everything = choice_of("fga", odd, measured).recipe(1.0)  # more filters than channels
    assert everything.factors == ()
    assert everything.uncompressed["body"] == factor_recipe.TOO_MUCH_LOST
    low = choice_of("svd", odd, measured).recipe(0.2)
    assert set(low.sizes) == {"stem", "body", "hidden"}
    assert Recipe.from_json(low.to_json(), low.spectra_json()) == low


def test_a_recipe_is_applied_in_memory_unless_it_needs_images(odd, measured):
    model, _ = odd
    recipe = choice_of("fga", odd, measured).recipe(0.3)
    images = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        wanted = network_of(recipe, model, {})(images)
        assert torch.equal(compress(model, recipe, (3, 12, 12))(images), wanted)
    with pytest.raises(NetworkError, match="depend on the target's images"):
        compress(model, choice_of("dalr", odd, measured).recipe(0.2), (3, 12, 12))


# --- files --------------------------------------------------------------------------------------

FACTORS = (
    Factor("features.0", "low-rank", 2, bias=True),
    Factor("features.3", "grouped", 4, bias=False),
)


def test_a_factorised_network_is_built_again_from_its_file_alone(tmp_path):
    network = build_narrow("simplecnn", (1, 8, 8), 2, (), factors=FACTORS, seed=4).eval()
    again = build_narrow("simplecnn", (1, 8, 8), 2, (), factors=FACTORS, seed=4).eval()
    assert isinstance(network.features[0], FactorisedLayer)
    path, image = tmp_path / "net.safetensors", torch.randn(2, 1, 8, 8)
    card = Card.of("simplecnn", SOURCES["digits"], ("3", "8"), factors=FACTORS)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, path, card.metadata())
    with torch.no_grad():
        assert torch.equal(workbench.load_network(path)(image), network(image))
        assert torch.equal(again(image), network(image))  # all weights follow the seed
    plain = Card.of("simplecnn", SOURCES["digits"], ("3", "8"))
    assert "factors" not in json.loads(plain.text())
    assert card_from(path, plain.text()) == plain


BAD = {
    "not a list": ("no", "factors is 'no', not a list"),
    "kind": ([{"layer": "a", "kind": "tucker"}], "its kind of factor is not one of low-rank"),
    "rank": ([{"layer": "a", "kind": "low-rank", "rank": 10**9, "bias": True}], "a: rank is 1000"),
    "zero": ([{"layer": "a", "kind": "grouped", "group_size": 0, "bias": True}], "a: group size"),
    "bias": ([{"layer": "a", "kind": "low-rank", "rank": 1, "bias": 1}], "is not true or false"),
    "twice": (
        [{"layer": "a", "kind": "low-rank", "rank": 1, "bias": True}] * 2, "name a layer twice"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_factors_of_a_file_are_checked(name, tmp_path):
    content, line = BAD[name]
    with pytest.raises(ValueError, match=line):
        factors_from(content)
    card = json.loads(Card.of("simplecnn", SOURCES["digits"], ("3", "8")).text())
    with pytest.raises(WeightsError, match=line) as caught:
        card_from(tmp_path / "a.safetensors", json.dumps({**card, "factors": content}))
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("factor", "line"),
    [
        (Factor("features.9", "low-rank", 2), "cannot be factorised"),
        (Factor("nowhere", "low-rank", 2), "no layer 'nowhere'"),
        (Factor("features.0", "low-rank", 99_999), "a rank of 99999 is too large"),
        (Factor("features.3", "grouped", 7), "groups of 7 do not divide"),
    ],
)
def test_factors_that_do_not_fit_are_rejected_before_anything_is_built(factor, line):
    with pytest.raises(NetworkError, match=line):
        build_narrow("simplecnn", (1, 8, 8), 2, (), factors=(factor,))


def test_factors_are_plain_data():
    assert factors_from(json.loads(json.dumps(plain_factors(FACTORS)))) == FACTORS
    assert plain_factors(FACTORS)[1] == {
        "layer": "features.3", "kind": "grouped", "group_size": 4, "bias": False,
    }  # fmt: skip
    with pytest.raises(ValueError, match="is not a factor"):
        Factor("a", "low-rank", 0)


def test_every_factorisation_is_in_both_tables():
    assert tuple(FACTORISATIONS) == NAMES
