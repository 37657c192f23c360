"""Budgets: the largest network within, by exhaustive search and through the command line."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from workbench.compression.costs.budgets import confirmed, largest_within
from workbench.compression.costs.costs import count_costs
from workbench.compression.costs.sizes import sizes_of
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.tracing import find_structure
from workbench.models.networks import build_network
from workbench.pfa import energy_keep_count, energy_thresholds

ANALYZE = ["analyze", "--source", "digits", "--target", "digits-3v8", "--source-epochs", 1]


def spectra(seed):
    rng = np.random.default_rng(seed)
    return [np.sort(rng.dirichlet(np.full(n, 0.3)))[::-1] for n in (1, 3, 8, 13)]


def size(layers, energy):
    """A cost like a chain's: products of neighbouring widths."""
    widths = [3, *(energy_keep_count(spectrum, energy) for spectrum in layers), 2]
    return sum(a * b for a, b in pairwise(widths))


@pytest.mark.parametrize("seed", range(8))
def test_the_search_finds_what_trying_everything_finds(seed):
    layers = spectra(seed)
    candidates = energy_thresholds(layers)
    every = sorted({size(layers, energy) for energy in np.linspace(1e-6, 1, 20_001)})
    reached = {size(layers, energy) for energy in candidates}
    assert set(every) <= reached
    for limit in (every[0], *np.linspace(every[0], every[-1], 25), every[-1] + 5):
        best = largest_within(candidates, lambda energy: size(layers, energy), limit)
        assert size(layers, best) == max(cost for cost in reached if cost <= limit)
    assert largest_within(candidates, lambda energy: size(layers, energy), every[0] - 1) is None


def test_thresholds_are_where_counts_change():
    layers = spectra(3)
    candidates = energy_thresholds(layers)
    counts = [tuple(energy_keep_count(s, energy) for s in layers) for energy in candidates]
    assert len(set(counts)) == len(counts)
    for (low, high), count in zip(pairwise(candidates), counts[1:], strict=True):
        if high - low > 1e-9:
            between = (low + high) / 2
            assert tuple(energy_keep_count(s, between) for s in layers) == count


def test_a_measured_cost_is_measured_again_before_it_is_believed():
    candidates = np.linspace(0.1, 1, 10)
    asked = []

    def cost(energy):
        asked.append(energy)
        return 10 * energy

    assert confirmed(candidates, 0.8, cost, 5.5) == pytest.approx(0.5)
    assert len(asked) == 3  # 0.8, 0.7, 0.5: the steps grow
    assert confirmed(candidates, 0.8, cost, 0.5) is None


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("simplecnn", (1, 8, 8)), ("vgg16", (3, 64, 64)), ("resnet56", (3, 16, 16)),
        ("torchvision:mobilenet_v3_large", (3, 32, 32)),
        ("torchvision:resnext50_32x4d", (3, 32, 32)),
        ("timm:deit_tiny_patch16_224", (3, 32, 32)),
        ("timm:convnextv2_atto", (3, 32, 32)),
        pytest.param("torchvision:densenet121", (3, 32, 32), marks=pytest.mark.slow),
        pytest.param("torchvision:convnext_tiny", (3, 32, 32), marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_sizes_are_those_of_the_network_that_is_built(name, shape):
    model = build_network(name, shape, 4)
    structure = find_structure(model, shape)
    costs = sizes_of(model, structure, shape)
    rng = np.random.default_rng(1)
    for _ in range(2):
        widths = {
            group.name: group.buildable(int(rng.integers(1, group.filters + 1)))
            for group in structure.groups
        }
        kept = structure.first(list(widths.values()))
        assert costs(widths) == count_costs(rebuild(model, kept, structure), shape)
    assert costs({}) == count_costs(model, shape)


@pytest.fixture
def weights(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = tmp_path / "source.safetensors"
    save_file(build_network("simplecnn", (1, 8, 8), 10, seed=1).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("budget", "key", "limit"),
    [
        (["--footprint", 0.25], "footprint", 0.25),
        (["--flops", 0.3], "flops_ratio", 0.3),
        (["--params", "200k"], "parameters", 200_000),
        (["--footprint", 0.25, "--multiple-of", 8], "footprint", 0.25),
        (["--footprint", 1], "footprint", 1),
    ],
)
def test_the_network_is_the_largest_within_its_budget(run_cli, weights, budget, key, limit):
    command = [*ANALYZE[:5], "--weights", weights, "--method", "pfa-en", "--json"]
    status, out, err = run_cli(*command, *budget)
    assert status == 0, err
    result = json.loads(out)
    assert 0.9 * limit <= result[key] <= limit
    energy = float(err.split("pfa-en at an energy of ")[1].split()[0])
    if "--multiple-of" in budget:
        assert all(row["kept"] % 8 == 0 for row in result["recipe"])
        assert "--multiple-of 8: +" in err
    elif energy < 1:
        more = json.loads(run_cli(*command, "--energy", energy + 1e-4)[1])
        assert more[key] > limit or more[key] == result[key]
    assert run_cli(*command, *budget)[1] == out


def test_a_latency_is_a_budget(run_cli, weights):
    command = [*ANALYZE[:5], "--weights", weights, "--method", "pfa-en", "--json"]
    full = json.loads(run_cli(*command, "--energy", 1)[1])["full"]["latency_ms"]
    status, _, err = run_cli(*command, "--latency-ms", full)
    assert status == 0, err
    assert "--latency-ms" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--footprint", 0], "--footprint 0 is not within (0, 1]; try 0.25"),
        (["--footprint", 1.01], "--footprint 1.01 is not within (0, 1]"),
        (["--flops", "nan"], "--flops nan is not within (0, 1]"),
        (["--params", 0], "--params 0 is not a positive number"),
        (["--params", "many"], "--params many: is not a number of parameters"),
        (["--latency-ms", -1], "--latency-ms -1 is not a positive number"),
        (["--footprint", 0.2, "--flops", 0.2], "--footprint and --flops exclude each other"),
        (["--footprint", 0.2, "--energy", 0.9], "--footprint and --energy exclude each other"),
        (["--multiple-of", 0], "--multiple-of 0 is not within 1 to 1024"),
        (["--divergence", "chi2"], "--divergence is an option of --method pfa-kl"),
        (["--map", "cubic"], "--map: unknown value 'cubic'"),
    ],
)
def test_wrong_budgets_are_told(run_cli, tmp_path, options, message):
    before = list(tmp_path.iterdir())
    status, out, err = run_cli(*ANALYZE, "--method", "pfa-en", *options)
    assert (status, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == before


@pytest.mark.parametrize("budget", [["--footprint", 1e-6], ["--params", 5]])
def test_an_impossible_budget_names_the_smallest_network(run_cli, weights, budget):
    command = [*ANALYZE[:5], "--weights", weights, "--method", "pfa-en"]
    status, out, err = run_cli(*command, *budget)
    assert (status, out) == (2, "")
    assert "no network is that small; the smallest possible one has" in err
    assert len([line for line in err.splitlines() if line.startswith("workbench: ")]) == 1


def test_other_divergences_and_maps_give_other_recipes(run_cli, weights):
    command = [*ANALYZE[:5], "--weights", weights, "--json"]
    widths = {}
    for options in ([], ["--divergence", "wasserstein"], ["--map", "square"]):
        rows = json.loads(run_cli(*command, *options)[1])["recipe"]
        widths[tuple(options)] = [row["kept"] for row in rows]
    assert len({tuple(kept) for kept in widths.values()}) == 3
    assert all(a <= b for a, b in zip(widths["--map", "square"], widths[()], strict=True))
