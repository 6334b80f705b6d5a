"""A photo as callers send it, made into the small upright RGB square that the model looks at.

Runs beside the node's event loop, in several threads at once: each call has an image of its own, and nothing of
Pillow's settings is touched. Pixels are counted by the header, before there is room for any of them; a JPEG is
then decoded at a fraction of its size, as much as the square can do without. Colours are taken for sRGB.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from isochrone.errors import InvalidRequest
from isochrone_vision.header import Format, format_of, other_format, webp_is_animated, webp_size

MAX_BYTES = 10 * 2**20
MAX_PIXELS = 40_000_000
"""While it is decoded, a WebP of this size takes 600 MB, a transparent PNG 450 MB, a JPEG at most 120 MB."""
MAX_SCANS = 100
"""Each scan of a progressive JPEG crosses the whole picture, however few bytes it has. Encoders make about ten."""
_SPARE = 2
"""By how much a picture exceeds the square before its last, careful reduction."""
_START_OF_SCAN = b"\xff\xda"

_READERS: Mapping[Format, Callable[[io.BytesIO], ImageFile]] = {
    Format.JPEG: JpegImageFile,
    Format.PNG: PngImageFile,
    Format.WEBP: WebPImageFile,
}
# What Pillow raises over damaged files, besides errors of its own.
_DAMAGE = (OSError, SyntaxError, EOFError, ValueError, LookupError, TypeError, OverflowError, struct.error, zlib.error)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""

# Pillow warns of each oddity in a file's metadata; callers' files are not for the operator to mend.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def decode(content: bytes, *, side: int) -> npt.NDArray[np.uint8]:
    """[side, side, 3], RGB. The whole picture is in it, centred, with white beside it where it isn't square.

    Raises InvalidRequest, which says what is wrong and what would be right. An animated image is refused: which of
    its frames shows the goods is for the caller to say.
    """
    if not content:
        raise _invalid("empty; send the bytes of a JPEG, PNG or WebP file")
    if len(content) > MAX_BYTES:
        raise _invalid(f"{len(content):,} bytes; there may be {MAX_BYTES:,}: send a smaller version")
    found = format_of(content)
    if found is None:
        raise _invalid(f"{_described(content)}; send a JPEG, PNG or WebP file")
    try:
        return _square(_open(content, found), side=side)
    except _DAMAGE as error:
        raise _invalid(f"a {found.value} file that is damaged or cut short; send all of it") from error


def _open(content: bytes, found: Format) -> ImageFile:
    """The image, of which no more than the header has been read. Raises InvalidRequest, or what Pillow raises."""
    if found is Format.WEBP:
        _check_size(*webp_size(content))
        if webp_is_animated(content):
            raise _animated(found)
    if found is Format.JPEG and content.count(_START_OF_SCAN) > MAX_SCANS:
        raise _invalid(f"a JPEG of more than {MAX_SCANS} scans; save it anew, or as a PNG")
    # Not by Image.open: it would try formats that nobody asked for, and look up its limit of pixels, which is global.
    image = _READERS[found](io.BytesIO(content))
    _check_size(*image.size)
    if getattr(image, "is_animated", False):
        raise _animated(found)
    return image


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _invalid(f"{width:,} by {height:,} pixels; there may be {MAX_PIXELS:,}: send a smaller version")


def _square(image: ImageFile, *, side: int) -> npt.NDArray[np.uint8]:
    width, height = image.size
    scale = side / max(width, height)
    fitted = max(1, round(width * scale)), max(1, round(height * scale))
    if isinstance(image, JpegImageFile):
        image.draft(None, (_SPARE * fitted[0], _SPARE * fitted[1]))
    image.load()
    small = _opaque(_reduced(image, fitted))
    orientation = _orientation(image)
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    square = Image.new("RGB", (side, side), "white")
    square.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return np.asarray(square)


def _orientation(image: ImageFile) -> object:
    """What EXIF says of it; None where it says nothing that can be read, which is no reason to refuse the picture."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except _DAMAGE:
        return None


def _reduced(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image at that size, in a mode in which colours can be mixed: L, RGB, RGBA or CMYK."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=_SPARE)


def _opaque(image: Image.Image) -> Image.Image:
    """In RGB, over white where it is transparent."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _described(content: bytes) -> str:
    other = other_format(content)
    return f"a file of format {other}" if other else "not an image in a format that is known here"


def _animated(found: Format) -> InvalidRequest:
    return _invalid(f"an animated {found.value}; send the one frame that shows the goods")


def _invalid(description: str) -> InvalidRequest:
    return InvalidRequest.of("image", description)
