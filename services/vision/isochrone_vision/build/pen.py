"""Drawing in the goods' own frame, wherever and however they stand on the picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

_ROUND = 24
"""Corners of an ellipse: at 64 pixels nobody counts them."""


@dataclass(frozen=True, slots=True)
class Pose:
    """How the frame, in which goods reach from -1 to 1 and y points down, lies on the picture."""

    centre: Point
    """In pixels."""
    scale: float
    """Pixels for one unit."""
    turn: float = 0.0
    """In radians."""
    squeeze: float = 1.0
    """Of the width; below 0 it is mirrored."""
    shear: float = 0.0

    def matrix(self) -> npt.NDArray[np.float64]:
        """[2, 2], from the frame to pixels around the centre."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        turned = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, self.shear], [0.0, 1.0]])
        matrix: npt.NDArray[np.float64] = self.scale * turned @ np.diag([self.squeeze, 1.0])
        return matrix


class Pen:
    """Draws on an image in the frame of a pose."""

    def __init__(self, image: Image.Image, pose: Pose) -> None:
        self._draw = ImageDraw.Draw(image)
        self._matrix = pose.matrix()
        self._centre = np.array(pose.centre)
        self._scale = pose.scale

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon(self._placed(points), fill=colour)

    def mirrored(self, half: Sequence[Point], colour: Colour) -> None:
        """A polygon that is symmetrical about x = 0, of which `half` are the corners on one side, downwards."""
        self.polygon([*half, *((-x, y) for x, y in reversed(half))], colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def ellipse(self, centre: Point, radii: Point, colour: Colour) -> None:
        self.polygon(arc(centre, radii, 0.0, 360.0), colour)

    def line(self, points: Iterable[Point], width: float, colour: Colour) -> None:
        """`width` in units of the frame."""
        pixels = max(1, round(width * self._scale))
        self._draw.line(self._placed(list(points)), fill=colour, width=pixels, joint="curve")

    def _placed(self, points: Sequence[Point]) -> list[float]:
        placed: list[float] = (np.array(points) @ self._matrix.T + self._centre).ravel().tolist()
        return placed


def arc(centre: Point, radii: Point, start_deg: float, end_deg: float) -> list[Point]:
    """Points on an ellipse from one angle to another; 0 is to the right, 90 down."""
    return [(centre[0] + radii[0] * x, centre[1] + radii[1] * y) for x, y in _circle(start_deg, end_deg)]


@cache
def _circle(start_deg: float, end_deg: float) -> list[Point]:
    """The same few parts of the same circle are asked for all the time."""
    angles = np.radians(np.linspace(start_deg, end_deg, _ROUND))
    return list(zip(np.cos(angles).tolist(), np.sin(angles).tolist(), strict=True))
