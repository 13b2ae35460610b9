"""Write object ids as OME-Zarr or TIFF, with a table of the objects beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path, write_errors
from scsam_monai.inference.blocks import BlockPlan
from scsam_monai.io.checks import suffix_among
from scsam_monai.io.label_export import stack_options
from scsam_monai.io.object_ids import ID_TYPE, create_object_ids
from scsam_monai.io.ome_zarr import Version, volume_name
from scsam_monai.io.ome_zarr_create import CHUNK
from scsam_monai.io.ome_zarr_volume import OmeZarrVolume
from scsam_monai.io.pyramid import build_pyramid, write_block
from scsam_monai.measure.components import Cancel, CancelledError
from scsam_monai.measure.labels import BLOCK, Shape3, slices
from scsam_monai.measure.table_files import write_csv
from scsam_monai.progress import Progress, StageProgress, progress_of

if TYPE_CHECKING:
    from scsam_monai.measure.objects import FoundObjects, ObjectOptions

SUFFIXES = (".ome.zarr", ".zarr", ".tif", ".tiff")


def check_ids_output(path: Path) -> None:
    """Refuse an output of another format, and one that exists.

    Raises:
        InputError: either.
    """
    suffix_among(path, SUFFIXES)
    for target in (path, table_beside(path)):
        if target.exists():
            raise InputError(
                target, expected="no output yet", met="one that is there", remedy="remove it or name another"
            )


def table_beside(path: Path) -> Path:
    """The table of the objects of a volume of ids."""
    name = volume_name(path).removesuffix(".tiff").removesuffix(".tif")
    return path.with_name(f"{name}_objects.csv")


def write_ids(
    found: FoundObjects,
    store: Any,
    lookup: np.ndarray,
    work: Path,
    shape: Shape3,
    options: ObjectOptions,
    version: Version,
    progress: StageProgress | None,
    cancel: Cancel | None,
) -> None:
    """Write the ids of objects, whole or not at all.

    Args:
        found: the objects, with the path.
        store: array (z, y, x) of numbers.
        lookup: id of each number.
        work: folder beside the output.
        shape: (z, y, x).
        options: kept with the volume.
        version: of OME-Zarr.
        progress: called with each stage.
        cancel: asked now and then.

    Raises:
        InputError: the disk is full, or the place cannot be written to.
        CancelledError: if so asked.
    """
    target = found.path
    assert target is not None
    write = progress_of("writing ids", progress)
    with write_errors(target):
        if suffix_among(target, SUFFIXES).lower().startswith(".tif"):
            _write_tiff(target, store, lookup, shape, found, write, cancel)
        else:
            place = work / target.name
            _write_zarr(place, store, lookup, shape, found, options, version, write, cancel)
            if not build_pyramid(
                place, block=BLOCK, progress=progress_of("pyramid", progress), cancel=cancel
            ):
                raise CancelledError
            place.rename(target)
        write_csv(table_beside(target), object_rows(found), object_columns(found.ndim))


def object_rows(found: FoundObjects) -> list[dict[str, Any]]:
    """One row for each object: id, class, size and box."""
    voxel = float(np.prod(found.voxel_size_nm[-found.ndim :]))
    table = found.table
    whole = set(found.left_whole)
    rows = [
        (
            int(table.ids[row]),
            int(table.class_ids[row]),
            found.class_names[int(table.class_ids[row])],
            int(table.voxels[row]),
            float(table.voxels[row] * voxel),
            *table.low[row].tolist(),
            *table.high[row].tolist(),
            int(table.ids[row]) in whole,
        )
        for row in range(len(table))
    ]
    return [dict(zip(object_columns(found.ndim), row, strict=True)) for row in rows]


def object_columns(ndim: int) -> tuple[str, ...]:
    """Of the table of objects."""
    size = "volume_nm3" if ndim == 3 else "area_nm2"
    box = (f"box_{axis}{end}" for end in "01" for axis in "zyx")
    return ("id", "class_id", "class", "voxels", size, *box, "too_large_to_split")


def _write_zarr(
    place: Path,
    store: Any,
    lookup: np.ndarray,
    shape: Shape3,
    found: FoundObjects,
    options: ObjectOptions,
    version: Version,
    progress: Progress | None,
    cancel: Cancel | None,
) -> None:
    stated = dataclasses.asdict(options) | {"objects": len(found.table)}
    names = {str(class_id): name for class_id, name in found.class_names.items()}
    attributes = {"objects": stated, "class_names": names}
    create_object_ids(
        place,
        shape,
        found.voxel_size_nm,
        version=version,
        chunk=_chunk(shape),
        attributes=attributes,
        offset_nm=found.offset_nm,
    )
    volume, plan = OmeZarrVolume(place), BlockPlan(shape, BLOCK)
    for number, region in enumerate(plan):
        write_block(volume, region, lookup[np.asarray(store[slices(region)])].astype(ID_TYPE))
        _told(number + 1, len(plan), progress, cancel)


def _chunk(shape: Shape3) -> Shape3:
    z, y, x = (min(pair) for pair in zip(CHUNK, shape, strict=True))
    return z, y, x


def _write_tiff(
    target: Path,
    store: Any,
    lookup: np.ndarray,
    shape: Shape3,
    found: FoundObjects,
    progress: Progress | None,
    cancel: Cancel | None,
) -> None:
    import tifffile

    dtype = np.uint16 if len(found.table) < 2**16 else np.uint32
    options = stack_options(shape, dtype, found.voxel_size_nm, offset_nm=found.offset_nm)

    def sections() -> Iterator[np.ndarray]:
        step = min(32, shape[0])
        for start in range(0, shape[0], step):
            slab = lookup[np.asarray(store[start : start + step])].astype(dtype)
            _told(min(start + step, shape[0]), shape[0], progress, cancel)
            yield from slab

    with atomic_path(target) as temporary:
        tifffile.imwrite(temporary, sections(), shape=shape, dtype=dtype, **options)


def _told(done: int, total: int, progress: Progress | None, cancel: Cancel | None) -> None:
    if progress is not None:
        progress(done, total)
    if cancel is not None and cancel():
        raise CancelledError
