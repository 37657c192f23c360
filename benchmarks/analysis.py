"""Cost of the analysis: time relative to inference alone, selection time, and memory.

    python benchmarks/analysis.py [--images 2000] [--rounds 3]

Prints three results:

- the time of the analysis pass (responses of all layers, pooled, with covariances) divided by the
  time of fp32 inference alone on the same images, interleaved in one process (goal: at most 1.25
  for vgg16);
- the time to select 1,024 of 4,096 filters (goal: under 1 s);
- the growth of peak memory from ``--images`` to four times as many images (goal: none).
"""

import argparse
import resource
import statistics
import time

import numpy as np
import torch
from timing import ratio_line, take_turns

from workbench.compression.evidence.responses import BATCH_SIZE, measure_responses
from workbench.compression.narrow_networks import structure_of
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.models.networks import build_network, place
from workbench.models.processor import machine_name
from workbench.pfa import select_filters

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bare_inference(model, images, source):
    """Run the images through the network and do nothing else."""
    place(model, DEVICE).eval()
    with torch.inference_mode():
        for start in range(0, len(images), BATCH_SIZE):
            pixels = torch.from_numpy(images.pixels[start : start + BATCH_SIZE]).to(DEVICE)
            model(normalise(pixels, source))
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def peak_megabytes():
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    source = SOURCES["cifar100"]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4 * options.images, *source.shape), dtype=np.uint8)
    labels = np.zeros(len(pixels), dtype=np.int64)
    images = Images(pixels[: options.images], labels[: options.images])
    model = build_network("vgg16", source.shape, 100)
    groups = structure_of("vgg16", source.shape, 100).groups

    def passing():
        measure_responses(model, groups, images, source, DEVICE)

    def bare():
        bare_inference(model, images, source)

    times = take_turns({"analysis": passing, "inference": bare}, options.rounds)
    print(f"{machine_name(DEVICE.type)}, torch {torch.__version__}, vgg16, "
          f"{options.images} images, n = {options.rounds}")  # fmt: skip
    for name, seen in times.items():
        print(f"{name}: median {statistics.median(seen):.2f} s")
    print(ratio_line(times["analysis"], times["inference"]))

    before = peak_megabytes()
    measure_responses(model, groups, Images(pixels, labels), source, DEVICE)
    print(f"peak memory: {before:.0f} MB, after {len(pixels)} images {peak_megabytes():.0f} MB")

    rho = np.corrcoef(rng.normal(size=(4096, 8192)))
    start = time.perf_counter()
    select_filters(rho, 1024)
    print(f"selection of 1,024 of 4,096 filters: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
