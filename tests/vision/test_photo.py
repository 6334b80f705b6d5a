"""Whatever callers send becomes a small upright square in RGB, or is refused with what would be right."""

from __future__ import annotations

import io
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from harness.photos import jpeg_of_size, png_of_size, saved, webp_of_size
from isochrone.errors import InvalidRequest
from isochrone_vision import photo
from isochrone_vision.photo import MAX_BYTES, MAX_PIXELS, decode

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
FORMATS = ("JPEG", "PNG", "WEBP")
SIDE = 64


def refusal(content: bytes) -> str:
    """What the caller is told, after the name of the field."""
    with pytest.raises(InvalidRequest) as raised:
        decode(content, side=SIDE)
    (violation,) = raised.value.violations
    assert violation.field == "image"
    return violation.description


def colour(pixels: npt.NDArray[np.uint8], x: int, y: int) -> tuple[int, ...]:
    return tuple(pixels[y, x].tolist())


def assert_close(seen: tuple[int, ...], expected: tuple[int, ...], by: int = 12) -> None:
    assert np.abs(np.subtract(seen, expected)).max() <= by, f"{seen} is not {expected}"


def quarters() -> Image.Image:
    """Red, green; blue, white."""
    image = Image.new("RGB", (80, 80), WHITE)
    for place, shade in (((0, 0), RED), ((40, 0), GREEN), ((0, 40), BLUE)):
        image.paste(shade, (*place, place[0] + 40, place[1] + 40))
    return image


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_gives_the_same_picture(format: str) -> None:
    """Up to what compression loses."""
    pixels = decode(saved(quarters(), format, quality=95), side=SIDE)
    assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8)
    for x, y, expected in ((16, 16, RED), (48, 16, GREEN), (16, 48, BLUE), (48, 48, WHITE)):
        assert_close(colour(pixels, x, y), expected)


def test_the_whole_picture_is_in_the_square_with_white_beside_it() -> None:
    """Nothing is cut off, nothing is stretched."""
    pixels = decode(saved(Image.new("RGB", (200, 100), RED)), side=SIDE)
    assert [colour(pixels, 32, y) for y in (0, 15, 16, 47, 48, 63)] == [WHITE, WHITE, RED, RED, WHITE, WHITE]
    assert [colour(pixels, x, 32) for x in (0, 63)] == [RED, RED]


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2), (64, 64)])
def test_pictures_of_any_shape_have_their_square(size: tuple[int, int]) -> None:
    """However thin, there is at least a pixel of it."""
    pixels = decode(saved(Image.new("RGB", size, BLUE)), side=SIDE)
    assert BLUE in (colour(pixels, 31, 31), colour(pixels, 32, 32))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_set_upright(orientation: int, format: str) -> None:
    """A camera that was held sideways says so in EXIF; the model sees what people see."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = saved(quarters().resize((96, 64)), format, exif=exif, quality=95)
    with Image.open(io.BytesIO(stored)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    pixels = decode(stored, side=96)
    wide, tall = expected.size
    left, top = (96 - wide) // 2, (96 - tall) // 2
    for x, y in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
        shown = expected.getpixel((int(x * wide), int(y * tall)))
        assert isinstance(shown, tuple)
        assert_close(colour(pixels, left + int(x * wide), top + int(y * tall)), shown)


@pytest.mark.parametrize("orientation", [0, 9, 4711])
def test_an_orientation_that_does_not_exist_counts_for_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert colour(decode(saved(quarters(), exif=exif), side=SIDE), 16, 16) == RED


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x09", b"rubbish"])
def test_metadata_that_cannot_be_read_does_not_cost_the_picture(exif: bytes) -> None:
    """It is the pixels that count."""
    content = saved(quarters(), "JPEG", quality=95)
    body = struct.pack(">H", len(exif) + 2) + exif
    assert_close(colour(decode(content[:2] + b"\xff\xe1" + body + content[2:], side=SIDE), 16, 16), RED)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (80, 80), 100), (100, 100, 100)),
        (Image.new("1", (80, 80), 1), WHITE),
        (Image.new("LA", (80, 80), (40, 255)), (40, 40, 40)),
        (Image.new("LA", (80, 80), (40, 0)), WHITE),
        (Image.new("RGB", (80, 80), BLUE).convert("P", palette=Image.Palette.ADAPTIVE), BLUE),
        (Image.new("RGBA", (80, 80), (*RED, 255)), RED),
        (Image.new("RGBA", (80, 80), (*RED, 0)), WHITE),
        (Image.new("RGBA", (80, 80), (*RED, 128)), (255, 127, 127)),
        (Image.fromarray(np.full((80, 80), 25_700, np.uint16)), (100, 100, 100)),
    ],
    ids=["grey", "bits", "grey and alpha", "no grey", "palette", "opaque", "clear", "half clear", "16 bits"],
)
def test_pixels_of_every_kind_become_rgb(image: Image.Image, expected: tuple[int, ...]) -> None:
    """Transparent ones over white, as shops show them; 16-bit ones by their upper half."""
    assert_close(colour(decode(saved(image), side=SIDE), 32, 32), expected, by=2)


def test_a_palette_may_have_transparent_colours() -> None:
    image = Image.new("P", (80, 80), 1)
    image.putpalette([*BLUE, *RED])
    assert colour(decode(saved(image, transparency=1), side=SIDE), 32, 32) == WHITE
    assert colour(decode(saved(image, transparency=0), side=SIDE), 32, 32) == RED


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colours_become_rgb(mode: str) -> None:
    """Grey ones, and those that were meant for print."""
    pixels = decode(saved(Image.new("RGB", (400, 300), (200, 200, 200)).convert(mode), "JPEG"), side=SIDE)
    assert_close(colour(pixels, 32, 32), (200, 200, 200))


def test_a_progressive_jpeg_is_a_jpeg() -> None:
    pixels = decode(saved(quarters().resize((800, 800)), "JPEG", progressive=True, quality=90), side=SIDE)
    assert_close(colour(pixels, 48, 16), GREEN)


def test_nothing_is_not_an_image() -> None:
    assert refusal(b"") == "empty; send the bytes of a JPEG, PNG or WebP file"


def test_too_many_bytes_are_counted_before_they_are_read() -> None:
    """The limit is in the answer."""
    assert refusal(bytes(MAX_BYTES + 1)) == "10,485,761 bytes; there may be 10,485,760: send a smaller version"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (saved(Image.new("RGB", (8, 8)), "GIF"), "GIF"),
        (saved(Image.new("RGB", (8, 8)), "BMP"), "BMP"),
        (saved(Image.new("RGB", (8, 8)), "TIFF"), "TIFF"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"\0\0\0\x20ftypheic", "HEIC"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns=", "SVG"),
    ],
)
def test_other_formats_are_named(content: bytes, name: str) -> None:
    """So that whoever sent one knows that it arrived whole."""
    assert refusal(content) == f"a file of format {name}; send a JPEG, PNG or WebP file"


@pytest.mark.parametrize("content", [b"a", b"hello", bytes(100), b"RIFF\0\0\0\0WAVE", b"\0\0\0\x20ftypisom"])
def test_what_is_no_image_at_all_is_said_to_be_none(content: bytes) -> None:
    assert refusal(content) == "not an image in a format that is known here; send a JPEG, PNG or WebP file"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_file_that_is_cut_short_is_refused(format: str, share: float) -> None:
    """Half a picture could be anything."""
    noise = np.random.default_rng(1).integers(256, size=(200, 200, 3), dtype=np.uint8)
    content = saved(Image.fromarray(noise), format)
    name = "WebP" if format == "WEBP" else format
    said = refusal(content[: int(share * len(content))])
    assert said == f"a {name} file that is damaged or cut short; send all of it"


@pytest.mark.parametrize("content", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x08\0\0\0WEBPVP8 "])
def test_a_signature_alone_is_no_image(content: bytes) -> None:
    assert "damaged or cut short" in refusal(content)


@pytest.mark.parametrize("make", [png_of_size, jpeg_of_size, webp_of_size])
def test_pixels_are_counted_before_there_is_room_for_them(make: Any) -> None:
    """A file of a hundred bytes that would fill 600 MB is refused by its header."""
    assert refusal(make(16_000, 12_500)) == ("16,000 by 12,500 pixels; there may be 40,000,000: send a smaller version")


def test_a_picture_may_have_as_many_pixels_as_the_limit() -> None:
    """This one has data for few of them: the JPEG format lets that pass, and the rest is grey."""
    assert decode(jpeg_of_size(4000, MAX_PIXELS // 4000), side=SIDE).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("lossless", [False, True])
def test_a_plain_webp_is_measured_too(lossless: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo, "MAX_PIXELS", 30 * 20 - 1)
    content = saved(Image.new("RGB", (30, 20)), "WEBP", lossless=lossless)
    assert refusal(content).startswith("30 by 20 pixels; there may be 599")


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animated_image_is_refused(format: str) -> None:
    """Which frame shows the goods is not for the mesh to guess."""
    frames = [Image.new("RGB", (80, 80), shade) for shade in (RED, GREEN, BLUE)]
    content = saved(frames[0], format, save_all=True, append_images=frames[1:])
    name = "WebP" if format == "WEBP" else format
    assert refusal(content) == f"an animated {name}; send the one frame that shows the goods"


def test_a_huge_animation_is_refused_by_its_header() -> None:
    assert refusal(webp_of_size(100, 100, flags=2)).startswith("an animated WebP")


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    """A few kilobytes could otherwise cross a large picture a thousand times."""
    content = saved(quarters(), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    assert refusal(content[:-2] + 100 * content[last:-2] + content[-2:]).startswith("a JPEG of more than 100 scans")


def test_the_second_picture_of_a_jpeg_is_left_alone() -> None:
    """Telephones put a depth map or a thumbnail behind the photo."""
    first, second = saved(quarters(), "JPEG", quality=95), saved(Image.new("RGB", (80, 80)), "JPEG")
    assert_close(colour(decode(first + second, side=SIDE), 16, 16), RED)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000 by 3,000 pixels never exist here: 500 by 375 are enough to make 64 of."""
    sizes = []
    reduce = photo._reduced
    monkeypatch.setattr(photo, "_reduced", lambda image, size: (sizes.append(image.size), reduce(image, size))[1])
    decode(saved(quarters().resize((4000, 3000)), "JPEG"), side=SIDE)
    assert sizes == [(500, 375)]


def test_threads_do_not_meet() -> None:
    """Many photos at once come out as they do one by one."""
    contents = [saved(quarters().rotate(10 * k), format) for k in range(6) for format in FORMATS]
    alone = [decode(content, side=SIDE) for content in contents]
    together: dict[int, npt.NDArray[np.uint8]] = {}

    def work(place: int) -> None:
        for _ in range(5):
            together[place] = decode(contents[place], side=SIDE)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(contents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, pixels in together.items():
        np.testing.assert_array_equal(pixels, alone[place])


def test_pillows_own_settings_are_left_alone() -> None:
    """They are the process's, and another library's limits may be lower or higher."""
    before = Image.MAX_IMAGE_PIXELS
    decode(saved(quarters()), side=SIDE)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_seen_or_survived(format: str, data: st.DataObject) -> None:
    """Whatever bytes are changed, the answer is a square or a refusal, never another error."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = bytearray(saved(quarters().convert("P" if format == "PNG" else "RGB"), format, exif=exif))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(content), side=SIDE)
    except InvalidRequest:
        return
    assert pixels.shape == (SIDE, SIDE, 3)


def test_a_file_on_disk_would_be_read_by_its_bytes_alone(tmp_path: Path) -> None:
    """A path is no image: nothing that a caller sends is opened."""
    (tmp_path / "image.png").write_bytes(saved(quarters()))
    assert refusal(str(tmp_path / "image.png").encode()).startswith("not an image")
