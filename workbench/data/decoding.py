"""Decoding of image files to uint8 pixels of one size: rotated upright, scaled and cropped.

Only formats that PIL decodes in this process are read; for some others PIL starts another
program (Ghostscript for EPS). If the format allows it (JPEG), a photo much larger than needed is
decoded at a fraction of its size, but at no less than twice the size needed. This saves time and
memory.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from workbench.data.catalog import Source

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
#: What PIL raises for damaged files, files that are not images, and decompression bombs.
UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError,
    AttributeError, MemoryError, RuntimeError, AssertionError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
_MODES = {1: "L", 3: "RGB"}
_SPARE = 2  # a photo is decoded at no less than this multiple of the size needed
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Form:
    """The format that all images of a set are converted to.

    Attributes:
        channels: 1 (grey) or 3 (colours).
        size: height and width in pixels.
        white: value of a white pixel, at most 255.
    """

    channels: int
    size: int
    white: int = 255

    @property
    def bytes(self) -> int:
        """Bytes of one decoded image."""
        return self.channels * self.size**2


def form_of(source: Source) -> Form:
    """The form of the input images of a network that was trained on ``source``."""
    return Form(source.shape[0], source.shape[1], source.white)


def decode(file: Path | bytes, form: Form) -> NDArray[np.uint8]:
    """Decode the central square of an image; the ends of its long side are cut off.

    Returns:
        uint8, shape (channels, size, size), scaled with antialiasing.

    Raises:
        one of ``UNREADABLE``.
    """
    with open_image(file, form, 1.0) as image:
        return central_square(image, form)


def central_square(image: Image.Image, form: Form) -> NDArray[np.uint8]:
    """The central square of an image in the form's colours, as ``decode`` returns it."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    # Crop and scale in one step, so that a strip of 1 x 100,000 pixels is not enlarged first.
    scaled = image.resize((form.size, form.size), Image.Resampling.BILINEAR, box)
    return to_pixels(scaled, form)


@contextmanager
def open_image(file: Path | bytes, form: Form, share: float) -> Iterator[Image.Image]:
    """Open an image, rotated upright and in the form's colours.

    Args:
        file: its path or content.
        share: part of the image's short side that is scaled to the form's size, in (0, 1].
    """
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, "r", _formats()) as raw:
        least = int(np.ceil(_SPARE * form.size / share))
        raw.draft(_MODES[form.channels], (least, least))
        image = _plain(_upright(raw), raw.format).convert(_MODES[form.channels])
    if not min(image.size):
        raise ValueError("it has no pixels")
    yield image


def to_pixels(image: Image.Image, form: Form) -> NDArray[np.uint8]:
    """Convert to uint8 of shape (channels, height, width), with white at the form's value."""
    pixels = np.asarray(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if form.white != 255:
        pixels = np.rint(pixels * (form.white / 255)).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def check(content: bytes) -> None:
    """Check that a file is a complete image, at a fraction of the cost of full decoding.

    Raises:
        one of ``UNREADABLE``.
    """
    with Image.open(io.BytesIO(content), "r", _formats()) as image:
        image.draft(None, (1, 1))  # reads a whole JPEG, decodes it at an eighth of its size
        image.load()
        if not min(image.size):
            raise ValueError("it has no pixels")
        _check_colours(image, image.format)


def short_side(content: bytes) -> int:
    """Length of the short side in pixels, read from the file's header.

    Raises:
        one of ``UNREADABLE``.
    """
    with Image.open(io.BytesIO(content), "r", _formats()) as image:
        return min(image.size)


def reason(error: BaseException) -> str:
    """Explain to the user why a file cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged: {' '.join(str(error).split())[:80] or type(error).__name__}"


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress PIL's warnings about odd but readable files. Enter it outside of any threads."""
    with warnings.catch_warnings():
        silence()
        yield


def silence() -> None:
    """Suppress the warnings for the rest of the process, as a worker process does."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except UNREADABLE:  # damaged EXIF data in a readable image
        turn = None
    return image if turn is None else image.transpose(turn)


def _check_colours(image: Image.Image, kind: str | None) -> None:
    """Raise ValueError for an image whose pixels are there, but have no certain colours."""
    if image.mode == "F" or (image.mode == "I" and kind != "PPM"):
        raise ValueError("white is not defined for 32 bits a pixel; save it with 8 or 16 bits")
    if image.mode == "P" and image.palette is None:
        raise ValueError("the palette of its colours is missing")


def _plain(image: Image.Image, kind: str | None) -> Image.Image:
    """Convert what PIL converts wrongly: 16-bit grey to 8 bits, transparency to white."""
    _check_colours(image, kind)
    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper.convert("RGB")


@cache
def _formats() -> tuple[str, ...]:
    """The formats of ``FORMATS`` that the installed PIL supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
