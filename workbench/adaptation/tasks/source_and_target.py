"""The source of a network and the images of a target domain: checks that they fit, and loading.

A domain's ``source`` is the data set that its images come from; ``--source`` is the data set that
the network was trained on. The two may differ if their images have the same shape. The images of a
folder are resized to fit any network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.data.catalog import IMAGENET, LARGEST_IMAGE, SMALLEST_IMAGE, SOURCES, Source, crop_of
from workbench.data.folder_files import list_folder
from workbench.data.folder_images import Say, load_folder
from workbench.data.image_batches import ImageSet
from workbench.data.known_sets import Split, load_images
from workbench.data.user_paths import user_path
from workbench.domains.domain import Domain
from workbench.errors import DataError, SettingsError, did_you_mean
from workbench.models.networks import build_network


def check_source(name: str, image_size: int | None, weights: bool = False) -> Sequence[str]:
    """One line for each mistake in ``--source`` and ``--image-size``.

    Args:
        weights: whether a trained source network is given, so that no source images are needed.
    """
    problems = []
    if image_size is not None and not SMALLEST_IMAGE <= image_size <= LARGEST_IMAGE:
        problems.append(
            f"--image-size {image_size} is not within {SMALLEST_IMAGE} to {LARGEST_IMAGE} pixels"
        )
    if name in SOURCES:
        if image_size is not None:
            problems.append(
                f"--image-size applies to a folder as --source; the images of {name} have "
                f"{SOURCES[name].shape[1]} pixels (for a domain, set 'image_size' in its file)"
            )
        return problems
    if name == IMAGENET:
        if not weights:
            problems.append(
                f"--source {name}: the workbench has no {name} images to train on; use --weights "
                "DEFAULT with --model torchvision:NAME, a weight file, or the folder of your copy "
                "as --source"
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
        SettingsError: when the images of a known data set do not have the shape or the colours
            that the network takes.
    """
    if domain.folder is not None:
        size = domain.image_size or source.shape[1]
        crop = source.crop and crop_of(size)
        return replace(source, shape=(source.shape[0], size, size), crop=crop)
    if domain.source not in SOURCES:
        raise SettingsError(
            f"--target {domain.name}: the workbench has no {domain.source} images to compress a "
            "network for; use the folder of your copy as --source and --target, or another --target"
        )
    own = SOURCES[domain.source]
    if (own.shape, own.white) != (source.shape, source.white):
        raise SettingsError(
            f"{domain.path}: domain {domain.name} is made of {domain.source} images, not of "
            f"{source.name}; use --source {domain.source} or another --target"
        )
    return source


def check_sizes(model: str, source: Source, fitted: Source, domain: Domain) -> None:
    """Check that the source's weights fit images of the domain's size.

    Raises:
        SettingsError: when the shape of some weights depends on the image size.
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
            f"{domain.path}: image_size {fitted.shape[1]}: the weights of {model} fit only the "
            f"{source.shape[1]}x{source.shape[2]} images of {source.name}; leave image_size out, "
            "or use a network that averages over the image (--model simplecnn)"
        )


def knows_classes(source: Source, domain: Domain) -> bool:
    """Whether the source has each class of the domain exactly once.

    ImageNet has two classes with the name "crane".
    """
    return all(source.classes.count(name) == 1 for name in domain.classes)


def shared_images(source: Source, domain: Domain, split: Split = "test") -> int:
    """The number of a domain's images of one split that the source network was trained on.

    It is counted for two folders only; 0 otherwise.
    """
    if source.folder is None or domain.folder is None:
        return 0
    learned = {path.resolve() for path, _ in source.folder.files("train")}
    return sum(path.resolve() in learned for path, _ in domain.folder.files(split))


def choose_head(asked: str, source: Source, domain: Domain) -> str:
    """Resolve ``--head`` to "slice" or "new".

    Raises:
        SettingsError: when ``asked`` is "slice" and the source does not have all classes.
    """
    known = knows_classes(source, domain)
    if asked == "slice" and not known:
        other = next(name for name in domain.classes if name not in source.classes)
        raise SettingsError(
            f"--head slice: class '{other}' of {domain.name} is not among the "
            f"{len(source.classes)} classes of {source.name}; use --head new"
        )
    if asked == "auto":
        return "slice" if known else "new"
    return asked


def image_parts(source: Source) -> dict[str, Any]:
    """The images' part of a key, needed where the set's name does not determine their form."""
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
    """Load the training and test images of all classes of a source.

    Raises:
        DataError: when the images cannot be loaded.
    """
    if source.folder is not None:
        return load_folder(source.folder, source, strict=strict, say=say)
    name = source.name
    return load_images(name, "train", data_dir), load_images(name, "test", data_dir)


def load_domain_images(
    domain: Domain, source: Source, data_dir: Path, strict: bool, say: Say
) -> tuple[ImageSet, ImageSet]:
    """Load the training and test images of a domain in the form that ``source`` has.

    Raises:
        DataError: when the images cannot be loaded, or a class has fewer than two training images.
    """
    if domain.folder is not None:
        return load_folder(domain.folder, source, strict=strict, say=say)
    names, origin = domain.classes, domain.source
    train = load_images(origin, "train", data_dir).of_classes(names, origin)
    train.check_trainable(names, origin)
    return train, load_images(origin, "test", data_dir).of_classes(names, origin)
