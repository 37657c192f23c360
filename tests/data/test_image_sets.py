"""Data sets as arrays: exact splits, honest errors, and no pickle that is not the official one."""

import hashlib
import io
import os
import pickle
import urllib.error
import urllib.request
from collections import Counter
from http.client import BadStatusLine, IncompleteRead
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from workbench.data.catalog import SOURCES
from workbench.data.data_folder import data_folder, is_present
from workbench.data.known_sets import Images, load_images
from workbench.errors import DataError

REAL = Path(os.environ.get("WORKBENCH_DATA", ""))


@pytest.fixture(scope="module")
def digits():
    return {split: load_images("digits", split, Path()) for split in ("train", "test")}


def rows(images):
    """Each image and its label as bytes."""
    return [
        pixels.tobytes() + bytes([label])
        for pixels, label in zip(images.pixels, images.labels, strict=True)
    ]


def some_images(count=6, classes=10):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    return Images(pixels, np.arange(count, dtype=np.int64) % classes)


# --- digits ---------------------------------------------------------------------------------


def test_digits_are_uint8_images_with_int64_labels(digits):
    for split, count in (("train", 1437), ("test", 360)):
        images = digits[split]
        assert images.pixels.shape == (count, *SOURCES["digits"].shape)
        assert (images.pixels.dtype, images.labels.dtype) == (np.uint8, np.int64)
        assert images.labels.shape == (len(images),) == (count,)
        assert (images.pixels.min(), images.pixels.max()) == (0, SOURCES["digits"].white)


def test_the_splits_of_digits_share_nothing_and_leave_nothing_out(digits):
    from sklearn.datasets import load_digits

    whole = load_digits()
    every = Images(whole.images.astype(np.uint8)[:, None], whole.target.astype(np.int64))
    assert Counter(rows(digits["train"]) + rows(digits["test"])) == Counter(rows(every))


def test_the_catalog_counts_the_images_of_every_digit(digits):
    source = SOURCES["digits"]
    assert tuple(np.bincount(digits["train"].labels)) == source.train_images
    assert tuple(np.bincount(digits["test"].labels)) == source.test_images


def test_a_fifth_of_every_digit_is_for_testing(digits):
    train, test = (np.bincount(digits[split].labels) for split in ("train", "test"))
    assert np.abs(test - (train + test) * 360 / 1797).max() < 1


def test_the_split_of_digits_never_changes(digits):
    """Results that are recorded refer to it; a new split would need a new name."""
    assert digits["train"].fingerprint() == load_images("digits", "train", Path()).fingerprint()
    assert {split: images.fingerprint()[:16] for split, images in digits.items()} == {
        "train": "a61a9a96df1bc60c",
        "test": "850baaacd53d5b03",
    }


def test_digits_need_no_folder():
    load_images("digits", "test", Path("nowhere"))
    assert list(Path().iterdir()) == []


# --- images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("3", "8"), ("8", "3"), tuple("9876543210"), ("5", "0", "9")])
def test_classes_are_labelled_in_the_order_of_their_names(digits, names):
    images = digits["test"]
    chosen = images.of_classes(names, "digits")
    for label, name in enumerate(names):
        wanted = images.pixels[images.labels == int(name)]
        assert np.array_equal(chosen.pixels[chosen.labels == label], wanted)
    assert len(chosen) == sum(int((images.labels == int(name)).sum()) for name in names)
    assert chosen.labels.dtype == np.int64


def test_cutting_to_classes_leaves_the_images_as_they_were(digits):
    before = digits["test"].fingerprint()
    digits["test"].of_classes(("8", "3"), "digits")
    assert digits["test"].fingerprint() == before


def test_images_need_four_axes_and_a_label_each():
    images = some_images()
    with pytest.raises(ValueError, match="do not fit 5 labels"):
        Images(images.pixels, images.labels[:5])
    with pytest.raises(ValueError, match="do not fit"):
        Images(images.pixels[:, 0], images.labels)


def test_a_fingerprint_tells_pixels_labels_and_shape_apart_and_nothing_else():
    images = some_images()
    pixels, labels = images.pixels.copy(), images.labels.copy()
    pixels[3, 2, 1, 0] ^= 1
    labels[4] += 1
    turned = images.pixels.reshape(len(images), 3, 2, 8)
    others = [
        Images(pixels, images.labels),
        Images(images.pixels, labels),
        Images(turned, images.labels),
    ]
    known = {images.fingerprint(), *(other.fingerprint() for other in others)}
    assert len(known) == 4
    elsewhere = np.asfortranarray(images.pixels)
    assert Images(elsewhere, images.labels.astype(">i8")).fingerprint() == images.fingerprint()


def test_every_class_needs_two_training_images():
    labels = np.array([0, 0, 1, 3, 3, 3])
    with pytest.raises(DataError) as error:
        Images(some_images().pixels, labels).check_trainable(("a", "b", "c", "d"), "digits")
    once, never = error.value.problems
    assert once.startswith("digits: class 'b' has 1 training image,")
    assert never.startswith("digits: class 'c' has 0 training images,")
    assert all("; add images or drop the class" in line for line in (once, never))
    Images(some_images().pixels, np.repeat([0, 1, 2], 2)).check_trainable("abc", "digits")


# --- where data lies ------------------------------------------------------------------------


def test_the_folder_asked_for_comes_before_the_environment_and_the_cache(monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", "env")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", "/home/someone")
    assert data_folder(Path("asked")) == Path("asked")
    assert data_folder() == Path("env")
    monkeypatch.setenv("WORKBENCH_DATA", "")
    assert data_folder() == Path("cache/workbench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_folder() == Path("/home/someone/.cache/workbench")


def test_data_is_present_where_its_folder_is():
    assert is_present("digits", Path("nowhere"))
    assert not is_present("cifar10", Path())
    Path("cifar-10-batches-py").mkdir()
    assert is_present("cifar10", Path())
    assert not is_present("cifar100", Path())


# --- CIFAR without the network ----------------------------------------------------------------


@pytest.fixture
def cifar100(monkeypatch):
    """torchvision's class, its files listed as a test writes them."""
    from torchvision.datasets import CIFAR100

    for name in ("train_list", "test_list", "meta"):
        monkeypatch.setattr(CIFAR100, name, getattr(CIFAR100, name))
    return CIFAR100


def write_cifar(cifar, folder, count=7):
    """A small data set in CIFAR-100's files, whose md5 sums are made the official ones."""
    base = folder / "cifar-100-python"
    base.mkdir(parents=True)
    rng = np.random.default_rng(3)
    stored = {}
    for split in ("train", "test"):
        data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [int(label) for label in rng.integers(0, 100, count)]
        (base / split).write_bytes(pickle.dumps({"data": data, "fine_labels": labels}))
        stored[split] = (data, labels)
    names = list(SOURCES["cifar100"].classes)
    (base / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in base.iterdir()}
    cifar.train_list, cifar.test_list = ([[split, sums[split]]] for split in ("train", "test"))
    cifar.meta = {**cifar.meta, "md5": sums["meta"]}
    return stored


@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar_images_keep_channels_rows_and_columns_in_place(cifar100, split):
    data, labels = write_cifar(cifar100, Path("data"))[split]
    images = load_images("cifar100", split, Path("data"))
    assert np.array_equal(images.pixels, data.reshape(-1, 3, 32, 32))
    assert images.pixels.flags["C_CONTIGUOUS"]
    assert images.labels.tolist() == labels
    assert (images.pixels.dtype, images.labels.dtype) == (np.uint8, np.int64)


def test_data_that_is_all_there_can_be_read_from_a_read_only_folder(cifar100, monkeypatch):
    write_cifar(cifar100, Path("data"))

    def reject(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", reject)
    assert len(load_images("cifar100", "train", Path("data"))) == 7


@pytest.fixture
def network(monkeypatch):
    """Addresses that were asked for; none of them answers."""
    asked = []

    def reject(request, *_, **__):
        asked.append(getattr(request, "full_url", request))
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", reject)
    return asked


URLS = {
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "cifar100": "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
}
FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def data_error(source, split="train"):
    with pytest.raises(DataError) as error:
        load_images(source, split, Path("data"))
    (line,) = error.value.problems
    assert error.value.exit_code == 2
    assert line.isprintable()
    assert URLS[source] in line
    return line


@pytest.mark.parametrize("source", URLS)
def test_data_that_cannot_be_fetched_is_told_with_folder_and_address(network, source):
    line = data_error(source)
    assert network == [URLS[source]]
    assert f"data/{FOLDERS[source]}" in line
    assert "no route to host" in line
    assert "unpack it in data" in line
    assert "--data-dir" in line


@pytest.mark.parametrize("error", [IncompleteRead(b""), BadStatusLine("x")], ids=repr)
def test_a_server_that_breaks_off_is_one_line_too(monkeypatch, error):
    def break_off(*_, **__):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", break_off)
    data_error("cifar10")


def test_a_folder_that_cannot_be_made_is_told(network):
    Path("data").touch()
    assert "data/cifar-10-batches-py" in data_error("cifar10")
    assert network == []


def test_a_download_that_is_not_the_official_one_is_told(monkeypatch):
    def answer(request, *_, **__):
        body = io.BytesIO(b"a captive portal's page")
        body.url, body.length = request.full_url, 23
        return body

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    line = data_error("cifar10")
    assert line.startswith("data/cifar-10-python.tar.gz: the download is damaged")
    assert "c58f30108f718f92721af3b95e74349a" in line


def test_a_damaged_file_is_told_with_its_sum_and_the_way_out(cifar100, network):
    write_cifar(cifar100, Path("data"))
    path = Path("data/cifar-100-python/train")
    content = bytearray(path.read_bytes())
    wanted = hashlib.md5(content).hexdigest()
    content[500] ^= 1
    path.write_bytes(content)
    line = data_error("cifar100", "train")
    assert line.startswith(f"{path} is damaged")
    assert f"md5 {hashlib.md5(content).hexdigest()}, expected {wanted}" in line
    assert "remove the folder data/cifar-100-python" in line
    assert len(load_images("cifar100", "test", Path("data"))) == 7
    assert network == []
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_missing_file_beside_others_is_told(cifar100, network, name):
    write_cifar(cifar100, Path("data"))
    Path("data/cifar-100-python", name).unlink()
    assert data_error("cifar100", name).startswith(f"data/cifar-100-python/{name} is missing")
    assert network == []


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize("evil", [["train"], ["test"], ["meta"], ["train", "test", "meta"]])
def test_nothing_that_is_not_official_is_unpickled(cifar100, network, evil):
    write_cifar(cifar100, Path("data"))
    for name in evil:
        Path("data/cifar-100-python", name).write_bytes(pickle.dumps(Evil()))
    for split in ("train", "test"):
        if split in evil:
            assert "is damaged (md5 " in data_error("cifar100", split)
        else:
            assert len(load_images("cifar100", split, Path("data"))) == 7
    assert not Path("ran").exists()
    pickle.loads(pickle.dumps(Evil()))
    assert Path("ran").exists()  # it would have


# --- the real CIFAR-100 -------------------------------------------------------------------------


@pytest.mark.cifar
@pytest.mark.skipif(
    not (REAL / "cifar-100-python").is_dir(), reason="no CIFAR-100 in $WORKBENCH_DATA"
)
def test_the_catalog_knows_the_real_cifar100():
    source = SOURCES["cifar100"]
    test = load_images("cifar100", "test", REAL)
    meta = (REAL / "cifar-100-python" / "meta").read_bytes()
    assert hashlib.md5(meta).hexdigest() == "7973b15100ade9c7d40fb424638fde48", "official"
    assert tuple(pickle.loads(meta)["fine_label_names"]) == source.classes
    assert tuple(np.bincount(test.labels)) == source.test_images == (100,) * 100
    assert test.pixels.shape == (10_000, *source.shape)
    with (REAL / "cifar-100-python" / "train").open("rb") as file:
        labels = pickle.load(file, encoding="latin1")["fine_labels"]
    assert tuple(np.bincount(labels)) == source.train_images == (500,) * 100


def test_the_catalog_counts_cifar10():
    assert SOURCES["cifar10"].train_images == (5000,) * 10
    assert SOURCES["cifar10"].test_images == (1000,) * 10
    assert len(SOURCES["cifar10"].classes) == 10
