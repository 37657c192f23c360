"""Speed of a streamed folder compared with torchvision's ImageFolder and DataLoader.

    python benchmarks/images.py [--images 600] [--size 224] [--rounds 5] [--workers 2]

Prints images per second for one training epoch (random resized crops and flips, normalised, ready
for the network) and for one evaluation pass, for both pipelines, and their ratio (goal: 0.95 or
more). The pipelines run in turns with the same files, workers and batch size. The files are JPEGs
of 500 x 500 pixels, which the benchmark writes to a temporary folder. No network is run.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.decoding import Form
from workbench.data.image_batches import batches, open_feed
from workbench.data.streamed_images import Stream, available_cores
from workbench.models.processor import machine_name

BATCH = 64
CPU = torch.device("cpu")


def write_photos(folder, images):
    """Write JPEGs with as much detail as a photo, about 60 kB each."""
    rng = np.random.default_rng(0)
    for number in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8))
        grain = rng.integers(-12, 13, (500, 500, 3))
        pixels = np.clip(np.asarray(coarse.resize((500, 500))) + grain, 0, 255).astype(np.uint8)
        path = folder / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, quality=85)


def plain_loader(folder, source, workers, train):
    size = source.shape[1]
    cut = (
        [v2.RandomResizedCrop(size, scale=(0.25, 1)), v2.RandomHorizontalFlip()]
        if train
        else [v2.Resize(size), v2.CenterCrop(size)]
    )
    steps = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    transform = v2.Compose([*cut, *steps, v2.Normalize(source.mean, source.std)])
    files = ImageFolder(folder, transform)
    return DataLoader(files, batch_size=BATCH, shuffle=train, num_workers=workers)


def rate(images, run):
    start = time.perf_counter()
    seen = sum(len(labels) for _, labels in run())
    assert seen == images
    return images / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=available_cores())
    options = parser.parse_args()
    count, size = options.images, options.size
    source = replace(SOURCES["cifar100"], shape=(3, size, size))
    print(
        f"{machine_name('cpu')}, torch {torch.__version__}, {count} JPEGs of 500x500 to "
        f"{size}x{size}, {options.workers} workers, batch {BATCH}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder, count)
        files = tuple(sorted(folder.rglob("*.jpg")))
        labels = np.array([int(path.parent.name[-1]) for path in files])
        stream = Stream(files, labels, Form(3, size), "", options.workers)
        feed = open_feed(stream, source, CPU)
        sizes = [len(part) for part in np.array_split(files, -(-count // BATCH))]

        def train():
            for pixels, wanted in feed(sizes, True, torch.Generator().manual_seed(0)):
                yield normalise(pixels, source), wanted

        def evaluate():
            for pixels, wanted in batches(stream, BATCH, CPU):
                yield normalise(pixels, source), wanted

        for title, ours, training in (("training", train, True), ("evaluation", evaluate, False)):
            plain = plain_loader(folder, source, options.workers, training)
            rates = [
                (rate(count, ours), rate(count, lambda p=plain: p)) for _ in range(options.rounds)
            ]
            mine, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
            ratio = statistics.median(one / other for one, other in rates)
            print(f"{title}: {mine:.0f} images/s, plain pipeline {theirs:.0f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
