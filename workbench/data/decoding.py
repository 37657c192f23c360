"""Image files into uint8 pixels of one size: decoded, upright, scaled, cut.

Only formats whose decoders stay in this process are read: PIL would start other programs for
some (Ghostscript for EPS). A photo much larger than needed is decoded at a fraction of its size
where its format can (JPEG), never below twice what is needed, so time and memory stay small.
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
#: What PIL raises on files that are damaged, or no images, or bombs.
UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError,
    AttributeError, MemoryError, RuntimeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
_MODES = {1: "L", 3: "RGB"}
_SPARE = 2  # a photo is decoded at no less than so many times the size needed
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
    """What every image of a set is made into.

    Attributes:
        channels: 1 (grey) or 3 (colours).
        size: pixels high and wide.
        white: value of a white pixel, at most 255.
    """

    channels: int
    size: int
    white: int = 255

    @property
    def bytes(self) -> int:
        """Of one decoded image."""
        return self.channels * self.size**2


def form_of(source: Source) -> Form:
    """The form in which a network that was trained on ``source`` takes images."""
    return Form(source.shape[0], source.shape[1], source.white)


def decode(file: Path | bytes, form: Form) -> NDArray[np.uint8]:
    """The middle of an image: its short side fits, what the long one has more is cut off.

    Returns:
        uint8, shape (channels, size, size), scaled with antialias.

    Raises:
        one of ``UNREADABLE``.
    """
    with open_image(file, form, 1.0) as image:
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        # Cut and scaled in one step: a strip of 1 x 100,000 pixels is never blown up whole.
        scaled = image.resize((form.size, form.size), Image.Resampling.BILINEAR, box)
    return to_pixels(scaled, form)


@contextmanager
def open_image(file: Path | bytes, form: Form, share: float) -> Iterator[Image.Image]:
    """An image, upright and in the form's colours.

    Args:
        file: its path or content.
        share: of the image's short side that becomes the form's size, in (0, 1].
    """
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, "r", _formats()) as raw:
        least = int(np.ceil(_SPARE * form.size / share))
        raw.draft(_MODES[form.channels], (least, least))
        image = _plain(_upright(raw), raw.format).convert(_MODES[form.channels])
    if not min(image.size):
        raise ValueError("it has no pixels")
    yield image


def to_pixels(image: Image.Image, form: Form) -> NDArray[np.uint8]:
    """uint8 of shape (channels, height, width), white at the form's value."""
    pixels = np.asarray(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if form.white != 255:
        pixels = np.rint(pixels * (form.white / 255)).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def check(content: bytes) -> None:
    """See that a file is a whole image, at a fraction of the cost of decoding it in full.

    Raises:
        one of ``UNREADABLE``.
    """
    with Image.open(io.BytesIO(content), "r", _formats()) as image:
        image.draft(None, (1, 1))  # all of a JPEG is read, an eighth of it is computed
        image.load()
        if not min(image.size):
            raise ValueError("it has no pixels")


def short_side(content: bytes) -> int:
    """Pixels of the short side, from the head of a file.

    Raises:
        one of ``UNREADABLE``.
    """
    with Image.open(io.BytesIO(content), "r", _formats()) as image:
        return min(image.size)


def reason(error: BaseException) -> str:
    """Why a file cannot be read, for people."""
    if isinstance(error, UnidentifiedImageError):
        return "no image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged: {' '.join(str(error).split())[:80] or type(error).__name__}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without PIL's warnings of odd but readable files. Not for threads: enter it around them."""
    with warnings.catch_warnings():
        silence()
        yield


def silence() -> None:
    """The same for good: in a process of its own."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except UNREADABLE:  # a damaged remark beside a sound image
        turn = None
    return image if turn is None else image.transpose(turn)


def _plain(image: Image.Image, kind: str | None) -> Image.Image:
    """What PIL would convert wrongly: 16 bits of grey to 8, and transparency to white paper."""
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PPM"):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel, whose white is not known; save it with 8 or 16")
    if not image.has_transparency_data:
        return image
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper.convert("RGB")


@cache
def _formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that this PIL was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
