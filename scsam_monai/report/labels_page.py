"""The report on a segmentation: the image with its labels, how much there is of each class, how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.errors import InputError
from scsam_monai.inference.job import product_path
from scsam_monai.inference.products import Product
from scsam_monai.io.intensity import eight_bits, intensity_range_of
from scsam_monai.io.label_legend import read_legend
from scsam_monai.io.ome_zarr import LabelLegend
from scsam_monai.io.volume import VolumeReader, open_volume
from scsam_monai.io.voxel_size import as_voxel_size
from scsam_monai.measure.recorded import recorded_job
from scsam_monai.progress import Progress
from scsam_monai.report.charts import size_histogram
from scsam_monai.report.layers import class_layer, grey_layer, map_layer, svg_uri
from scsam_monai.report.measured import measured_histograms, measured_tables
from scsam_monai.report.page import Layer, LegendEntry, Page, Picture, Sheet, Table
from scsam_monai.report.provenance import is_shipped, predict_command, segmentation_facts
from scsam_monai.report.survey import Survey, evenly_spaced, read_classes, survey
from scsam_monai.report.volume_picture import richest_slice

SIDE = 1536
"""Pixels along a side of a picture; of larger sections the middle is shown."""
CANDIDATES = 9
"""Sections, evenly spaced, of which some are shown."""
SHOWN = 3
"""Sections shown: of each third of the candidates the one with most classes."""
HIGHEST = {Product.CONFIDENCE: 255, Product.DISAGREEMENT: 3}
"""What is drawn brightest in a map."""
UNSURE = 0.6
"""Mean probability of the drawn classes below which the report warns."""
MOST = 0.9
"""Share of the volume above which a class other than background is doubtful."""


def labels_page(
    labels: str | Path,
    image: str | Path | None = None,
    *,
    dataset: str | None = None,
    axes: str | None = None,
    image_axes: str | None = None,
    voxel_size_nm: Sequence[float] | None = None,
    measured: str | Path | None = None,
    progress: Progress | None = None,
) -> Page:
    """Gather what there is to say about labels.

    Args:
        labels: a label volume of any format; OME-Zarr of ``scsam predict`` says how it was made.
        image: that was segmented; None looks for the name that the labels record, beside them and in the working
            directory.
        dataset: of the image, inside an HDF5 file or an OME-Zarr.
        axes: letters of the axes as the labels' file stores them, like ``xyz``, if it does not say.
        image_axes: the same of the image; None takes those that the labels record, else what the file says.
        voxel_size_nm: (z, y, x), where the labels state none.
        measured: folder that ``scsam measure`` wrote of these labels, for sizes and contacts of objects.
        progress: called with sections counted and in all.

    Raises:
        InputError: one of the files cannot be read, or the two differ in shape.
    """
    path = Path(labels)
    job = recorded_job(path)
    with ExitStack() as stack:
        classes = stack.enter_context(open_volume(path, axes=axes))
        source = Path(image) if image is not None else _find_image(path, job)
        dataset = dataset or job.get("source", {}).get("dataset")
        grey = stack.enter_context(
            open_volume(source, dataset, image_axes or job.get("source", {}).get("axes"))
        )
        if grey.shape != classes.shape:
            raise InputError(
                source,
                expected=f"the shape of the labels, {classes.shape} (z, y, x)",
                met=f"{grey.shape}",
                remedy="name the image that was segmented with --image",
            )
        counted = survey(classes, IGNORE_LABEL, progress)
        present = np.flatnonzero(counted.voxels[:IGNORE_LABEL]).tolist()
        known = read_legend(path)
        legend = known or _numbered(max(present, default=0))
        names = {index: _name(legend, index) for index in present}
        if known is not None:
            names = dict(enumerate(known.class_names)) | names
        stated = voxel_size_nm or classes.voxel_size_nm or grey.voxel_size_nm
        size = None if stated is None else as_voxel_size(stated, classes.ndim, "--voxel-size-nm")
        maps = {
            product: stack.enter_context(open_volume(place))
            for product in HIGHEST
            if (place := product_path(path, product) if _has_maps(path) else path) != path and place.exists()
        }
        intensity = tuple(job["intensity"]) if "intensity" in job else intensity_range_of(grey)
        sheets, sure = _sheets(grey, classes, maps, legend, intensity)
    flat = classes.shape[0] == 1
    page = Page(f"{source.name}: what was found", _subtitle(classes.shape, size), sheets=sheets)
    page.legend = [
        LegendEntry(index, name, _hex(_colour(legend, index))) for index, name in names.items() if index
    ]
    page.tables.append(_fractions(counted, names, size, 2 if flat else 3))
    page.tables.append(_profiles(counted, legend, size))
    page.pictures += _histograms(counted, legend, size)
    if measured is not None:
        page.tables += measured_tables(measured)
        page.pictures += measured_histograms(measured, list(legend.class_names))
    page.warnings = _warnings(job, counted, names, size, sure)
    if job:
        page.provenance = segmentation_facts(job, source)
        page.commands = [predict_command(job, source, path)]
        if not is_shipped(job["model_sha256"]) and "model" not in job:
            page.provenance["MODEL in the command"] = "the model file with the SHA-256 above"
    else:
        page.provenance = {"labels": path.name, "image": source.name}
        page.warnings.append(
            "The label file does not record how it was made. OME-Zarr written by `scsam predict` does."
        )
    return page


def _find_image(labels: Path, job: Mapping[str, Any]) -> Path:
    name = job.get("source", {}).get("path")
    for folder in (labels.parent, Path.cwd()):
        if name and (folder / name).exists():
            return folder / name
    raise InputError(
        labels,
        expected=f"the image that it was made from{f', {name},' if name else ''} beside it",
        met="none",
        remedy="name it with --image",
    )


def _has_maps(labels: Path) -> bool:
    return labels.name.lower().endswith((".ome.zarr", ".zarr", ".tif", ".tiff", ".nii", ".nii.gz"))


def _numbered(highest: int) -> LabelLegend:
    from scsam_monai.io.palette import class_colours

    names = ["background", *(f"class {index}" for index in range(1, highest + 1))]
    return LabelLegend(tuple(names), class_colours(len(names)))


def _sheets(
    grey: VolumeReader,
    classes: VolumeReader,
    maps: Mapping[Product, VolumeReader],
    legend: LabelLegend,
    intensity: Sequence[float],
) -> tuple[list[Sheet], float | None]:
    """Return the sections to show, and the mean probability of what is drawn in them, if that is known."""
    spans = [_middle(size) for size in classes.shape[1:]]
    sheets, sure = [], []
    for z in _chosen(classes, spans):
        box = ((z, z + 1), *spans)
        drawn = read_classes(classes, box)[0]
        image = eight_bits(grey.read(box), *intensity)[0]
        layers = [
            Layer(uri, index)
            for index, colour in enumerate(legend.colours.tolist())
            if index and (uri := class_layer(drawn, index, colour))
        ]
        values = {product: reader.read(box)[0] for product, reader in maps.items()}
        if Product.CONFIDENCE in values:
            sure.append(float(values[Product.CONFIDENCE].mean()) / 255)
        pictures = {_MAP_NAMES[key]: map_layer(value, HIGHEST[key]) for key, value in values.items()}
        where = f"z {z} of 0 to {classes.shape[0] - 1}" if classes.shape[0] > 1 else "the image"
        cut = " (its middle)" if tuple(b - a for a, b in spans) != classes.shape[1:] else ""
        height, width = drawn.shape
        sheets.append(Sheet(where + cut, width, height, grey_layer(image), layers, pictures))
    return sheets, float(np.mean(sure)) if sure else None


_MAP_NAMES = {
    Product.CONFIDENCE: "confidence (bright: sure)",
    Product.DISAGREEMENT: "planes that disagree (bright: more)",
}


def _chosen(classes: VolumeReader, spans: Sequence[tuple[int, int]]) -> list[int]:
    places = evenly_spaced(classes.shape[0], CANDIDATES)
    groups = [part for part in np.array_split(places, SHOWN) if len(part)]
    chosen = []
    for group in groups:
        sections = np.stack([read_classes(classes, ((int(z), int(z) + 1), *spans))[0] for z in group])
        chosen.append(int(group[richest_slice(sections)]))
    return chosen


def _middle(size: int) -> tuple[int, int]:
    first = max(0, (size - SIDE) // 2)
    return first, min(first + SIDE, size)


def _subtitle(shape: Sequence[int], size: Sequence[float] | None) -> str:
    axes = 3 if shape[0] > 1 else 2
    counts = " x ".join(map(str, shape[-axes:]))
    edges = "voxel size unknown" if size is None else f"{', '.join(f'{nm:g}' for nm in size[-axes:])} nm"
    return f"{counts} {'voxels' if axes == 3 else 'pixels'} of {edges} ({', '.join('zyx'[-axes:])})"


def _fractions(counted: Survey, names: Mapping[int, str], size: Sequence[float] | None, ndim: int) -> Table:
    total = counted.known
    unit = "voxels" if size is None else "µm²" if ndim == 2 else "µm³"
    scale = 1.0 if size is None else math.prod(size[-ndim:]) / 1000**ndim
    rows = [
        [
            name,
            f"{counted.voxels[index]:,}",
            f"{counted.voxels[index] * scale:,.4g}",
            _percent(counted.voxels[index], total),
        ]
        for index, name in sorted(names.items())
    ]
    if unknown := int(counted.voxels[IGNORE_LABEL]):
        rows.append(["unknown", f"{unknown:,}", f"{unknown * scale:,.4g}", "-"])
    note = "All voxels were counted."
    if counted.sections < counted.of:
        note = f"Counted in {counted.sections} of {counted.of} sections, evenly spaced."
    if unknown:
        note += " Shares are of what is known."
    header = ["class", "voxels", unit, "share"]
    if size is None:
        header, rows = ["class", "voxels", "share"], [[row[0], row[1], row[3]] for row in rows]
    return Table("How much there is", header, rows, note, numeric=len(header) - 1)


def _profiles(counted: Survey, legend: LabelLegend, size: Sequence[float] | None) -> Table:
    scale, unit = _area_scale(size)
    rows = []
    for index, areas in counted.areas.items():
        quarter, middle, three = np.percentile(areas * scale, (25, 50, 75))
        rows.append(
            [
                _name(legend, index),
                f"{len(areas):,}",
                *(f"{value:,.0f}" for value in (quarter, middle, three)),
            ]
        )
    note = (
        f"Connected profiles in {counted.profile_sections} section(s). Objects of one class that touch count as "
        "one; those that the image's edge cuts are in it."
    )
    header = ["class", "profiles", f"lower quartile, {unit}", f"median, {unit}", f"upper quartile, {unit}"]
    return Table("Profiles", header, rows, note, numeric=4)


def _histograms(counted: Survey, legend: LabelLegend, size: Sequence[float] | None) -> list[Picture]:
    scale, unit = _area_scale(size)
    return [
        Picture(
            f"{_name(legend, index)}: area of {len(areas):,} profiles",
            svg_uri(size_histogram(areas * scale, _colour(legend, index), f"area, {unit}")),
        )
        for index, areas in counted.areas.items()
        if len(areas) > 2
    ]


def _warnings(
    job: Mapping[str, Any],
    counted: Survey,
    names: Mapping[int, str],
    size: Sequence[float] | None,
    sure: float | None,
) -> list[str]:
    found = []
    if is_shipped(job.get("model_sha256")):
        found.append(
            "The model is the one that comes with the package: it was trained on drawn cells, not on tissue. Take "
            "what it draws as a first look, and train on sections of your own before you count."
        )
    if job and max(job["factors"][1:]) / min(job["factors"][1:]) > 1.2:
        found.append("Voxels are not square in the section (y and x differ): check the voxel size.")
    for factor in {value for value in job.get("factors", ())[1:] if not 0.5 <= value <= 2}:
        times = factor if factor > 1 else 1 / factor
        found.append(
            f"Pixels are {times:.2g} times {'larger' if factor > 1 else 'smaller'} than those that the model was "
            "trained at; fine structures may be missed or invented."
        )
    if size is None:
        found.append("No voxel size is known: sizes are in voxels. Give one with --voxel-size-nm.")
    total = max(1, counted.known)
    drawn = (job.get("selection") or {}).get("drawn", names)
    absent = [n for index, n in names.items() if index in drawn and index and not counted.voxels[index]]
    if absent:
        found.append(f"Nothing was drawn as {', '.join(absent)}.")
    found += [
        f"{name} takes {counted.voxels[index] / total:.0%} of the volume, which is seldom so: look at the pictures."
        for index, name in names.items()
        if index and counted.voxels[index] > MOST * total
    ]
    if sure is not None and sure < UNSURE:
        found.append(
            f"The network is unsure: its classes have a mean probability of {sure:.2f} in the sections shown."
        )
    return found


def _area_scale(size: Sequence[float] | None) -> tuple[float, str]:
    return (1.0, "pixels") if size is None else (size[-2] * size[-1], "nm²")


def _percent(part: int, total: int) -> str:
    return f"{100 * part / max(total, 1):.2f} %"


def _name(legend: LabelLegend, index: int) -> str:
    return legend.class_names[index] if index < len(legend.class_names) else f"class {index}"


def _colour(legend: LabelLegend, index: int) -> Sequence[int]:
    colours = legend.colours.tolist()
    return colours[index] if index < len(colours) else (128, 128, 128)


def _hex(colour: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
