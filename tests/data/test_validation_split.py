"""Laws of the validation split, for images in memory and for streamed files."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from workbench.data.decoding import Form
from workbench.data.known_sets import Images, load_images
from workbench.data.streamed_images import Stream
from workbench.data.validation_split import (
    DEFAULT_SHARE,
    split_validation,
    validation_count,
    validation_places,
)
from workbench.errors import DataError

NAMES = ("a", "b", "c")
COUNTS = (3, 10, 27)


def in_memory(seed=0, origin=""):
    drawing = np.random.default_rng(seed)
    labels = drawing.permutation(np.repeat(np.arange(3), COUNTS))
    pixels = drawing.integers(0, 256, (len(labels), 1, 4, 4), dtype=np.uint8)
    return Images(pixels, labels, origin)


def streamed(root="/somewhere"):
    files = [
        (Path(root, name, "deep" if number % 2 else "", f"{number}.png"), label)
        for label, (name, count) in enumerate(zip(NAMES, COUNTS, strict=True))
        for number in range(count)
    ]
    order = np.random.default_rng(1).permutation(len(files))
    paths = tuple(files[place][0] for place in order)
    labels = np.asarray([files[place][1] for place in order])
    return Stream(paths, labels, Form(3, 8), "origin", workers=0)


def permuted(images, order):
    if isinstance(images, Images):
        return Images(images.pixels[order], images.labels[order], images.origin)
    files = tuple(images.files[place] for place in order)
    return Stream(files, images.labels[order], images.form, images.origin, workers=0)


def contents(images):
    """The labelled images as a sorted list; files without their folder."""
    if isinstance(images, Images):
        each = [image.tobytes() for image in images.pixels]
    else:
        each = [path.as_posix().removeprefix("/somewhere") for path in images.files]
    return sorted(zip(images.labels.tolist(), each, strict=True))


@pytest.mark.parametrize("make", [in_memory, streamed])
class TestEverySet:
    def test_parts_are_disjoint_complete_and_stratified(self, make):
        images = make()
        rest, validation = split_validation(images, NAMES)
        assert sorted(contents(rest) + contents(validation)) == contents(images)
        assert not set(contents(rest)) & set(contents(validation))
        for label, count in enumerate(COUNTS):
            held = int((validation.labels == label).sum())
            assert abs(held - DEFAULT_SHARE * count) < 1
            assert 1 <= held <= count - 2

    def test_order_of_the_images_does_not_matter(self, make):
        images = make()
        order = np.random.default_rng(5).permutation(len(images))
        before, after = (
            [contents(part) for part in split_validation(each, NAMES)]
            for each in (images, permuted(images, order))
        )
        assert before == after

    def test_larger_shares_contain_smaller_ones(self, make):
        shares = [set(validation_places(make(), NAMES, share)) for share in (0.05, 0.2, 0.5, 0.9)]
        assert all(small <= large for small, large in pairwise(shares))
        assert len(shares[0]) < len(shares[-1])

    def test_other_classes_do_not_matter(self, make):
        images = make()
        kept = np.flatnonzero(images.labels != 0)
        few = permuted(images, kept)
        few = (
            Images(few.pixels, few.labels - 1)
            if isinstance(few, Images)
            else Stream(few.files, few.labels - 1, few.form, few.origin)
        )
        both = (split_validation(images, NAMES)[1], split_validation(few, NAMES[1:])[1])
        large, small = (contents(part) for part in both)
        assert [(label - 1, image) for label, image in large if label] == small

    def test_parts_have_fingerprints_of_their_own(self, make):
        images = make()
        parts = [*split_validation(images, NAMES), *split_validation(images, NAMES, 0.5)]
        prints = [part.fingerprint() for part in (images, *parts)]
        assert len(set(prints)) == len(prints)
        again = [part.fingerprint() for part in split_validation(make(), NAMES)]
        assert again == prints[1:3]

    def test_small_classes_are_reported_together(self, make):
        images = make()
        few = permuted(images, np.flatnonzero(images.labels == 0)[:2])
        with pytest.raises(DataError) as failed:
            split_validation(few, NAMES, where="S2")
        first, second, third = failed.value.problems
        assert first.startswith("S2: class 'a' has 2 training images, a validation split needs")
        assert "'b' has 0" in second
        assert "'c' has 0" in third

    @pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
    def test_a_share_that_leaves_a_part_empty_is_rejected(self, make, share):
        with pytest.raises(ValueError, match="not within"):
            split_validation(make(), NAMES, share)


def test_images_are_ranked_by_the_hash_of_their_pixels():
    images = in_memory()
    for label, count in enumerate(COUNTS):
        own = [image.tobytes() for image in images.pixels[images.labels == label]]
        own.sort(key=lambda each: hashlib.sha256(b"validation/" + each).hexdigest())
        wanted = sorted((label, each) for each in own[: max(1, round(0.2 * count))])
        _, validation = split_validation(images, NAMES)
        assert [each for each in contents(validation) if each[0] == label] == wanted


def test_files_keep_their_part_where_the_folder_moves():
    parts = [split_validation(streamed(root), NAMES)[1] for root in ("/somewhere", "/else/where")]
    names = [[path.parts[-2:] for path in part.files] for part in parts]
    assert names[0] == names[1]


def test_origin_and_pixels_of_a_decoded_folder():
    plain, decoded = in_memory(), in_memory(origin="hash of files")
    assert np.array_equal(validation_places(plain, NAMES), validation_places(decoded, NAMES))
    assert all(part.origin for part in split_validation(decoded, NAMES))
    assert not any(part.origin for part in split_validation(plain, NAMES))


@pytest.mark.parametrize(
    ("count", "share", "wanted"),
    [(3, 0.2, 1), (3, 0.99, 1), (4, 0.99, 2), (100, 0.2, 20), (7, 0.2, 1), (8, 0.2, 2)],
)
def test_counts_leave_two_images_to_train_on(count, share, wanted):
    assert validation_count(count, share) == wanted


def test_digits():
    images = load_images("digits", "train", Path())
    rest, validation = split_validation(images, [str(digit) for digit in range(10)])
    assert (len(rest), len(validation)) == (1150, 287)
