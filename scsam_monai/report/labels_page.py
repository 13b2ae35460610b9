"""The report on a segmentation: the image with its labels, how much there is of each class, how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.inference.job import product_path
from scsam_monai.io.formats import place_and_dataset, place_of
from scsam_monai.io.intensity import intensity_range_of
from scsam_monai.io.label_legend import read_legend
from scsam_monai.io.ome_zarr import LabelLegend
from scsam_monai.io.palette import class_colours
from scsam_monai.io.section_range import some_sections
from scsam_monai.io.volume import open_volume
from scsam_monai.io.voxel_size import as_voxel_size
from scsam_monai.measure.recorded import recorded_job, recorded_sections
from scsam_monai.progress import Progress
from scsam_monai.report.charts import size_histogram
from scsam_monai.report.evaluated import evaluated_tables
from scsam_monai.report.label_doubts import labels_warnings
from scsam_monai.report.label_sheets import HIGHEST, colour_of, label_sheets, name_of
from scsam_monai.report.layers import svg_uri
from scsam_monai.report.measured import HowMeasured, how_measured, measured_histograms, measured_tables
from scsam_monai.report.page import LegendEntry, Page, Picture, Table
from scsam_monai.report.provenance import MODEL, predict_command, segmentation_facts
from scsam_monai.report.survey import Survey, survey


def labels_page(
    labels: str | Path,
    image: str | Path | None = None,
    *,
    dataset: str | None = None,
    axes: str | None = None,
    image_axes: str | None = None,
    voxel_size_nm: Sequence[float] | None = None,
    measured: str | Path | None = None,
    evaluated: str | Path | None = None,
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
        evaluated: folder that ``scsam evaluate --output`` wrote of these labels, for their scores.
        progress: called with sections counted and in all.

    Raises:
        InputError: one of the files cannot be read, or the two differ in shape.
    """
    path = Path(labels)
    job = recorded_job(path)
    figures = HowMeasured({}) if measured is None else how_measured(measured, path, axes)
    with ExitStack() as stack:
        classes = stack.enter_context(open_volume(path, axes=axes))
        source = Path(image) if image is not None else _find_image(path, job)
        image_file, named = place_and_dataset(source)
        dataset = dataset or (job.get("source", {}).get("dataset") if named is None else None)
        grey = stack.enter_context(
            open_volume(source, dataset, image_axes or job.get("source", {}).get("axes"))
        )
        sections = recorded_sections(path)
        if grey.shape != classes.shape:  # labels of some sections go with these of the whole image
            grey = some_sections(grey, sections, "--image")
        first = 0 if sections is None else sections[0]
        if grey.shape != classes.shape:
            raise InputError(
                source,
                expected=f"the shape of the labels, {classes.shape} (z, y, x)",
                met=f"{grey.shape}",
                remedy="name the image that was segmented with --image",
            )
        counted = survey(classes, figures.ignore_label, progress)
        present = np.flatnonzero(counted.voxels).tolist()
        known = None if figures.class_names else read_legend(path)
        legend = known or _numbered(max(present, default=0), figures.class_names)
        stated_names = figures.class_names if known is None else dict(enumerate(known.class_names))
        names = stated_names | {index: name_of(legend, index) for index in present}
        names.pop(figures.ignore_label, None)
        stated = voxel_size_nm or figures.voxel_size_nm or classes.voxel_size_nm or grey.voxel_size_nm
        size = None if stated is None else as_voxel_size(stated, classes.ndim, "--voxel-size-nm")
        if size is not None:
            figures.check_voxel_size(size[-classes.ndim :])
        maps = {
            product: stack.enter_context(open_volume(place))
            for product in HIGHEST
            if (place := product_path(path, product) if _has_maps(path) else path) != path and place.exists()
        }
        intensity = tuple(job["intensity"]) if "intensity" in job else intensity_range_of(grey)
        sheets, sure = label_sheets(grey, classes, maps, legend, intensity, size, first, figures.ignore_label)
    flat = classes.shape[0] == 1
    page = Page(f"{image_file.name}: what was found", _subtitle(classes.shape, size), sheets=sheets)
    page.legend = [
        LegendEntry(index, name_of(legend, index), _hex(colour_of(legend, index)))
        for index in sorted({*present, *(layer.index or 0 for sheet in sheets for layer in sheet.layers)})
        if index
    ]
    if evaluated is not None:
        page.tables += evaluated_tables(evaluated, path, axes)
    page.tables.append(_fractions(counted, names, size, 2 if flat else 3))
    page.tables.append(_profiles(counted, legend, size))
    page.pictures += _histograms(counted, legend, size)
    if measured is not None:
        page.tables += measured_tables(measured)
        page.pictures += measured_histograms(measured, legend)
    page.warnings = [*labels_warnings(job, counted, names, size, sure), *figures.warnings]
    if job:
        page.provenance = segmentation_facts(job, image_file)
        page.commands = [predict_command(job, image_file, path)]
        if MODEL in page.commands[0].split():
            page.provenance["MODEL in the command"] = "the model file with the SHA-256 above"
    else:
        page.provenance = {"labels": path.name, "image": image_file.name}
        page.warnings.append(
            "The label file does not record how it was made. OME-Zarr written by scsam predict does."
        )
    return page


def _find_image(labels: Path, job: Mapping[str, Any]) -> Path:
    name = job.get("source", {}).get("path")
    for folder in (place_of(labels).parent, Path.cwd()):
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


def _numbered(highest: int, stated: Mapping[int, str]) -> LabelLegend:
    """Return a legend up to the highest value, with the names that are known."""
    numbered = ["background", *(f"class {index}" for index in range(1, highest + 1))]
    names = tuple(stated.get(index, name) for index, name in enumerate(numbered))
    return LabelLegend(names, class_colours(len(names)))


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
    if unknown := counted.unknown:
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
                name_of(legend, index),
                f"{len(areas):,}",
                *(f"{value:,.0f}" for value in (quarter, middle, three)),
            ]
        )
    note = (
        f"Connected profiles in {counted.profile_sections} of {counted.of} sections. Objects of one class that "
        "touch count as one; those that the image's edge cuts are in it, and crumbs of a few pixels, too, which "
        "scsam predict --smallest-nm2 leaves out."
    )
    header = ["class", "profiles", f"lower quartile, {unit}", f"median, {unit}", f"upper quartile, {unit}"]
    return Table("Profiles", header, rows, note, numeric=4)


def _histograms(counted: Survey, legend: LabelLegend, size: Sequence[float] | None) -> list[Picture]:
    scale, unit = _area_scale(size)
    return [
        Picture(
            f"{name_of(legend, index)}: area of {len(areas):,} profiles",
            svg_uri(size_histogram(areas * scale, colour_of(legend, index), f"area, {unit}")),
        )
        for index, areas in counted.areas.items()
        if len(areas) > 2
    ]


def _area_scale(size: Sequence[float] | None) -> tuple[float, str]:
    return (1.0, "pixels") if size is None else (size[-2] * size[-1], "nm²")


def _percent(part: int, total: int) -> str:
    return f"{100 * part / max(total, 1):.2f} %"


def _hex(colour: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
