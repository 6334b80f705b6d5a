"""The goods of a generated shop as they are drawn: a dozen kinds, no two of a kind quite the same.

Each function draws one thing in the frame of a `Pen`: from -1 to 1, y down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from isochrone_vision.build.pen import Colour, Pen, arc


@dataclass(frozen=True, slots=True)
class Paint:
    """The colours of one thing."""

    main: Colour
    dark: Colour
    """The main colour in the shade."""
    light: Colour
    """The main colour in the light."""
    accent: Colour


class Chance:
    """Draws the measures of a thing."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self._rng.random()

    def happens(self, probability: float) -> bool:
        return self._rng.random() < probability

    def count(self, low: int, high: int) -> int:
        """Both included."""
        return int(self._rng.integers(low, high + 1))


def t_shirt(pen: Pen, paint: Paint, chance: Chance) -> None:
    shoulder, waist, sleeve = chance.between(0.38, 0.5), chance.between(0.38, 0.52), chance.between(-0.15, 0.2)
    neck, bottom = chance.between(0.14, 0.24), chance.between(0.7, 0.95)
    outer = [(0.95, sleeve - 0.1), (0.75, sleeve + 0.1)]
    pen.mirrored([(neck, -0.8), (shoulder, -0.75), *outer, (waist, -0.2), (waist, bottom)], paint.main)
    pen.line([(waist, -0.2), (0.62, -0.38)], 0.03, paint.dark)
    pen.line([(-waist, -0.2), (-0.62, -0.38)], 0.03, paint.dark)
    if chance.happens(0.4):
        for row in range(chance.count(1, 3)):
            pen.box(-waist, -0.1 + 0.25 * row, waist, 0.02 + 0.25 * row, paint.accent)
    elif chance.happens(0.5):
        pen.ellipse((0, 0.05), (0.2, chance.between(0.1, 0.25)), paint.accent)
    pen.ellipse((0, -0.8), (neck, chance.between(0.08, 0.2)), paint.dark)


def dress(pen: Pen, paint: Paint, chance: Chance) -> None:
    waist, hem, bust = chance.between(0.16, 0.26), chance.between(0.45, 0.8), chance.between(0.26, 0.36)
    belt, strap = chance.between(-0.3, -0.1), chance.between(0.14, 0.24)
    pen.mirrored([(bust, -0.62), (waist, belt), (hem, 0.95)], paint.main)
    for side in (-1, 1):
        pen.line([(side * strap, -0.6), (side * strap, -0.95)], chance.between(0.06, 0.12), paint.main)
        for fold in (0.2, 0.55):
            pen.line([(side * fold * waist, belt), (side * fold * hem, 0.95)], 0.025, paint.dark)
    if chance.happens(0.6):
        pen.box(-waist, belt - 0.06, waist, belt + 0.06, paint.accent)


def trousers(pen: Pen, paint: Paint, chance: Chance) -> None:
    hip, cuff = chance.between(0.3, 0.42), chance.between(0.1, 0.2)
    apart, crotch = chance.between(0.18, 0.4), chance.between(-0.35, -0.15)
    bottom = chance.between(0.6, 0.98)
    for side in (-1, 1):
        leg = [(0, -0.9), (side * hip * 0.85, -0.9), (side * hip, crotch)]
        foot = [(side * (apart + cuff), bottom), (side * (apart - cuff), bottom), (0, crotch)]
        pen.polygon([*leg, *foot], paint.main if side > 0 else paint.light)
        pen.line([(side * hip * 0.5, crotch), (side * apart, bottom)], 0.02, paint.dark)
    pen.box(-hip * 0.87, -0.95, hip * 0.87, -0.8, paint.accent if chance.happens(0.5) else paint.dark)


def trainers(pen: Pen, paint: Paint, chance: Chance) -> None:
    heel, toe, sole = chance.between(-0.45, -0.25), chance.between(0.0, 0.15), chance.between(0.12, 0.24)
    upper = [(-0.9, 0.4), (-0.88, heel), (-0.4, heel - 0.08), (0.1, -0.05), (0.6, toe), (0.9, 0.25), (0.93, 0.4)]
    pen.polygon(upper, paint.main)
    pen.polygon([(-0.95, 0.38), (0.96, 0.38), (0.92, 0.4 + 0.8 * sole), (-0.92, 0.4 + sole)], paint.light)
    for lace in range(chance.count(2, 4)):
        x = -0.3 + 0.16 * lace
        pen.line([(x, heel + 0.05 + 0.09 * lace), (x + 0.2, heel + 0.2 + 0.07 * lace)], 0.05, paint.accent)
    if chance.happens(0.6):
        pen.line([(-0.6, 0.3), (-0.2, 0.1), (0.3, 0.28)], chance.between(0.06, 0.14), paint.accent)
    pen.polygon([(0.55, 0.38), (0.62, toe + 0.05), (0.9, 0.25), (0.93, 0.38)], paint.dark)


def boots(pen: Pen, paint: Paint, chance: Chance) -> None:
    shaft, top, heel = chance.between(0.2, 0.32), chance.between(-0.98, -0.75), chance.between(0.08, 0.28)
    ankle, toe = chance.between(0.1, 0.3), chance.between(0.6, 0.85)
    back = -0.45
    leg = [(back, top), (back + 2 * shaft, top), (back + 1.7 * shaft, ankle)]
    pen.polygon([*leg, (toe - 0.2, ankle + 0.25), (toe, 0.65), (back, 0.65)], paint.main)
    pen.box(back, 0.62, toe + 0.03, 0.72, paint.dark)
    pen.box(back, 0.7, back + 0.3, 0.7 + heel, paint.dark)
    if chance.happens(0.5):
        pen.box(back, top, back + 2 * shaft, top + chance.between(0.08, 0.2), paint.accent)
    if chance.happens(0.5):
        for row in range(chance.count(2, 4)):
            y = ankle - 0.12 - 0.16 * row
            pen.line([(back + shaft, y), (back + 1.85 * shaft, y)], 0.04, paint.light)


def handbag(pen: Pen, paint: Paint, chance: Chance) -> None:
    top, bottom = chance.between(0.45, 0.85), chance.between(0.6, 0.9)
    rim, floor = chance.between(-0.25, 0.0), chance.between(0.65, 0.9)
    width = chance.between(0.06, 0.12)
    for shift in (0.0, 0.08) if chance.happens(0.5) else (0.0,):
        handle = arc((shift, rim), (chance.between(0.3, 0.45), chance.between(0.5, 0.75)), 180, 360)
        pen.line(handle, width, paint.dark)
    pen.mirrored([(top, rim), (bottom, floor)], paint.main)
    if chance.happens(0.6):
        pen.mirrored([(top, rim), (top * 0.8, rim + chance.between(0.25, 0.45))], paint.light)
    pen.ellipse((0, rim + 0.3), (0.09, 0.09), paint.accent)


def hat(pen: Pen, paint: Paint, chance: Chance) -> None:
    crown, top, brim = chance.between(0.4, 0.55), chance.between(-0.75, -0.45), chance.between(0.12, 0.26)
    pen.ellipse((0, 0.35), (chance.between(0.85, 1.0), brim), paint.dark)
    pen.ellipse((0, 0.31), (0.9, brim * 0.9), paint.main)
    roof = chance.between(0.65, 0.95)
    pen.mirrored([(crown * roof, top), (crown, 0.35)], paint.main)
    pen.ellipse((0, top), (crown * roof, chance.between(0.06, 0.2)), paint.light)
    pen.ellipse((0, 0.35), (crown, 0.1), paint.main)
    pen.mirrored([(crown * 0.97, 0.1), (crown, 0.33)], paint.accent)


def mug(pen: Pen, paint: Paint, chance: Chance) -> None:
    wide, narrow, tall = chance.between(0.48, 0.62), chance.between(0.4, 0.6), chance.between(0.55, 0.8)
    thick = chance.between(0.1, 0.16)
    ring = arc((wide * 0.9, 0.02), (chance.between(0.3, 0.4), chance.between(0.3, 0.42) * tall / 0.7), -95, 95)
    pen.line(ring, thick, paint.dark)
    pen.mirrored([(wide, -tall), (narrow, tall)], paint.main)
    pen.ellipse((0, tall), (narrow, 0.13), paint.main)
    pen.ellipse((0, -tall), (wide, 0.16), paint.light)
    pen.ellipse((0, -tall), (wide * 0.88, 0.12), paint.dark)
    if chance.happens(0.4):
        pen.box(-wide * 0.95, -0.1, wide * 0.95, chance.between(0.0, 0.25), paint.accent)
    elif chance.happens(0.5):
        pen.ellipse((0, 0.1), (0.2, 0.2), paint.accent)


def lamp(pen: Pen, paint: Paint, chance: Chance) -> None:
    top, bottom = chance.between(0.2, 0.42), chance.between(0.5, 0.75)
    edge = chance.between(-0.25, 0.0)
    pen.line([(0, edge), (0, 0.85)], chance.between(0.06, 0.14), paint.dark)
    if chance.happens(0.5):
        pen.ellipse((0, 0.5), (chance.between(0.15, 0.3), 0.3), paint.accent)
    pen.ellipse((0, 0.85), (chance.between(0.3, 0.5), 0.1), paint.dark)
    pen.mirrored([(top, -0.95), (bottom, edge)], paint.main)
    pen.ellipse((0, edge), (bottom, 0.07), paint.light)
    if chance.happens(0.3):
        pen.mirrored([(bottom * 0.95, edge - 0.12), (bottom, edge - 0.02)], paint.accent)


def chair(pen: Pen, paint: Paint, chance: Chance) -> None:
    wide, seat, leg = chance.between(0.45, 0.6), chance.between(0.05, 0.25), chance.between(0.06, 0.11)
    deep, lean = chance.between(0.2, 0.35), chance.between(0.0, 0.12)
    for x in (-wide, wide):
        pen.line([(x * 0.75, seat - deep), (x * 0.75, 0.7)], leg, paint.dark)
        pen.line([(x, seat), (x * 1.05, 0.95)], leg, paint.main)
    pen.polygon(
        [(-wide * 0.8, seat - deep), (wide * 0.8, seat - deep), (wide * 1.1, seat), (-wide * 1.1, seat)], paint.accent
    )
    pen.line([(-wide * 1.1, seat), (wide * 1.1, seat)], 0.1, paint.main)
    for side in (-1, 1):
        pen.line([(side * wide * 0.8, seat - deep), (side * wide * (0.8 + lean), -0.95)], leg, paint.main)
    if chance.happens(0.5):
        pen.box(-wide * 0.85, -0.92, wide * 0.85, chance.between(-0.6, -0.35), paint.main)
    else:
        for rail in range(chance.count(2, 4)):
            pen.line([(-wide * 0.82, -0.9 + 0.2 * rail), (wide * 0.82, -0.9 + 0.2 * rail)], 0.08, paint.main)


def watch(pen: Pen, paint: Paint, chance: Chance) -> None:
    strap, dial, case = chance.between(0.18, 0.28), chance.between(0.3, 0.42), chance.between(0.05, 0.1)
    pen.mirrored([(strap * 0.75, -0.98), (strap, -0.3), (strap, 0.3), (strap * 0.75, 0.98)], paint.main)
    for hole in range(3):
        pen.ellipse((0, 0.62 + 0.12 * hole), (0.035, 0.035), paint.dark)
    pen.ellipse((0, 0), (dial + case, dial + case), paint.accent)
    pen.ellipse((0, 0), (dial, dial), paint.light if chance.happens(0.6) else paint.dark)
    pen.box(dial + case - 0.02, -0.06, dial + case + 0.08, 0.06, paint.accent)
    for length in (0.5, 0.8):
        angle = chance.between(0, 2 * np.pi)
        hand = (length * dial * np.cos(angle), length * dial * np.sin(angle))
        pen.line([(0, 0), hand], 0.05, paint.accent)


def umbrella(pen: Pen, paint: Paint, chance: Chance) -> None:
    wide, tall, edge = chance.between(0.85, 0.98), chance.between(0.6, 0.85), chance.between(-0.05, 0.1)
    hook, width = chance.between(0.1, 0.2), chance.between(0.05, 0.08)
    pen.line([(0, edge - tall - 0.12), (0, 0.8)], width, paint.dark)
    pen.line(arc((hook, 0.8), (hook, 0.15), 180, 0), width, paint.dark)
    panels = chance.count(3, 5)
    step = 2 * wide / panels
    canopy = arc((0, edge), (wide, tall), 180, 360)
    hem = [p for k in range(panels) for p in arc((wide - step * (k + 0.5), edge), (step / 2, 0.09), 360, 180)]
    pen.polygon([*canopy, *hem], paint.main)
    for panel in range(1, panels):
        pen.line([(0, edge - tall), (wide - step * panel, edge)], 0.03, paint.dark)
    if chance.happens(0.4):
        pen.polygon([(0, edge - tall), (wide - step, edge), (wide - 2 * step, edge)], paint.accent)


GOODS: Mapping[str, Callable[[Pen, Paint, Chance], None]] = {
    "T-shirt": t_shirt,
    "dress": dress,
    "trousers": trousers,
    "trainers": trainers,
    "boots": boots,
    "handbag": handbag,
    "hat": hat,
    "mug": mug,
    "lamp": lamp,
    "chair": chair,
    "watch": watch,
    "umbrella": umbrella,
}
"""How each kind is drawn, by the label that the model gives it."""
