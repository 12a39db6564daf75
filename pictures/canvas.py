"""What the pictures share: colours, text, and a chart area that maps values to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

BACKGROUND = (24, 26, 31)
PANEL = (32, 35, 42)
GRID = (58, 62, 72)
TEXT = (226, 229, 235)
FAINT = (150, 156, 168)
COMPUTED = (59, 140, 224)  # as in the panels
REUSED = (122, 127, 138)
LINES = ((96, 170, 245), (240, 160, 75), (120, 205, 120), (210, 130, 230), (235, 100, 110))
SCALE = 2  # drawn twice as large as laid out, so that text stays sharp on a zoomed canvas


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font at a size in layout pixels."""
    return ImageFont.load_default(size * SCALE)


def new_canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty picture of a size in layout pixels, and its pen."""
    picture = Image.new("RGB", (width * SCALE, height * SCALE), BACKGROUND)
    return picture, ImageDraw.Draw(picture)


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int = 12,
    fill: tuple[int, int, int] = TEXT,
    anchor: str = "la",
) -> None:
    """Write text at layout pixels; `anchor` as in Pillow."""
    pen.text((at[0] * SCALE, at[1] * SCALE), text, fill=fill, font=font(size), anchor=anchor)


@dataclass(frozen=True, slots=True)
class Chart:
    """A rectangle in layout pixels with a value range on each axis."""

    box: tuple[float, float, float, float]
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Map values to picture pixels, clamped to the rectangle."""
        left, top, right, bottom = self.box
        across = (x - self.x_range[0]) / ((self.x_range[1] - self.x_range[0]) or 1)
        up = (y - self.y_range[0]) / ((self.y_range[1] - self.y_range[0]) or 1)
        across, up = min(max(across, 0.0), 1.0), min(max(up, 0.0), 1.0)
        return (left + across * (right - left)) * SCALE, (bottom - up * (bottom - top)) * SCALE

    def frame(self, pen: ImageDraw.ImageDraw, title: str, ticks: int = 4) -> None:
        """Draw the ground, horizontal grid lines with their values, the x range and a title."""
        left, top, right, bottom = self.box
        pen.rectangle([left * SCALE, top * SCALE, right * SCALE, bottom * SCALE], fill=PANEL)
        for tick in range(ticks + 1):
            value = self.y_range[0] + (self.y_range[1] - self.y_range[0]) * tick / ticks
            y = self.place(self.x_range[0], value)[1]
            pen.line([(left * SCALE, y), (right * SCALE, y)], fill=GRID, width=SCALE // 2)
            write(pen, (left - 6, y / SCALE), f"{value:.3g}", 10, FAINT, "rm")
        for value, anchor in zip(self.x_range, ("la", "ra"), strict=True):
            x = self.place(value, self.y_range[0])[0] / SCALE
            write(pen, (x, bottom + 4), f"{value:.4g}", 10, FAINT, anchor)
        write(pen, (left, top - 18), title, 12)

    def line(
        self,
        pen: ImageDraw.ImageDraw,
        xs: Sequence[float],
        ys: Sequence[float],
        fill: tuple[int, int, int],
        width: float = 1.5,
    ) -> None:
        """Draw a polyline through the points."""
        points = [self.place(x, y) for x, y in zip(xs, ys, strict=True)]
        pen.line(points, fill=fill, width=round(width * SCALE), joint="curve")
