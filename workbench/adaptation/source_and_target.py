"""The data set that a network was trained on, the images that it is specialised for, and
whether they meet.

A domain's ``source`` is the set that its images come from; ``--source`` is the set that the
network was trained on. They may differ where the images have one shape, and always where the
domain's images are a folder, which are made to fit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.data.catalog import (
    IMAGENET,
    LARGEST_IMAGE,
    SMALLEST_IMAGE,
    SOURCES,
    Source,
    crop_of,
)
from workbench.data.feeds import ImageSet
from workbench.data.folder_files import list_folder
from workbench.data.folder_images import Say, load_folder
from workbench.data.sets import load_images
from workbench.data.user_paths import user_path
from workbench.domains.domain import Domain
from workbench.errors import DataError, SettingsError, did_you_mean
from workbench.models.networks import build_network


def check_source(name: str, image_size: int | None, weights: bool = False) -> Sequence[str]:
    """One line for each thing that is wrong with ``--source`` and ``--image-size``.

    Args:
        weights: whether there are weights of a network that was trained on it.
    """
    problems = []
    if image_size is not None and not SMALLEST_IMAGE <= image_size <= LARGEST_IMAGE:
        problems.append(
            f"--image-size {image_size} is not within {SMALLEST_IMAGE} to {LARGEST_IMAGE} pixels"
        )
    if name in SOURCES:
        if image_size is not None:
            problems.append(
                f"--image-size: the images of {name} have {SOURCES[name].shape[1]} pixels; it is "
                "for a folder as --source (a domain's is 'image_size' in its file)"
            )
        return problems
    if name == IMAGENET:
        if not weights:
            problems.append(
                f"--source {name}: its images are not here to train on; take --weights DEFAULT "
                "with --model torchvision:NAME, a weight file, or your copy's folder as --source"
            )
        return problems
    if not name or not ("/" in name or os.path.isdir(name)):
        return [
            *problems,
            f"--source: unknown value '{name}'{did_you_mean(name, [*SOURCES, IMAGENET])}"
            f"{', or the path of a folder of images' if name else ''}",
        ]
    try:
        list_folder(user_path(name))
    except DataError as error:
        problems += [f"--source: {problem}" for problem in error.problems]
    return problems


def fit_source(source: Source, domain: Domain) -> Source:
    """The source with the size of the domain's images.

    Raises:
        SettingsError: when a known set's images have another shape than the network takes.
    """
    if domain.folder is not None:
        size = domain.image_size or source.shape[1]
        crop = source.crop and crop_of(size)
        return replace(source, shape=(source.shape[0], size, size), crop=crop)
    own = SOURCES[domain.source]
    if (own.shape, own.white) != (source.shape, source.white):
        raise SettingsError(
            f"{domain.path}: domain {domain.name} is made of {domain.source} images, not of "
            f"{source.name}; use --source {domain.source} or another --target"
        )
    return source


def check_sizes(model: str, source: Source, fitted: Source, domain: Domain) -> None:
    """See that the source's weights are right for images of the domain's size.

    Raises:
        SettingsError: when a layer of the network is tied to the size.
        NetworkError: when the network cannot be built.
    """
    if source.shape == fitted.shape:
        return
    ours, theirs = (
        {
            name: value.shape
            for name, value in build_network(model, shape, len(source.classes)).state_dict().items()
        }
        for shape in (source.shape, fitted.shape)
    )
    if ours != theirs:
        raise SettingsError(
            f"{domain.path}: image_size {fitted.shape[1]}: the weights of {model} are tied to the "
            f"{source.shape[1]}x{source.shape[2]} images of {source.name}; leave image_size out, "
            "or use a network that averages over the image (--model simplecnn)"
        )


def knows_classes(source: Source, domain: Domain) -> bool:
    """Whether all classes of the domain are among the source's, each once (ImageNet has cranes)."""
    return all(source.classes.count(name) == 1 for name in domain.classes)


def shared_images(source: Source, domain: Domain) -> int:
    """How many test images of the domain the source network was trained on."""
    if source.folder is None or domain.folder is None:
        return 0
    learned = {path.resolve() for path, _ in source.folder.files("train")}
    return sum(path.resolve() in learned for path, _ in domain.folder.files("test"))


def choose_head(asked: str, source: Source, domain: Domain) -> str:
    """ "slice" or "new" for ``--head``.

    Raises:
        SettingsError: when rows are asked for that the source does not have.
    """
    known = knows_classes(source, domain)
    if asked == "slice" and not known:
        other = next(name for name in domain.classes if name not in source.classes)
        raise SettingsError(
            f"--head slice: class '{other}' of {domain.name} is none of the {len(source.classes)} "
            f"classes of {source.name}; use --head new"
        )
    if asked == "auto":
        return "slice" if known else "new"
    return asked


def image_parts(source: Source) -> dict[str, Any]:
    """What a key says of the images' form where it does not follow from the set's name."""
    return {
        "shape": list(source.shape),
        "mean": list(source.mean),
        "std": list(source.std),
        "white": source.white,
        "crop": source.crop,
        "flip": source.flip,
    }


def load_source_images(
    source: Source, data_dir: Path, strict: bool, say: Say
) -> tuple[ImageSet, ImageSet]:
    """Training and test images of all classes of a source.

    Raises:
        DataError: when they cannot be had.
    """
    if source.folder is not None:
        return load_folder(source.folder, source, strict=strict, say=say)
    name = source.name
    return load_images(name, "train", data_dir), load_images(name, "test", data_dir)


def load_domain_images(
    domain: Domain, source: Source, data_dir: Path, strict: bool, say: Say
) -> tuple[ImageSet, ImageSet]:
    """Training and test images of a domain, as a network of ``source`` takes them.

    Raises:
        DataError: when they cannot be had, or a class has fewer than two training images.
    """
    if domain.folder is not None:
        return load_folder(domain.folder, source, strict=strict, say=say)
    names, origin = domain.classes, domain.source
    train = load_images(origin, "train", data_dir).of_classes(names, origin)
    train.check_trainable(names, origin)
    return train, load_images(origin, "test", data_dir).of_classes(names, origin)
