"""Photos of the generated shop's goods, as sellers might send them: in any light, on any ground, as JPEG files."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from isochrone_vision import photo
from isochrone_vision.build.goods import GOODS, Chance, Paint
from isochrone_vision.build.pen import Colour, Pen, Pose

LABELS = tuple(GOODS)
_LONG_SIDE = 112
_SHAPES = ((112, 112), (112, 84), (84, 112), (112, 98), (98, 112))
"""Width and height of the photos, in pixels."""
_CONTRAST = 150
"""The least that a thing's colour differs from the ground's, over red, green and blue together."""


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """p photos."""

    pixels: npt.NDArray[np.uint8]
    """[p, side, side, 3], as the service decodes them."""
    kinds: npt.NDArray[np.int64]
    """[p], what is on each: a place in LABELS."""
    files: list[bytes]
    """The first few as JPEG files."""

    def __len__(self) -> int:
        return len(self.kinds)


def take_photos(
    count: int,
    *,
    side: int,
    rng: np.random.Generator,
    kept_files: int = 0,
    advance: Callable[[int], object] = lambda photos: None,
) -> Photos:
    """So many photos, each kind as often as any other; `advance` is told of them as they are taken."""
    kinds = rng.permutation(np.arange(count) % len(LABELS))
    pixels = np.empty((count, side, side, 3), np.uint8)
    files = []
    for place, kind in enumerate(kinds.tolist()):
        file = take_photo(LABELS[kind], rng)
        pixels[place] = photo.decode(file, side=side)
        if place < kept_files:
            files.append(file)
        advance(1)
    return Photos(pixels, kinds, files)


def take_photo(label: str, rng: np.random.Generator) -> bytes:
    """A JPEG file with one thing of that kind on it."""
    chance = Chance(rng)
    width, height = _SHAPES[chance.count(0, len(_SHAPES) - 1)]
    near, far = _ground_colours(chance)
    image = _ground(width, height, near=near, far=far, chance=chance)
    scale = min(width, height) / 2 * chance.between(0.78, 0.95)
    slack = max(0.0, min(width, height) / 2 - scale) + 4
    pose = Pose(
        centre=(width / 2 + chance.between(-slack, slack), height / 2 + chance.between(-slack, slack)),
        scale=scale,
        turn=chance.between(-0.25, 0.25),
        squeeze=chance.between(0.88, 1.1) * (1 if chance.happens(0.5) else -1),
        shear=chance.between(-0.06, 0.06),
    )
    pen = Pen(image, pose)
    pen.ellipse((0.05, 0.9), (chance.between(0.5, 0.9), 0.12), _shade(far, chance.between(0.7, 0.95)))
    GOODS[label](pen, _paint(near, chance), chance)
    if chance.happens(0.12):  # a sticker, or a thumb
        pen.ellipse(
            (chance.between(-0.9, 0.9), chance.between(-0.9, 0.9)), (0.16, chance.between(0.1, 0.2)), _any(chance)
        )
    if chance.happens(0.25):
        image = image.filter(ImageFilter.GaussianBlur(chance.between(0.4, 1.3)))
    return _developed(image, chance, rng)


def _ground_colours(chance: Chance) -> tuple[Colour, Colour]:
    """Behind the thing and below it. Half of the sellers have a wall that is nearly white."""
    if chance.happens(0.5):
        level = round(chance.between(200, 255))
        near: Colour = (level, level, level)
    else:
        near = _any(chance)
    return near, _shade(near, chance.between(0.75, 1.1)) if chance.happens(0.8) else _any(chance)


def _ground(width: int, height: int, *, near: Colour, far: Colour, chance: Chance) -> Image.Image:
    ramp = np.linspace(0, 1, height)[:, None, None]
    if chance.happens(0.4):  # a table's edge
        ramp = (ramp > chance.between(0.45, 0.85)).astype(np.float64)
    rows = (np.array(near) * (1 - ramp) + np.array(far) * ramp).astype(np.uint8)
    image = Image.fromarray(rows).resize((width, height), Image.Resampling.NEAREST)
    pen = Pen(image, Pose(centre=(width / 2, height / 2), scale=_LONG_SIDE / 2))
    for _ in range(chance.count(0, 2)):  # what else lies about
        start, end = ((chance.between(-1.2, 1.2), chance.between(-1.2, 1.2)) for _ in range(2))
        pen.line([start, end], chance.between(0.02, 0.1), _shade(near, chance.between(0.8, 1.1)))
    return image


def _paint(ground: Colour, chance: Chance) -> Paint:
    main = _any(chance)
    while sum(abs(a - b) for a, b in zip(main, ground, strict=True)) < _CONTRAST:
        main = _any(chance)
    light = _shade(main, chance.between(1.1, 1.5))
    return Paint(main=main, dark=_shade(main, chance.between(0.4, 0.75)), light=light, accent=_any(chance))


def _any(chance: Chance) -> Colour:
    """Of any hue; not quite black, and not as gaudy as a screen can do."""
    red, green, blue = colorsys.hsv_to_rgb(chance.between(0, 1), chance.between(0, 0.9), chance.between(0.12, 1))
    return round(255 * red), round(255 * green), round(255 * blue)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(part * factor + (10 if factor > 1 else 0))) for part in colour)
    return red, green, blue


def _developed(image: Image.Image, chance: Chance, rng: np.random.Generator) -> bytes:
    """The picture in its light, through a cheap sensor, as a JPEG file."""
    width, height = image.size
    # Rows of red, green, blue, red …: numpy is several times slower over a last axis of three.
    across = np.linspace(-1, 1, width, dtype=np.float32).repeat(3)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    tint = np.tile(np.array([chance.between(0.9, 1.1) for _ in range(3)], np.float32), width)
    grain = rng.standard_normal((height, width), np.float32).repeat(3, axis=1)
    seen = np.asarray(image).reshape(height, 3 * width) * tint
    seen *= chance.between(0.75, 1.1) + chance.between(-0.25, 0.25) * across + chance.between(-0.25, 0.25) * down
    seen += chance.between(0, 10) * grain
    pixels = seen.clip(0, 255, out=seen).astype(np.uint8).reshape(height, width, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=chance.count(30, 92))
    return file.getvalue()
