"""Pictures in rows with a title, captions and a legend, drawn with Pillow: quicker than matplotlib's import."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.report.scale_bar import ScaleBar

# Inches, but for the font size in points.
MARGIN = 0.08
TITLE_HEIGHT = 0.28
TITLE_LINE = 0.2
"""Of each line of a title after the first."""
CAPTION_HEIGHT = 0.22
LEGEND_ROW = 0.26
SWATCH, SWATCH_HEIGHT, SWATCH_GAP, ENTRY_GAP = 0.28, 0.1, 0.08, 0.2
FONT = 10
DPI_RANGE = (110, 250)

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom in dots, the last two excluded."""


@dataclass(frozen=True)
class Sheet:
    """Pictures of one size in rows.

    Attributes:
        pictures: (y, x, 3) uint8 each.
        captions: one for each picture, or none at all.
        columns: pictures in a row.
        legend: names and their colours.
        title: above the pictures, in as many lines as it takes; may be empty.
        cell: width of a picture in inches.
        bar: over the lower left corner of the first picture; None where its scale is not known.
    """

    pictures: Sequence[np.ndarray]
    captions: Sequence[str]
    columns: int
    legend: Sequence[tuple[str, Colour]]
    title: str
    cell: float
    bar: ScaleBar | None = None

    @cached_property
    def dpi(self) -> float:
        """Dots per inch at which an image pixel covers a whole number of dots, if that is not too fine."""
        lowest, highest = DPI_RANGE
        native = self.pictures[0].shape[1] / self.cell
        return min(highest, native * math.ceil(lowest / native))

    @cached_property
    def title_lines(self) -> list[str]:
        """The title in lines that are no wider than the pictures."""
        font, lines = self._font(FONT + 1, "-Bold"), [""]
        room = self.columns * (round(self.cell * self.dpi) + self._dots(MARGIN)) - self._dots(MARGIN)
        for word in self.title.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and font.getlength(longer) > room:
                lines.append(word)
            else:
                lines[-1] = longer
        return [_shortened(line, font, room) for line in lines]

    @cached_property
    def boxes(self) -> list[Box]:
        """Where each picture goes."""
        height, width = self.pictures[0].shape[:2]
        cell, tall = round(self.cell * self.dpi), max(1, round(self.cell * self.dpi * height / width))
        caption = CAPTION_HEIGHT if self.captions else 0.0
        further = self._dots(TITLE_LINE) * (len(self.title_lines) - 1)
        top = self._dots(TITLE_HEIGHT + caption) + further if self.title else self._dots(MARGIN + caption)
        down, across = tall + self._dots(caption + MARGIN), cell + self._dots(MARGIN)
        places = (divmod(index, self.columns) for index in range(len(self.pictures)))
        corners = ((self._dots(MARGIN) + column * across, top + row * down) for row, column in places)
        return [(left, upper, left + cell, upper + tall) for left, upper in corners]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in dots."""
        bottom = max(box[3] for box in self.boxes) + self._dots(MARGIN)
        names = max((row[-1][2] for row in self._rows()), default=0)
        width = self.columns * (self.boxes[0][2] - self.boxes[0][0] + self._dots(MARGIN)) + self._dots(MARGIN)
        height = bottom + len(self._rows()) * self._dots(LEGEND_ROW) + self._dots(MARGIN)
        return max(width, names + self._dots(MARGIN)), height

    @cached_property
    def legend_boxes(self) -> list[Box]:
        """Where each entry of the legend goes, its colour and its name; rows are centred."""
        rows = self._rows()
        indent = (self.size[0] - max((row[-1][2] for row in rows), default=0)) // 2
        row_height = self._dots(LEGEND_ROW)
        top = self.size[1] - self._dots(MARGIN) - len(rows) * row_height
        return [
            (left + indent, top + number * row_height, right + indent, top + (number + 1) * row_height)
            for number, row in enumerate(rows)
            for left, _, right in row
        ]

    def draw(self) -> Image.Image:
        """Return all of it, RGB."""
        sheet = Image.new("RGB", self.size, "white")
        pen = ImageDraw.Draw(sheet)
        plain, bold = self._font(FONT), self._font(FONT + 1, "-Bold")
        for picture, (left, top, right, bottom) in zip(self.pictures, self.boxes, strict=True):
            sheet.paste(_resized(picture, (right - left, bottom - top)), (left, top))
        self._draw_bar(pen)
        for caption, (left, top, right, _) in zip(self.captions, self.boxes, strict=False):
            shown = _shortened(caption, plain, right - left)
            pen.text(((left + right) / 2, top - self._dots(0.06)), shown, "black", plain, anchor="ms")
        for number, line in enumerate(self.title_lines):
            corner = (self._dots(MARGIN), self._dots(0.07) + number * self._dots(TITLE_LINE))
            pen.text(corner, line, "black", bold, anchor="la")
        for (name, colour), (left, top, _, bottom) in zip(self.legend, self.legend_boxes, strict=True):
            middle, half = (top + bottom) / 2, self._dots(SWATCH_HEIGHT) / 2
            pen.rectangle((left, middle - half, left + self._dots(SWATCH), middle + half), colour)
            pen.text((left + self._dots(SWATCH + SWATCH_GAP), middle), name, "black", plain, anchor="lm")
        return sheet

    def _draw_bar(self, pen: ImageDraw.ImageDraw) -> None:
        """Draw the bar white on a black ground, so that it is seen on any picture."""
        if self.bar is None:
            return
        (left, _, right, bottom), font = self.boxes[0], self._font(FONT)
        length, pad, thick = round(self.bar.share * (right - left)), self._dots(0.05), self._dots(0.04)
        wide, tall = (
            max(length, math.ceil(font.getlength(self.bar.text))),
            self._dots(FONT / 72) + thick + pad,
        )
        x, y = left + self._dots(0.1), bottom - self._dots(0.1)
        pen.rectangle((x - pad, y - tall - pad, x + wide + pad, y + pad), "black")
        pen.rectangle((x, y - thick, x + length - 1, y), "white")
        pen.text((x, y - thick - pad / 2), self.bar.text, "white", font, anchor="ld")

    def _rows(self) -> list[list[tuple[int, int, int]]]:
        """The legend's rows: number, left and right of each entry, in columns of one width."""
        if not self.legend:
            return []
        font, fixed = self._font(FONT), self._dots(SWATCH + SWATCH_GAP)
        lengths = [fixed + math.ceil(font.getlength(name)) for name, _ in self.legend]
        column = max(lengths) + self._dots(ENTRY_GAP)
        room = (
            self.boxes[min(self.columns, len(self.boxes)) - 1][2] - self.boxes[0][0] + self._dots(ENTRY_GAP)
        )
        columns = min(len(lengths), max(1, room // column))
        entries = [(i % columns * column, i, i % columns * column + lengths[i]) for i in range(len(lengths))]
        return [entries[start : start + columns] for start in range(0, len(entries), columns)]

    def _font(self, points: float, style: str = "") -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(str(_fonts() / f"DejaVuSans{style}.ttf"), points / 72 * self.dpi)

    def _dots(self, inches: float) -> int:
        return round(inches * self.dpi)


def save_png(sheet: Sheet, path: str | Path) -> Path:
    """Write a sheet as PNG; it appears whole or not at all."""
    with atomic_path(path) as temporary:
        sheet.draw().save(temporary, "PNG", dpi=(sheet.dpi, sheet.dpi))
    return Path(path)


def _shortened(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """Return a text as it is, or without as much of its middle as makes it fit: ends tell files apart."""
    shown, kept = text, len(text)
    while font.getlength(shown) > room and kept > 2:
        kept -= 1
        shown = f"{text[: kept - kept // 2]}\u2026{text[len(text) - kept // 2 :]}"
    return shown


def _fonts() -> Path:
    """Return the folder of the fonts that matplotlib brings, without importing it."""
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None  # noqa: PT018  # the package requires it
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"


def _resized(picture: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Enlarge by whole numbers as it is, by others and down without steps."""
    height, width = picture.shape[:2]
    whole = size[0] % width == 0 and size[1] % height == 0
    filtering = Image.Resampling.NEAREST if whole else Image.Resampling.HAMMING
    return Image.fromarray(picture).resize(size, filtering)
