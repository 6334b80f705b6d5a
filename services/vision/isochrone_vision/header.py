"""What an image file says of itself in its first bytes: its format, and for a WebP how large it is.

Pillow reads the size of a JPEG or a PNG without decoding it, but for a WebP makes its decoder, canvas and all.
"""

from __future__ import annotations

import enum

_OTHERS = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}
_ANIMATED = 0x02
"""A flag of an extended WebP."""


class Format(enum.Enum):
    """The formats that are read."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"


def format_of(content: bytes) -> Format | None:
    """By its signature; None for any other."""
    if content.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return Format.WEBP
    return None


def other_format(content: bytes) -> str | None:
    """What people call a format that isn't read, "GIF"; None for one that isn't known either."""
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12])
    return next((name for signature, name in _OTHERS if content.startswith(signature)), None)


def webp_size(content: bytes) -> tuple[int, int]:
    """Width and height of a WebP in pixels. Raises ValueError where its header isn't one."""
    chunk, body = content[12:16], content[20:30]
    if chunk == b"VP8X" and len(body) == 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) == 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    if chunk == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ValueError("not the header of a WebP")


def webp_is_animated(content: bytes) -> bool:
    """Of a WebP whose header has been read."""
    return content[12:16] == b"VP8X" and bool(content[20] & _ANIMATED)
