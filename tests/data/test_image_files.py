"""Image files into pixels: decoded alike everywhere, held in memory or streamed from disk."""

import io
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.compression.narrow_networks import build_narrow
from workbench.data import folder_images
from workbench.data.crop_boxes import cut_batch, draw_boxes, pixel_boxes
from workbench.data.decoding import UNREADABLE, Form, check, decode
from workbench.data.folder_files import list_folder
from workbench.data.folder_images import find_source, load_folder
from workbench.data.image_batches import batches, open_feed
from workbench.data.streamed_images import Stream, decode_box
from workbench.errors import DataError
from workbench.models.processor import resolve_processor
from workbench.models.weight_files import Card
from workbench.training.evaluation import evaluate
from workbench.training.loop import fit
from workbench.training.plans import Plan

CPU = torch.device("cpu")
COUNTS = {"cat": 9, "dog": 12}


@pytest.fixture
def pets(tmp_path, draw_folder):
    return draw_folder(tmp_path / "pets", COUNTS, size=(80, 96))


def load(path, monkeypatch=None, *, streamed=False, size=64, **options):
    """Source and images of a folder, streamed when asked for."""
    if streamed:
        monkeypatch.setattr(folder_images, "MEMORY_LIMIT", 0)
    source = find_source(str(path), size)
    return source, *load_folder(list_folder(path), source, **options)


def pixels_of(images, size=8):
    return torch.cat([pixels for pixels, _ in batches(images, size, CPU)])


# --- one file ----------------------------------------------------------------------------------


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    decoded = decode(save(tmp_path / "a.png", pixels), Form(3, 8))
    np.testing.assert_array_equal(decoded, pixels.transpose(2, 0, 1))


def test_the_middle_square_is_taken(tmp_path):
    pixels = np.zeros((8, 24, 3), dtype=np.uint8)
    pixels[:, 8:16] = 200
    assert (decode(save(tmp_path / "a.png", pixels), Form(3, 8)) == 200).all()


def test_a_photo_is_turned_upright(tmp_path):
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:8] = 200
    tag = Image.Exif()
    tag[0x0112] = 3  # upside down
    turned = decode(save(tmp_path / "a.png", pixels, exif=tag), Form(3, 16))
    np.testing.assert_array_equal(turned, pixels[::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_colours_becomes_the_networks(tmp_path, mode, channels):
    suffix = "tif" if mode == "CMYK" else "png"
    image = Image.new("L", (10, 10), 255)
    (image if mode == "L" else image.convert(mode)).save(tmp_path / f"a.{suffix}")
    found = decode(tmp_path / f"a.{suffix}", Form(channels, 8))
    np.testing.assert_array_equal(found, np.full((channels, 8, 8), 255))


def test_sixteen_bits_of_grey_are_scaled(tmp_path):
    path = save(tmp_path / "a.png", np.full((8, 8), 32896, dtype=np.uint16))
    assert (decode(path, Form(3, 8)) == 128).all()


def test_a_portable_greymap_is_scaled_from_its_own_white(tmp_path):
    for white in (65535, 1023):
        values = np.array([[0, white // 2, white, white]] * 4, dtype=">u2")
        (tmp_path / "a.pgm").write_bytes(f"P5 4 4 {white}\n".encode() + values.tobytes())
        assert decode(tmp_path / "a.pgm", Form(1, 4))[0, 0].tolist() == pytest.approx(
            [0, 127, 255, 255], abs=1
        )


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_without_a_known_white_are_rejected(tmp_path, kind):
    Image.fromarray(np.ones((8, 8), dtype=kind)).save(tmp_path / "a.tif")
    with pytest.raises(UNREADABLE, match="white is not defined"):
        decode(tmp_path / "a.tif", Form(3, 8))


def test_what_is_transparent_lies_on_white(tmp_path):
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)  # black everywhere
    pixels[:4, :, 3] = 255
    found = decode(save(tmp_path / "a.png", pixels), Form(3, 8))
    assert (found[:, :4] == 0).all()
    assert (found[:, 4:] == 255).all()


def test_white_is_the_networks(tmp_path):
    pixels = np.full((8, 8), 255, dtype=np.uint8)
    assert (decode(save(tmp_path / "a.png", pixels), Form(1, 8, 16)) == 16).all()


def test_a_reduced_decoding_is_close_to_the_full_one(tmp_path):
    """A large JPEG is decoded at a fraction of its size; the mean must not move."""
    rows, columns = np.mgrid[:600, :600]
    pixels = np.stack([rows * 255 / 600, columns * 255 / 600, rows * 0 + 90], axis=2)
    path = save(tmp_path / "a.jpg", pixels.astype(np.uint8), quality=95)
    exact = np.asarray(Image.open(path).resize((64, 64), Image.Resampling.BILINEAR))
    difference = decode(path, Form(3, 64)).transpose(1, 2, 0) - exact.astype(float)
    assert np.abs(difference).max() < 5
    assert np.abs(difference.mean()) < 0.5


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xff\xd8"]
)
def test_what_is_no_whole_image_is_unreadable(content):
    for read in (check, lambda data: decode(data, Form(3, 8))):
        with pytest.raises(UNREADABLE):
            read(content)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tif"])
def test_a_file_that_was_cut_off_is_unreadable(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = save(tmp_path / f"a.{suffix}", noise).read_bytes()
    check(content)
    with pytest.raises(UNREADABLE):
        check(content[: len(content) // 2])


def without_palette():
    """A PNG of numbers of colours, without its colours."""
    file = io.BytesIO()
    Image.new("P", (12, 9)).save(file, "PNG")
    content = file.getvalue()
    start = content.index(b"PLTE") - 4
    length = int.from_bytes(content[start : start + 4], "big")
    return content[:start] + content[start + 12 + length :]


def of_real_numbers():
    file = io.BytesIO()
    Image.fromarray(np.ones((9, 12), np.float32)).save(file, "TIFF")
    return file.getvalue()


@pytest.mark.parametrize("make", [without_palette, of_real_numbers])
def test_a_stream_skips_the_images_that_a_set_in_memory_skips(make, pets, monkeypatch):
    (pets / "cat/odd.png").write_bytes(make())
    said = []
    _, train, test = load(pets, say=said.append)
    _, *streamed = load(pets, monkeypatch, streamed=True, say=said.append)
    assert [len(train), len(test)] == [len(images) for images in streamed]
    assert len(said) == 2
    assert said[0] == said[1]
    assert "cat/odd.png" in said[0]


# --- random parts ------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(64, 64), (500, 375), (1, 90), (7, 7)])
def test_parts_lie_inside_and_have_a_quarter_of_the_area_or_more(height, width):
    boxes = draw_boxes(2000, True, torch.Generator().manual_seed(0))
    top, left, tall, wide = pixel_boxes(boxes, height, width).unbind(1)
    assert (torch.stack([top, left]) >= 0).all()
    assert (torch.stack([tall, wide]) >= 1).all()
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()
    if min(height, width) == 64:
        share = (tall * wide).double() / (height * width)
        assert share.min() > 0.23
        assert 0.55 < share.mean() < 0.65  # a few of the largest are clipped to the image


def test_a_part_is_the_same_from_memory_and_from_a_file(tmp_path):
    rows, columns = np.mgrid[:64, :64]
    pixels = np.stack([rows * 4, columns * 4, (rows + columns) * 2], axis=2).astype(np.uint8)
    path = save(tmp_path / "a.png", pixels)
    boxes = draw_boxes(50, True, torch.Generator().manual_seed(1))
    whole = torch.from_numpy(decode(path, Form(3, 64))).expand(50, -1, -1, -1)
    from_memory = cut_batch(whole, boxes).double()
    from_file = np.stack([decode_box(path, Form(3, 64), box) for box in boxes.numpy()])
    assert np.abs(from_memory.numpy() - from_file).max() <= 4  # grey levels, at the edges


def test_the_whole_image_is_its_own_part():
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    whole = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64).expand(3, -1)
    assert torch.equal(cut_batch(images, whole), images)
    mirrored = whole.clone()
    mirrored[:, 4] = 1
    assert torch.equal(cut_batch(images, mirrored), images.flip(3))


# --- folders as sets ---------------------------------------------------------------------------


def test_a_folder_streamed_is_the_folder_in_memory(pets, monkeypatch):
    _, *held = load(pets)
    _, *streamed = load(pets, monkeypatch, streamed=True)
    for one, other in zip(held, streamed, strict=True):
        assert isinstance(other, Stream)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert torch.equal(pixels_of(one), pixels_of(other))
        assert one.fingerprint() == other.fingerprint()


def test_the_fingerprint_follows_the_content_and_nothing_else(pets):
    before = load(pets)[1].fingerprint()
    for path in pets.rglob("*.png"):
        os.utime(path, (1, 1))
    moved = pets.rename(pets.with_name("elsewhere"))
    assert load(moved)[1].fingerprint() == before
    assert load(moved, size=72)[1].fingerprint() != before
    changed, _ = list_folder(moved).files("train")[0]
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert load(moved)[1].fingerprint() != before


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_epoch_does_not_depend_on_the_workers(pets, monkeypatch, workers):
    source, train, _ = load(pets, monkeypatch, streamed=True)

    def epoch(images):
        feed = open_feed(images, source, CPU)
        return list(feed([5, 5, 3], True, torch.Generator().manual_seed(3)))

    wanted = epoch(replace(train, workers=2))
    for (pixels, labels), (images, classes) in zip(
        epoch(replace(train, workers=workers)), wanted, strict=True
    ):
        assert torch.equal(pixels, images)
        assert torch.equal(labels, classes)


def test_an_epoch_of_a_stream_sees_the_parts_that_were_drawn(pets, monkeypatch):
    source, train, _ = load(pets, monkeypatch, streamed=True)
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(len(train), generator=generator)
    boxes = draw_boxes(len(train), True, generator).numpy()
    feed = open_feed(train, source, CPU)
    seen = torch.cat([b for b, _ in feed([9, 8], True, torch.Generator().manual_seed(3))])
    for pixels, place, box in zip(seen, order, boxes, strict=True):
        np.testing.assert_array_equal(
            pixels.numpy(), decode_box(train.files[place], train.form, box)
        )


def test_a_training_on_a_stream_learns_and_can_be_repeated(pets, monkeypatch):
    source, train, test = load(pets, monkeypatch, streamed=True)
    plan = Plan(8, "one-cycle", 4, 0.05, 8, 1e-4, True)
    cpu = resolve_processor("cpu", "fp32")
    weights = []
    for _ in range(2):
        model = build_narrow("simplecnn", source.shape, 2, (8,) * 8, seed=0)
        progress = fit(model, train, source, plan, seed=0, processor=cpu)
        weights.append(torch.cat([value.flatten() for value in model.parameters()]))
    assert torch.equal(*weights)
    assert progress.epochs[-1].loss < progress.epochs[0].loss
    assert 0 <= evaluate(model, test, source, cpu).hits <= len(test)


def test_what_is_no_image_is_skipped_and_named(pets):
    said = []
    for name in ("cat/notes.txt", "dog/zero.png"):
        (pets / name).write_text("no image" if "notes" in name else "")
    whole = (pets / "dog" / "000.png").read_bytes()
    (pets / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    _, train, test = load(pets, say=said.append)
    assert len(train) + len(test) == 21
    (line,) = said
    assert "skipped 3 files (damaged: 1, not an image: 2)" in line
    assert all(name in line for name in ("cat/notes.txt", "dog/zero.png", "dog/cut.png"))
    with pytest.raises(DataError) as error:
        load(pets, strict=True)
    assert len(error.value.problems) == 3


def test_the_same_image_in_both_splits_is_told(pets):
    folder = list_folder(pets)
    (test, _), (learned, _) = folder.files("test")[0], folder.files("train")[0]
    test.write_bytes(learned.read_bytes())
    said = []
    load(pets, say=said.append)
    assert "test images are also training images under another name (1)" in said[0]


def test_a_class_of_damaged_files_is_told(pets):
    for path in (pets / "cat").iterdir():
        path.write_text("no image")
    with pytest.raises(DataError, match=r"pets/cat: has no images"):
        load(pets)


def test_a_file_that_goes_away_while_it_is_needed_is_named(pets, monkeypatch):
    _, train, _ = load(pets, monkeypatch, streamed=True)
    train.files[3].unlink()
    with pytest.raises(DataError, match=r"can no longer be read .*; restore it"):
        pixels_of(train)


def test_the_usual_size_is_that_of_small_images_and_224_of_large_ones(tmp_path, draw_folder):
    draw_folder(tmp_path / "small", COUNTS, size=(20, 24))
    draw_folder(tmp_path / "large", {"cat": 3, "dog": 3}, size=(300, 400), suffix=".jpg")
    small, large = (find_source(str(tmp_path / name)) for name in ("small", "large"))
    assert small.shape == (3, 24, 24)
    assert large.shape == (3, 224, 224)
    assert (small.model, large.model) == ("simplecnn", "torchvision:resnet18")


def test_mean_and_spread_are_those_of_the_training_images(pets):
    source, train, _ = load(pets)
    scaled = pixels_of(train).double() / 255
    assert source.mean == pytest.approx(scaled.mean(dim=(0, 2, 3)).tolist(), abs=2e-4)
    assert source.std == pytest.approx(
        (scaled**2).mean(dim=(0, 2, 3)).sub(scaled.mean(dim=(0, 2, 3)) ** 2).sqrt().tolist(),
        abs=2e-4,
    )


def test_a_prediction_sees_the_pixels_that_a_training_saw(pets):
    from workbench.data.augmentation import normalise
    from workbench.deployment.predict import prepare

    source, train, _ = load(pets)
    card = Card.of("simplecnn", source, source.classes)
    paths = [path for path, _ in list_folder(pets).files("train")]
    np.testing.assert_allclose(
        prepare(paths, card), normalise(pixels_of(train), source).numpy(), atol=1e-5
    )


# --- memory ------------------------------------------------------------------------------------

_PASS = """
import resource, sys, torch
from pathlib import Path
from dataclasses import replace
from workbench.data import folder_images
from workbench.data.catalog import SOURCES
from workbench.data.folder_files import list_folder
from workbench.data.image_batches import batches, open_feed

source = replace(SOURCES["cifar100"], shape=(3, 224, 224))
folder = list_folder(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
train, test = folder_images.load_folder(folder, source)
feed = open_feed(train, source, torch.device("cpu"))
for pixels, labels in feed([64] * (len(train) // 64), True, torch.Generator()):
    pass
for pixels, labels in batches(test, 256, torch.device("cpu")):
    pass
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before
print(type(train).__name__, len(train) + len(test), own // 1024, workers // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux counts it")
def test_five_thousand_photos_pass_in_bounded_memory(tmp_path):
    """Decoded they are 3.75 GB, and 750 MB at the network's size; a pass may add 300 MB."""
    drawing = np.random.default_rng(0)
    originals = []
    for number in range(10):
        coarse = drawing.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(coarse).resize((500, 500)).save(path, quality=80)
        originals.append(path.read_bytes())
    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(2500):
            # A remark behind the image makes each file one of its own.
            content = originals[number % 10] + f"{label}{number}".encode()
            (tmp_path / "photos" / label / f"{number}.jpg").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", _PASS, str(tmp_path / "photos")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kind, images, own, workers = done.stdout.split()
    assert (kind, images) == ("Stream", "5000")
    assert int(own) < 300
    assert int(workers) < 300
