"""Trainings that torchrun runs in two processes for ``test_processes.py``.

Usage: torchrun --nproc-per-node 2 shared_trainings.py FOLDER [crash]. Results are in FOLDER.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from workbench.cli.torchrun import run_in_first
from workbench.compression.groups.forward_path import path_on_noise
from workbench.compression.groups.watched_layers import watch
from workbench.compression.narrow_networks import build_narrow
from workbench.data.catalog import SOURCES
from workbench.data.decoding import Form
from workbench.data.known_sets import Images
from workbench.data.streamed_images import Stream
from workbench.errors import WorkbenchError
from workbench.models.processor import resolve_processor
from workbench.models.weight_files import save_tensors
from workbench.training import processes
from workbench.training.checkpoints import Checkpoint
from workbench.training.distillation import Teacher
from workbench.training.loop import fit
from workbench.training.plans import Plan, derive_seed

DIGITS = SOURCES["digits"]
WIDTHS = (6, 6, 6, 8, 8, 8, 8, 8)
#: The last batch has 15 images: the parts of two processes differ in size.
PLAN = Plan(4, "one-cycle", 2, 0.02, 18, 1e-4, augment=True)


def images():
    """Two classes that differ in where their light is."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 6, (69, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(69) % 2
    pixels[labels == 1, :, :4] += 10
    return Images(pixels, labels)


def stream(folder):
    """The same images as files."""
    known, files = images(), []
    folder.mkdir(exist_ok=True)
    for number, pixels in enumerate(known.pixels):
        files.append(folder / f"{number}.png")
        Image.fromarray(pixels[0] * 16).save(files[-1])
    return Stream(tuple(files), known.labels, Form(1, 8), "files", workers=0)


def network(seed=0):
    made = build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=seed)
    watch(made, path_on_noise(made, (1, 8, 8)))
    return made


def train(shown, plan=PLAN, **options):
    """Losses and weights of a training."""
    made, cpu = network(), resolve_processor("cpu", "fp32")
    done = fit(made, shown, DIGITS, plan, seed=0, processor=cpu, **options)
    return [epoch.loss for epoch in done.epochs], made.state_dict()


#: Plans and teachers that are trained in one and in two processes.
CASES = {
    "plain": {},
    "penalty": {"plan": replace(PLAN, sparsity=1e-2, label_smoothing=0.1)},
    "orthogonality": {"plan": replace(PLAN, orthogonality=0.05)},
    "average": {"plan": replace(PLAN, ema=0.9)},
    "teacher": {"teacher": Teacher(network(1).eval(), 2.0, 0.5)},
}


def command():
    folder = Path(sys.argv[1])
    for name, options in CASES.items():
        losses, weights = train(images(), **options)
        (folder / f"{name}.json").write_text(json.dumps(losses))
        save_tensors(weights, folder / f"{name}.safetensors", {})
    parts, _ = train(images(), replace(PLAN, norm_parts=2))
    (folder / "parts.json").write_text(json.dumps(parts))
    train(images(), checkpoint=Checkpoint(folder / "two.safetensors", "key"))
    resumed, _ = train(images(), checkpoint=Checkpoint(folder / "one.safetensors", "key"))
    (folder / "resumed.json").write_text(json.dumps(resumed))
    (folder / "files.json").write_text(json.dumps(train(stream(folder / "images"))[0]))
    (folder / "errors.json").write_text(json.dumps(errors(folder)))
    return 0


def errors(folder):
    """What is reported about failures; after each of them the next training begins."""
    shown, told = stream(folder / "images"), []
    shown.files[in_second_process()].write_text("damaged")
    for seen, plan in ((shown, PLAN), (images(), replace(PLAN, learning_rate=1e30))):
        try:
            train(seen, plan)
        except WorkbenchError as error:
            told.append(str(error))
    losses, _ = train(images())
    return [*told, losses]


def in_second_process():
    """An image that the second process has in its part of the first batch."""
    generator = torch.Generator().manual_seed(derive_seed(0, "order", 1))
    return int(torch.randperm(69, generator=generator)[12])


def crash():
    """The second process ends in its third step, as one without memory does."""
    whole, steps = processes.weighted, []

    def weighted(*args):
        steps.append(args)
        if len(steps) == 3 and not processes.is_first():
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*args)

    processes.weighted = weighted


if __name__ == "__main__":
    if "crash" in sys.argv:
        crash()
    sys.exit(run_in_first(command))
