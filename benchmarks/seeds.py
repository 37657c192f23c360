"""Speed of training seeds together, compared with the same seeds trained one by one.

    python benchmarks/seeds.py [--model vgg16] [--images 1000] [--seeds 5] [--rounds 3]
                               [--paired-seeds 10]

Prints optimiser steps per second, summed over the seeds, for both ways and their ratio, for an
epoch on a set as small as a domain of two classes. Both ways run in turns in one process. Training
together could be faster on a GPU, where kernel launches limit the speed; on a CPU arithmetic does,
and it is not faster.

The benchmark then compares the accuracies of both ways on scikit-learn's digits in a paired test:
they should differ by no more than chance.
"""

import argparse
import statistics

import numpy as np
import torch
from scipy.stats import ttest_rel
from timing import ratio_line, take_turns

from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images, load_images
from workbench.models.networks import NETWORKS, build_network
from workbench.models.processor import machine_name, resolve_processor
from workbench.training.evaluation import evaluate
from workbench.training.loop import fit
from workbench.training.plans import batch_sizes, training_plan
from workbench.training.stacked_seeds import Learner, fit_together


def paired_line(seeds, processor):
    """Train the same seeds both ways; report the accuracies and a paired test of them."""
    source = SOURCES["digits"]
    train, test = (load_images("digits", split, None) for split in ("train", "test"))
    plan = training_plan("simplecnn", source, "one-cycle", epochs=2, lr=0.05, batch_size=64)
    learners = [Learner(build_network("simplecnn", source.shape, 10, seed=s), s) for s in seeds]
    fit_together(learners, train, source, plan, processor=processor)
    accuracies = {"together": [], "one by one": []}
    for learner in learners:
        alone = build_network("simplecnn", source.shape, 10, seed=learner.seed)
        fit(alone, train, source, plan, seed=learner.seed, processor=processor)
        for way, network in (("together", learner.network), ("one by one", alone)):
            hits = evaluate(network, test, source, processor).hits
            accuracies[way].append(100 * hits / len(test))
    means = ", ".join(f"{way} {statistics.mean(seen):.2f} %" for way, seen in accuracies.items())
    differences = [a - b for a, b in zip(*accuracies.values(), strict=True)]
    if len(set(differences)) == 1:
        return f"digits, {len(seeds)} seeds: {means}; each differs by {differences[0]:+.2f} points"
    p = ttest_rel(*accuracies.values()).pvalue
    return (f"digits, {len(seeds)} seeds: {means}; mean difference "
            f"{statistics.mean(differences):+.2f} points, paired t-test p = {p:.2f}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vgg16", choices=[*NETWORKS])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--paired-seeds", type=int, default=10)
    options = parser.parse_args()

    source = SOURCES["cifar100"]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (options.images, *source.shape), dtype=np.uint8)
    images = Images(pixels, rng.integers(0, 2, options.images))
    processor = resolve_processor("auto", "auto")
    plan = training_plan(options.model, source, "one-cycle", epochs=1, lr=0.01,
                         batch_size=options.batch_size)  # fmt: skip

    def networks():
        return [build_network(options.model, source.shape, 2, seed=s) for s in range(options.seeds)]

    def one_by_one():
        for seed, network in enumerate(networks()):
            fit(network, images, source, plan, seed=seed, processor=processor)

    def together():
        learners = [Learner(network, seed) for seed, network in enumerate(networks())]
        fit_together(learners, images, source, plan, processor=processor)

    times = take_turns({"together": together, "one by one": one_by_one}, options.rounds)
    steps = options.seeds * len(batch_sizes(options.images, options.batch_size))
    print(f"{machine_name(processor.device)}, torch {torch.__version__}, {processor.precision}, "
          f"{options.model}, {options.images} images, {options.seeds} seeds, "
          f"n = {options.rounds}")  # fmt: skip
    for name, seen in times.items():
        print(f"{name}: {steps / statistics.median(seen):.2f} steps/s")
    print(ratio_line(times["one by one"], times["together"]))
    print(paired_line(range(options.paired_seeds), processor))


if __name__ == "__main__":
    main()
