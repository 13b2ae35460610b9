"""One HTML file that holds a whole report: pictures, tables, charts, and what it takes to do the same again.

Nothing in it is fetched from anywhere; a policy in its head has browsers refuse what would be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from scsam_monai._version import __version__
from scsam_monai.filesystem.atomic import atomic_path, write_errors
from scsam_monai.report.scale_bar import ScaleBar


@dataclass(frozen=True)
class LegendEntry:
    """A class, with the colour ``#rrggbb`` of its layers."""

    index: int
    name: str
    colour: str


@dataclass(frozen=True)
class Layer:
    """A picture that lies over the image: a data URI."""

    uri: str
    index: int | None = None
    """The class it shows."""


@dataclass(frozen=True)
class Sheet:
    """An image and what lies over it.

    Attributes:
        title: what is seen.
        width: of the image in pixels.
        height: the same.
        image: a data URI.
        layers: of the classes, each as large as the image.
        maps: data URIs of maps by name, each as large as the image.
        bar: over its lower left corner; None where its scale is not known.
    """

    title: str
    width: int
    height: int
    image: str
    layers: Sequence[Layer]
    maps: dict[str, str] = field(default_factory=dict)
    bar: ScaleBar | None = None


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; ``numeric`` counts the columns from the right that are numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    numeric: int = 0


@dataclass(frozen=True)
class Picture:
    """A chart or a picture, as a data URI, with its caption."""

    caption: str
    uri: str
    wide: bool = False


@dataclass
class Page:
    """What a report says.

    Attributes:
        title: at its top.
        subtitle: a line below it.
        warnings: plain sentences about what to be careful with.
        legend: the classes that the sheets show.
        sheets: images with layers.
        tables: scores, fractions, sizes.
        pictures: charts and panels.
        provenance: what was computed from what with what, by name.
        commands: lines that do it again.
        details: long texts by name, folded away.
        next_steps: lines to type next, each with what it does.
        credits: of images that somebody else made.
    """

    title: str
    subtitle: str = ""
    warnings: list[str] = field(default_factory=list)
    legend: list[LegendEntry] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)
    next_steps: list[tuple[str, str]] = field(default_factory=list)
    credits: list[str] = field(default_factory=list)


def render(page: Page) -> str:
    """Return the HTML of a page; every text in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("scsam_monai.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(page=page, version=__version__)


def write_page(page: Page, target: str | Path) -> Path:
    """Write a page as one HTML file, which appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    text = render(page)
    with write_errors(target), atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(target)
