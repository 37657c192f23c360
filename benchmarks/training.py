"""Speed of ``fit()`` compared with the plain fp32 loop of a tutorial.

    python benchmarks/training.py [--model vgg16] [--images 512] [--rounds 3]

Prints images per second for both and their ratio; the two run in turns in one process. The plain
loop is what most people write: fp32, contiguous memory, a DataLoader over normalised, cropped and
flipped images, and one host synchronisation per step. On a processor with bfloat16 the ratio for
vgg16 should be 2.5 or more.
"""

import argparse
import statistics

import numpy as np
import torch
from timing import ratio_line, take_turns
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.models.networks import NETWORKS, build_network
from workbench.models.processor import machine_name, resolve_processor
from workbench.training.loop import fit
from workbench.training.plans import training_plan


class TutorialSet(Dataset):
    """One image at a time, transformed by torchvision."""

    def __init__(self, images, source):
        self.images = images
        steps = [v2.ToImage(), v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(source.mean, source.std)]
        self.transform = v2.Compose(steps)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        pixels = np.ascontiguousarray(self.images.pixels[index].transpose(1, 2, 0))
        return self.transform(pixels), int(self.images.labels[index])


def tutorial_epoch(model, images, source, plan, device):
    """Train one epoch with the loop of a tutorial."""
    model.to(device).train()
    optimizer = torch.optim.SGD(
        model.parameters(), plan.learning_rate, momentum=0.9, weight_decay=plan.weight_decay
    )
    loader = DataLoader(TutorialSet(images, source), batch_size=plan.batch_size, shuffle=True)
    running = 0.0
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        running += loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vgg16", choices=[*NETWORKS])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    source = SOURCES["cifar100"]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (options.images, *source.shape), dtype=np.uint8)
    images = Images(pixels, rng.integers(0, 100, options.images))
    processor = resolve_processor("auto", "auto")
    plan = training_plan(options.model, source, "one-cycle", epochs=1, lr=0.01,
                         batch_size=options.batch_size)  # fmt: skip
    ours = build_network(options.model, source.shape, 100)
    theirs = build_network(options.model, source.shape, 100)

    def run_ours():
        fit(ours, images, source, plan, seed=0, processor=processor)

    def run_theirs():
        tutorial_epoch(theirs, images, source, plan, processor.torch_device)

    times = take_turns({"fit": run_ours, "plain": run_theirs}, options.rounds)
    rate = {name: options.images / statistics.median(seen) for name, seen in times.items()}
    print(f"{machine_name(processor.device)}, torch {torch.__version__}, {options.model}, "
          f"{options.images} images, batch {options.batch_size}, n = {options.rounds}")  # fmt: skip
    print(f"fit (channels last, {processor.precision}): {rate['fit']:.1f} images/s")
    print(f"plain loop (fp32):            {rate['plain']:.1f} images/s")
    print(ratio_line(times["plain"], times["fit"]))


if __name__ == "__main__":
    main()
