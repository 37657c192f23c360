"""Cost of a budget: seconds to find the largest network within it, once the analysis is done.

    python benchmarks/budgets.py [--model vgg16] [--rounds 5]

Prints the median time of the search for a footprint budget and for a FLOPs budget (goal: under
2 s for vgg16). For comparison, it also prints the time to build one candidate network and count
its costs, which the search avoids.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from workbench.compression.costs.costs import count_costs
from workbench.compression.evidence.evidence import collect
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.narrow_networks import structure_of
from workbench.compression.recipe_choice.budgeted_recipe import Candidate, choose
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.compression.recipes.recipe_settings import Budget
from workbench.models.networks import build_network
from workbench.models.processor import machine_name
from workbench.pfa import StreamingCovariance

SHAPE = (3, 32, 32)


def responses_of(structure, rng):
    """Random responses to 2,000 images, weaker from filter to filter."""
    found = {}
    for group in structure.groups:
        matrix = rng.normal(size=(2000, group.filters)) * np.geomspace(1, 0.01, group.filters)
        found[group.name] = StreamingCovariance(group.filters)
        found[group.name].update(matrix)
    return found


def seconds(run, rounds):
    """Median time of ``rounds`` runs."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = build_network(options.model, SHAPE, 10)
    structure = structure_of(options.model, SHAPE, 10)
    full = count_costs(model, SHAPE)
    evidence = collect(model, responses_of(structure, np.random.default_rng(0)), structure)
    candidate = Candidate(model, structure, SHAPE, torch.device("cpu"), full)
    pfa_en = RecipeOptions(recipe="pfa-en")
    print(
        f"{machine_name('cpu')}, torch {torch.__version__}, {options.model}, n = {options.rounds}"
    )
    for name, limit in (("footprint", 0.25), ("flops", 0.3)):
        spent = seconds(
            lambda name=name, limit=limit: choose(candidate, evidence, pfa_en, Budget(name, limit)),
            options.rounds,
        )
        print(f"--{name} {limit}: {spent:.2f} s, including filter selection")
    kept = choose(candidate, evidence, pfa_en, Budget("footprint", 0.25)).kept
    spent = seconds(lambda: count_costs(rebuild(model, kept, structure), SHAPE), options.rounds)
    print(f"building one network and counting its costs: {spent:.2f} s")


if __name__ == "__main__":
    main()
