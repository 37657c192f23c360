"""The kinds of files that are fuzzed: whole ones, how they are damaged, and what reads them."""

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from mutators import (
    damaged_bytes,
    damaged_json,
    damaged_png,
    damaged_tensors,
    damaged_text,
)
from packed_files import rewrite
from PIL import Image
from safetensors.torch import save

from workbench.adaptation.options.option_files import TYPES, read_options
from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.task import resolve
from workbench.compression.narrow_networks import build_narrow, load_network, structure_of
from workbench.compression.recipes.recipe_files import read_recipe_file
from workbench.data.catalog import SOURCES
from workbench.data.decoding import UNREADABLE, Form, check, decode, quiet
from workbench.deployment.quantisation.clustered_weights import cluster
from workbench.deployment.quantisation.mixed_bits import grid_weights
from workbench.deployment.quantisation.packed_weights import (
    coded_layers,
    load_packed,
    weight_array,
    write_packed,
)
from workbench.domains.domain import load_domain
from workbench.errors import WorkbenchError
from workbench.experiments.engines.cells import read_cell
from workbench.experiments.result_rows import read_cells
from workbench.models.weight_files import Card, put_weights, read_weights

ROOT = Path(__file__).parents[2]
WIDTHS = (6, 6, 6, 8, 8, 8, 8, 8)
CARD = Card.of("simplecnn", SOURCES["digits"], ("3", "8"), WIDTHS)


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        suffix: of its files.
        whole: contents of files without damage.
        damage: makes a mutant from a content, with a random generator.
        read: reads a file.
        command: command line that reads it; FILE, FOLDER and NETWORK stand for paths. () if none
            reads such a file alone.
        allowed: what ``read`` may raise.
    """

    suffix: str
    whole: Sequence[bytes]
    damage: Callable
    read: Callable
    command: Sequence[str]
    allowed: tuple = (WorkbenchError,)


def _domains():
    """The project's own, and one of an image folder; a domain has the name of its file."""
    own = [path.read_bytes() for path in sorted((ROOT / "domains").glob("*.yaml"))]
    folder = b"name: pets\nfolder: pets\nclasses: [a, b]\ntest_fraction: 0.3\nseed: 3\n"
    return [re.sub(rb"(?m)^name: .*", b"name: mutant", each) for each in (*own, folder)]


def _read_options(path):
    needed = {"source": "digits", "target": "digits-3v8"}
    resolve(Settings.of(**needed | read_options(path, TYPES["adapt"], "adapt")))


def _read_cell(path):
    cell = read_cell(path.read_bytes(), str(path))
    assert read_cell(cell.to_json(), "again") == replace(cell, **_unset(cell))
    resolve(Settings.of(**cell.options))


def _unset(cell):
    """Empty fields are not in the text of a cell."""
    return {"trial": cell.trial or None, "parent": cell.parent or None, "key": cell.key or None}


def _read_recipe(path):
    read_recipe_file(path).fixed(structure_of("simplecnn", (1, 8, 8), 10))


def _read_pickle(path):
    put_weights(_network(), read_weights(path), str(path))


def _read_image(path):
    with quiet():
        check(path.read_bytes())
        decode(path, Form(3, 32))


OPTIONS = b"""source: digits
target: digits-3v8
method: pfa-en
energy: 0.9
protocols: full-fine,pfa-fine
seeds: 2
epochs: 3
source_epochs: 2
schedule: one-cycle
batch_size: 64
lr: 0.05
label_smoothing: 0.1
validation: 0.2
stages: [int8]
tolerance: 1.5
fresh: false
head: slice
"""
CELL = {
    "kind": "training", "protocol": "pfa-fine", "seed": 3, "key": "0" * 64, "parent": "a" * 32,
    "data": {"train": "ab", "test": "cd", "weights": "ef"},
    "processor": {"device": "cpu", "precision": "fp32", "threads": 1},
    "options": {"source": "digits", "target": "digits-3v8", "epochs": 2, "source_epochs": 2,
                "schedule": "one-cycle", "lr": 0.1, "stages": ["int8"], "fresh": False},
}  # fmt: skip
TRIAL = {
    "kind": "trial", "seed": 0, "options": {"source": "digits", "target": "digits-3v8"},
    "trial": {"share": 0.5, "method": "uniform", "protocol": "pfa-fine", "epochs": 1,
              "cost": "flops", "runtime": ""},
}  # fmt: skip
RECIPES = (
    b"features.0: 20\nfeatures.3: {keep: [0, 3, 5], filters: 96}\nfeatures.6: 8\n",
    b'# by hand\n"features.0": {keep: 3}\nfeatures.23: 40\n',
)
RECIPE_OF_RUN = {
    "layers": [
        {"layer": "features.0", "filters": 96, "kept_indices": [0, 1, 5], "energy": 0.5},
        {"layer": "features.3", "filters": 96, "kept_indices": [2], "energy": 0.5},
    ]
}


@cache
def _network():
    return build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=4).eval()


def weights_file():
    """Content of a weight file with its card."""
    return save(dict(_network().state_dict()), CARD.metadata())


def _packed_file(folder):
    model = _network()
    packed = {
        f"{name}.weight": grid_weights(weight_array(layer), 6) if n % 2
        else cluster(weight_array(layer), 20)
        for n, (name, layer) in enumerate(coded_layers(model).items())
    }  # fmt: skip
    path = folder / "whole.packed"
    write_packed(path, CARD, model, packed)
    rewrite(path, lambda *_: None)  # without the hash, damage reaches the code behind its check
    return path.read_bytes()


def _pickled():
    file = io.BytesIO()
    torch.save(_network().state_dict(), file)
    return file.getvalue()


def image_files(size=(24, 20)):
    """Contents of images in several formats and modes."""
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    forms = (
        ("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "L"), ("GIF", "P"),
        ("BMP", "RGB"), ("TIFF", "RGB"), ("WEBP", "RGB"), ("PPM", "L"),
    )  # fmt: skip
    found = []
    for kind, mode in forms:
        file = io.BytesIO()
        exif = {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"}
        image.convert("RGB").convert(mode).save(file, kind, **(exif if kind == "JPEG" else {}))
        found.append(file.getvalue())
    return found


def _rows():
    return [(ROOT / "docs/results/data/cells.csv").read_bytes()[:3000].rpartition(b"\n")[0] + b"\n"]


def file_kinds(folder):
    """The kinds by name.

    Args:
        folder: for files that are needed on the way.
    """
    digits = ("--source", "digits", "--target", "digits-3v8")
    image, network = "FOLDER/a/0.png", "NETWORK"
    load = (load_network, ("predict", "FILE", image))
    return {
        "domain": FileKind(".yaml", _domains(), damaged_text, load_domain,
                           ("domains", "check", "FILE")),
        "options": FileKind(".yaml", [OPTIONS], damaged_text, _read_options,
                            ("adapt", "--config", "FILE", "--dry-run")),
        "recipe": FileKind(".yaml", RECIPES, damaged_text, _read_recipe,
                           ("adapt", *digits, "--recipe-file", "FILE", "--dry-run")),
        "recipe of a run": FileKind(".json", [json.dumps(RECIPE_OF_RUN).encode()], damaged_json,
                                    _read_recipe,
                                    ("adapt", *digits, "--recipe-file", "FILE", "--dry-run")),
        "cell": FileKind(".json", [json.dumps(each).encode() for each in (CELL, TRIAL)],
                         damaged_json, _read_cell, ("cell", "FILE")),
        "weights": FileKind(".safetensors", [weights_file()], damaged_tensors, *load),
        "pickle": FileKind(".pt", [_pickled()], damaged_bytes, _read_pickle,
                           ("adapt", *digits, "--weights", "FILE", "--dry-run")),
        "packed": FileKind(".packed", [_packed_file(folder)], damaged_tensors, load_packed,
                           load[1]),
        "image": FileKind(".png", image_files(), damaged_png, _read_image,
                          ("predict", network, "FILE"), UNREADABLE),
        "rows": FileKind(".csv", _rows(), damaged_text, read_cells,
                         ()),
    }  # fmt: skip
