"""Tables and charts of a report from the folder that ``scsam measure`` writes."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.errors import InputError
from scsam_monai.io.ome_zarr import LabelLegend
from scsam_monai.report.charts import size_histogram
from scsam_monai.report.layers import svg_uri
from scsam_monai.report.page import Picture, Table
from scsam_monai.report.same_labels import check_labels, read_told

TITLES = {"classes": "Classes, measured", "contacts": "Contacts between classes"}
SIZES = {"volume_nm3": "volume, nm³", "area_nm2": "area, nm²"}
Rows = list[dict[str, str]]
FILE = "measure.json"


@dataclass(frozen=True)
class HowMeasured:
    """What ``measure.json`` says of the labels.

    Attributes:
        class_names: by class id, as they were named for the measurement; empty where the labels name them.
        ignore_label: value of unknown voxels, -1 where there is none.
        voxel_size_nm: (z, y, x); None where it does not say.
        warnings: what could not be checked.
    """

    class_names: dict[int, str]
    ignore_label: int = IGNORE_LABEL
    voxel_size_nm: Sequence[float] | None = None
    warnings: tuple[str, ...] = ()

    def check_voxel_size(self, size: Sequence[float]) -> None:
        """Refuse another voxel size than the one that was measured with.

        Args:
            size: of the axes that the labels have, in nm.

        Raises:
            InputError: it is another one.
        """
        own = size if self.voxel_size_nm is None else self.voxel_size_nm[-len(size) :]
        if not np.allclose(own, size, atol=0):
            raise InputError(
                "--voxel-size-nm",
                expected=f"the voxel size of the figures, {_list(own)}",
                met=_list(size),
                remedy="leave it out, or measure with it, too",
            )


def how_measured(folder: str | Path, labels: Path, axes: str | None = None) -> HowMeasured:
    """Return how figures came about.

    Args:
        folder: as ``scsam measure`` wrote it.
        labels: that the report is on.
        axes: letters of their axes, if the file does not say.

    Raises:
        InputError: it holds no figures, or those of other labels.
    """
    file = Path(folder) / FILE
    told = read_told(file, "figures", {"voxel_size_nm"}, "name a folder that `scsam measure` wrote")
    warnings: tuple[str, ...] = ()
    if "labels_files" in told:
        remedy = f"make them: scsam measure {labels} FIGURES"
        check_labels(file, told, "labels", labels, axes, f"the figures of {labels}", remedy)
    else:
        warnings = (f"Whether the figures are of these labels could not be checked: {file} does not tell.",)
    names = {int(value): str(name) for value, name in (told.get("class_names") or {}).items()}
    ignored = told.get("ignore_label", IGNORE_LABEL)
    return HowMeasured(names, -1 if ignored is None else ignored, told["voxel_size_nm"], warnings)


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


def measured_histograms(folder: str | Path, legend: LabelLegend) -> list[Picture]:
    """Return how large the objects of each class are.

    Args:
        folder: as ``scsam measure`` wrote it.
        legend: names and colours of the labels.

    Raises:
        InputError: it holds no table of objects.
    """
    rows = _rows(Path(folder) / "objects.csv")
    size = next((key for key in SIZES if rows and key in rows[0]), None)
    if size is None:
        return []
    colours = dict(zip(legend.class_names, legend.colours.tolist(), strict=True))
    pictures = []
    for name in dict.fromkeys(row["class"] for row in rows):
        values = np.array([float(row[size]) for row in rows if row["class"] == name])
        if len(values) > 2:
            drawn = size_histogram(values, colours.get(name, [128, 128, 128]), SIZES[size], "objects")
            pictures.append(Picture(f"{name}: {len(values):,} objects, measured", svg_uri(drawn)))
    return pictures


def _list(size: Sequence[float]) -> str:
    return ",".join(f"{edge:g}" for edge in size)


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
