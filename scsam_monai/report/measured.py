"""Tables and charts of a report from the folder that ``scsam measure`` writes."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.palette import colours_of
from scsam_monai.report.charts import size_histogram
from scsam_monai.report.layers import svg_uri
from scsam_monai.report.page import Picture, Table

TITLES = {"classes": "Classes, measured", "contacts": "Contacts between classes"}
SIZES = {"volume_nm3": "volume, nm³", "area_nm2": "area, nm²"}
Rows = list[dict[str, str]]


def measured_tables(folder: str | Path) -> list[Table]:
    """Return the tables of classes and of contacts.

    Args:
        folder: as ``scsam measure`` wrote it.

    Raises:
        InputError: it holds no such tables.
    """
    tables = []
    for name, title in TITLES.items():
        rows = _rows(Path(folder) / f"{name}.csv")
        if rows:
            header = list(rows[0])
            words = sum(not _is_number(rows[0][key]) for key in header)
            note = f"All rows of {name}.csv, as scsam measure wrote them; units stand in the names."
            cells = [[_cell(row[key]) for key in header] for row in rows]
            tables.append(
                Table(title, [key.replace("_", " ") for key in header], cells, note, len(header) - words)
            )
    return tables


def measured_histograms(folder: str | Path, class_names: list[str]) -> list[Picture]:
    """Return how large the objects of each class are.

    Args:
        folder: as ``scsam measure`` wrote it.
        class_names: of the labels, background first, for the colours.

    Raises:
        InputError: it holds no table of objects.
    """
    rows = _rows(Path(folder) / "objects.csv")
    size = next((key for key in SIZES if rows and key in rows[0]), None)
    if size is None:
        return []
    colours: Mapping[str, list[int]] = dict(zip(class_names, colours_of(class_names).tolist(), strict=True))
    pictures = []
    for name in dict.fromkeys(row["class"] for row in rows):
        values = np.array([float(row[size]) for row in rows if row["class"] == name])
        if len(values) > 2:
            drawn = size_histogram(values, colours.get(name, [128, 128, 128]), SIZES[size], "objects")
            pictures.append(Picture(f"{name}: {len(values):,} objects, measured", svg_uri(drawn)))
    return pictures


def _rows(path: Path) -> Rows:
    if not path.is_file():
        remedy = "name a folder that `scsam measure` wrote"
        raise InputError(path, expected="a table of measurements", met="no such file", remedy=remedy)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == ""
    return True


def _cell(text: str) -> str:
    if not text or not _is_number(text) or text.lstrip("-").isdigit():
        return f"{int(text):,}" if text.lstrip("-").isdigit() else text
    value = float(text)
    return "-" if math.isnan(value) else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
