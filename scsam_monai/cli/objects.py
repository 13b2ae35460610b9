"""``scsam objects`` and ``scsam measure``: labels in, objects and figures out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsam_monai.cli.options import (
    Axes,
    as_typed,
    numbers,
    parse_classes,
    print_next,
    print_table,
    voxel_size,
)
from scsam_monai.errors import InputError

if TYPE_CHECKING:
    from scsam_monai.measure.measuring import Measurements
    from scsam_monai.measure.objects import FoundObjects


class Split(StrEnum):
    """How touching objects are told apart."""

    NONE = "none"
    DISTANCE = "distance"
    MAP = "map"


class Connectivity(StrEnum):
    """Which voxels touch."""

    FULL = "full"
    FACES = "faces"


LabelsArgument = Annotated[
    Path, typer.Argument(metavar="LABELS", help="Class ids: what scsam predict wrote, or any label volume.")
]
Dataset = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which data set of an HDF5 file, or level of an OME-Zarr.")
]
VoxelSizeOption = Annotated[
    str | None,
    typer.Option(metavar="Z,Y,X", help="Voxel size in nm, if the file states none or a wrong one."),
]
ClassNames = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="VALUE=NAME", help="Name of a class, if the file states none; repeat."),
]
Ignore = Annotated[int, typer.Option(help="Label of unknown voxels; 255 is a class where --class names it.")]
ImageAxes = Annotated[
    str | None,
    typer.Option(
        metavar="ZYX", help="Axes as the image stores them; default: as the labels record, or the file."
    ),
]
ConnectivityOption = Annotated[
    Connectivity, typer.Option(help="full: voxels touch by corners, too. faces: only by faces.")
]


def objects(
    labels: LabelsArgument,
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="OBJECTS.ome.zarr; .tif for small volumes.")
    ],
    split: Annotated[
        Split, typer.Option(help="Tell touching objects apart by their shape, or by a map of the network.")
    ] = Split.NONE,
    split_map: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="PATH", help="For --split map: confidence or probabilities of predict."
        ),
    ] = None,
    neck: Annotated[
        float, typer.Option(help="Cut where the neck is narrower than this fraction of the smaller part.")
    ] = 0.75,
    split_class: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Split this class alone; repeat for more.")
    ] = None,
    min_size_nm: Annotated[
        float, typer.Option(min=0, help="Leave out objects below this volume in nm3 (area in nm2 in 2-D).")
    ] = 0.0,
    connectivity: ConnectivityOption = Connectivity.FULL,
    dataset: Dataset = None,
    axes: Axes = None,
    voxel_size_nm: VoxelSizeOption = None,
    class_names: ClassNames = None,
    ignore_label: Ignore = 255,
    memory_gb: Annotated[
        float, typer.Option(min=0.01, help="For splitting; larger objects are left whole, and told.")
    ] = 1.0,
) -> None:
    """Find the objects of every class of a label volume of any size, and number them."""
    from scsam_monai.inference.job import stem_of
    from scsam_monai.measure.ids_output import table_beside
    from scsam_monai.measure.objects import find_objects
    from scsam_monai.progress import stage_bars

    with stage_bars() as progress:
        found = find_objects(
            labels,
            output,
            voxel_size_nm=voxel_size(voxel_size_nm),
            class_names=_class_names(class_names),
            minimum_nm=min_size_nm,
            split=split.value,
            split_map=split_map,
            neck=neck,
            split_classes=split_class,
            connectivity=connectivity.value,
            ignore_label=ignore_label,
            dataset=dataset,
            axes=axes,
            memory_gb=memory_gb,
            progress=progress,
        )
    _print_found(found)
    _tell_crumbs(found)
    typer.echo(output)
    typer.echo(table_beside(output))
    told = as_typed(
        dataset=dataset,
        axes=axes,
        voxel_size_nm=voxel_size_nm,
        class_=class_names,
        ignore_label=None if ignore_label == 255 else ignore_label,
    )
    folder = labels.with_name(f"{stem_of(labels)}_figures")
    print_next(["scsam", "measure", labels, folder, "--objects", output, *told])


def measure(
    labels: LabelsArgument,
    output: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for the tables.")],
    object_ids: Annotated[
        Path | None,
        typer.Option(
            "--objects", metavar="PATH", help="Ids of scsam objects; default: connected components."
        ),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The image, for the mean grey value of each object.")
    ] = None,
    contact_nm: Annotated[
        str, typer.Option(metavar="NM,...", help="Distances for contact areas; 0: shared faces.")
    ] = "0",
    outside: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A class that is not part of the cell, also background; repeat."),
    ] = None,
    min_size_nm: Annotated[
        float, typer.Option(min=0, help="Leave out objects below this volume in nm3 (area in nm2 in 2-D).")
    ] = 0.0,
    connectivity: ConnectivityOption = Connectivity.FULL,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write the tables as Parquet, too.")] = False,
    dataset: Dataset = None,
    axes: Axes = None,
    image_axes: ImageAxes = None,
    voxel_size_nm: VoxelSizeOption = None,
    class_names: ClassNames = None,
    ignore_label: Ignore = 255,
) -> None:
    """Measure the objects and classes of a label volume of any size, and write tables in nm."""
    from scsam_monai.io.inventory import Inventory
    from scsam_monai.io.volume import open_volume
    from scsam_monai.measure.measuring import measure_labels
    from scsam_monai.measure.output import check_folder, write_measurements
    from scsam_monai.progress import stage_bars

    if object_ids is not None and min_size_nm > 0:
        raise InputError(
            "--min-size-nm",
            expected="no smallest size beside --objects",
            met=f"{min_size_nm:g}",
            remedy="give it to scsam objects",
        )
    distances = numbers("--contact-nm", contact_nm, float, "distances in nm like 0,20")
    check_folder(output, parquet=parquet)
    names = _class_names(class_names)
    with stage_bars() as progress, open_volume(labels, dataset, axes) as volume:
        files = Inventory(volume).digest
        measured = measure_labels(
            volume,
            objects=object_ids,
            image=image,
            voxel_size_nm=voxel_size(voxel_size_nm),
            class_names=names,
            contact_nm=distances or [0.0],
            outside=outside,
            minimum_nm=min_size_nm,
            connectivity=connectivity.value,
            ignore_label=ignore_label,
            dataset=dataset,
            axes=axes,
            image_axes=image_axes,
            scratch_folder=output.absolute().parent,
            progress=progress,
        )
    reported = labels if dataset is None else Path(f"{labels}:/{dataset.strip('/')}")
    stated = {
        "labels": labels.name,
        "labels_path": str(reported.resolve()),
        "labels_files": files,
        "class_names": names,
        "objects": None if object_ids is None else object_ids.name,
        "image": None if image is None else image.name,
        "contact_nm": distances,
        "outside": outside,
        "min_size_nm": min_size_nm,
        "connectivity": connectivity.value,
        "ignore_label": measured.ignore_label,
    }
    write_measurements(output, measured, parquet=parquet, stated=stated)
    _print_measured(measured)
    typer.echo(output)
    told = as_typed(image=image, axes=axes, image_axes=image_axes, voxel_size_nm=voxel_size_nm)
    print_next(["scsam", "report", reported, "--measured", output, *told])


def _class_names(pairs: Sequence[str] | None) -> dict[int, str] | None:
    return {int(value): name for value, name in parse_classes(pairs, ranges=False).items()} if pairs else None


def _print_found(found: FoundObjects) -> None:
    unit, scale = ("um3", 1e9) if found.ndim == 3 else ("um2", 1e6)
    voxel = 1.0
    for edge in found.voxel_size_nm[-found.ndim :]:
        voxel *= edge
    rows = [["class", "objects", unit]]
    for class_id, name in found.class_names.items():
        own = found.table.class_ids == class_id
        rows.append([name, f"{int(own.sum()):,}", f"{found.table.voxels[own].sum() * voxel / scale:.4g}"])
    print_table(rows)
    if found.left_whole:
        ids = ", ".join(map(str, found.left_whole[:10])) + (", ..." if len(found.left_whole) > 10 else "")
        typer.echo(
            f"warning: {len(found.left_whole)} objects were too large to be split (id {ids}); "
            "--memory-gb allows larger ones",
            err=True,
        )


CRUMB = {2: 20, 3: 100}
"""Pixels or voxels of an object, by axes, below which it is most likely a crumb of the segmentation."""
MANY_CRUMBS = 0.1


def _tell_crumbs(found: FoundObjects) -> None:
    """Say so where a tenth of the objects or more are crumbs, and what leaves them out."""
    crumbs, every = int((found.table.voxels < CRUMB[found.ndim]).sum()), len(found.table)
    if crumbs < max(MANY_CRUMBS * every, 2):
        return
    smallest = CRUMB[found.ndim] * math.prod(found.voxel_size_nm[-found.ndim :])
    what = "pixels" if found.ndim == 2 else "voxels"
    typer.echo(
        f"note: {crumbs:,} of {every:,} objects have fewer than {CRUMB[found.ndim]} {what} and are most likely "
        f"crumbs; --min-size-nm {smallest:.2g} leaves them out",
        err=True,
    )


def _print_measured(measured: Measurements) -> None:
    solid = measured.ndim == 3
    size, surface = ("volume_nm3", "surface_nm2") if solid else ("area_nm2", "perimeter_nm")
    scales = (1e9, 1e6) if solid else (1e6, 1e3)
    titles = ("um3", "um2 surface") if solid else ("um2", "um perimeter")
    rows = [["class", "objects", *titles, "of tissue", "of cell"]]
    for row in measured.classes:
        cell = row["fraction_of_cell"]
        rows.append(
            [
                row["class"],
                f"{row['objects']:,}",
                f"{row[size] / scales[0]:.4g}",
                f"{row[surface] / scales[1]:.4g}",
                f"{row['fraction_of_tissue']:.2%}",
                "-" if cell != cell else f"{cell:.2%}",
            ]
        )
    print_table(rows)
    cut = sum(row["cut_by_the_edge"] for row in measured.objects)
    if cut:
        typer.echo(
            f"{cut:,} of {len(measured.objects):,} objects are cut by the edge: "
            "sizes and shapes are of the part seen",
            err=True,
        )
