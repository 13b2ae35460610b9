"""Objects of a label volume: connected components, touching ones split, small ones left out."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError, check_choice
from scsam_monai.filesystem.atomic import write_errors
from scsam_monai.inference.blocks import BlockPlan
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.ome_zarr import Version, volume_name
from scsam_monai.io.stated_offset import NOWHERE
from scsam_monai.measure.components import Cancel, CancelledError, label_components
from scsam_monai.measure.labels import BLOCK, LabelReader, Labels, Shape3, slices
from scsam_monai.measure.landscape import Landscape, open_landscape
from scsam_monai.measure.parts import split_components
from scsam_monai.measure.table import ObjectTable
from scsam_monai.progress import StageProgress, progress_of

SPLITS = ("none", "distance", "map")
"""How touching objects are told apart: not at all, by their shape, by a map of the network."""

SPLIT_BYTES = 130
"""Memory counted for each voxel of the bounding box in which a component is split; 120 to 125 were measured."""


@dataclass(frozen=True)
class ObjectOptions:
    """What counts as an object.

    Attributes:
        minimum_nm: smallest volume in nm3, or area in nm2 of a single section; smaller ones are left out.
        split: one of ``SPLITS``.
        neck: see :func:`~scsam_monai.measure.splitting.split_component`.
        split_classes: ids of the classes to split; None for all.
        connectivity: ``full``: voxels that share a corner touch; ``faces``: only those that share a face.
        memory_gb: components whose splitting would take more are left whole, and told.
    """

    minimum_nm: float = 0.0
    split: str = "none"
    neck: float = 0.75
    split_classes: tuple[int, ...] | None = None
    connectivity: str = "full"
    memory_gb: float = 1.0

    def __post_init__(self) -> None:
        check_choice("split", self.split, SPLITS)
        check_choice("connectivity", self.connectivity, ("full", "faces"))
        if not 0 < self.neck < 1:
            raise InputError(
                "neck", expected="a fraction between 0 and 1", met=f"{self.neck:g}", remedy="like 0.75"
            )
        if not self.minimum_nm >= 0:
            raise InputError("minimum", expected="0 or more", met=f"{self.minimum_nm:g}", remedy="correct it")

    @property
    def largest_box(self) -> int:
        """Voxels of the largest bounding box in which a component is split."""
        return int(self.memory_gb * 1e9 / SPLIT_BYTES)


@dataclass(frozen=True, eq=False)
class FoundObjects:
    """What :func:`find_objects` returns.

    Attributes:
        table: the objects, ids from 1 to N in the order of their first voxels, z, y, x.
        class_names: by class id, of the classes met.
        voxel_size_nm: (z, y, x).
        ndim: 2 for a single section, else 3.
        left_whole: ids of objects that were to be split but are too large for ``memory_gb``.
        ids: (z, y, x) or (y, x) uint32, or None if they were written.
        path: where they were written.
        offset_nm: (z, y, x) of the first voxel, where the labels are part of a larger volume.
    """

    table: ObjectTable
    class_names: dict[int, str]
    voxel_size_nm: VoxelSize
    ndim: int
    left_whole: tuple[int, ...]
    ids: np.ndarray | None
    path: Path | None
    offset_nm: VoxelSize = NOWHERE


def find_objects(
    labels: Labels,
    output: str | Path | None = None,
    *,
    voxel_size_nm: Sequence[float] | None = None,
    class_names: Mapping[int, str] | Sequence[str] | None = None,
    minimum_nm: float = 0.0,
    split: str = "none",
    split_map: str | Path | np.ndarray | None = None,
    neck: float = 0.75,
    split_classes: Sequence[str] | None = None,
    connectivity: str = "full",
    ignore_label: int = 255,
    dataset: str | None = None,
    axes: str | None = None,
    block: Shape3 | None = None,
    memory_gb: float = 1.0,
    ome_zarr: Version = "0.5",
    progress: StageProgress | None = None,
    cancel: Cancel | None = None,
) -> FoundObjects:
    """Find the objects of every class of a label volume, whatever its size.

    The result does not depend on the blocks. Ids are 1 to N, by the first voxel in the order z, y, x.

    Args:
        labels: class ids: a file or folder, an opened one, or an array (y, x) or (z, y, x). 0 is background.
        output: ``NAME.ome.zarr``, or ``.tif`` for small ones; ``NAME_objects.csv`` is written beside it. None
            returns the ids in memory.
        voxel_size_nm: (z, y, x) in nm; asked for where the file states none.
        class_names: by class id; default: those of the label volume.
        minimum_nm: smallest volume in nm3, in nm2 of a single section.
        split: ``none``, ``distance`` (by shape) or ``map`` (by ``split_map``).
        split_map: confidence (z, y, x) or probabilities (c, z, y, x) that ``scsam predict`` wrote.
        neck: two parts are cut apart where the way between them sinks below this fraction of the lower peak.
        split_classes: names or numbers of the classes to split; None for all.
        connectivity: ``full`` (26 or 8 neighbours) or ``faces`` (6 or 4).
        ignore_label: value of unknown voxels, which belong to no object.
        dataset: in a file that holds several.
        axes: letters of the axes as the labels' file stores them, like ``xyz``, if it does not say.
        block: (z, y, x) voxels worked on at a time.
        memory_gb: for splitting; components that need more are left whole and named in ``left_whole``.
        ome_zarr: version to write.
        progress: called with each stage.
        cancel: asked now and then; True ends the work.

    Raises:
        InputError: what was handed in does not fit, or the output cannot be written.
        CancelledError: the work was stopped; no output was written.
    """
    from scsam_monai.measure.ids_output import check_ids_output, write_ids

    target = None if output is None else Path(output)
    if target is not None:
        check_ids_output(target)
    with (
        LabelReader(
            labels, voxel_size_nm, class_names, ignore_label=ignore_label, dataset=dataset, axes=axes
        ) as reader,
        open_landscape(split, split_map, reader) as landscape,
    ):
        classes = None if split_classes is None else tuple(reader.class_ids(split_classes, "split classes"))
        options = ObjectOptions(minimum_nm, split, neck, classes, connectivity, memory_gb)
        plan = BlockPlan(reader.shape, block or BLOCK)
        with scratch(target) as work:
            store: Any = (
                np.zeros(reader.shape, np.uint32) if target is None else scratch_store(work, reader.shape)
            )
            found = search(reader, store, plan, work, options, landscape, progress, cancel)
            table, lookup, left_whole = found
            names = {int(k): reader.class_name(int(k)) for k in np.unique(table.class_ids)}
            result = FoundObjects(
                table, names, reader.voxel_size_nm, reader.ndim, left_whole, None, target, reader.offset_nm
            )
            if target is not None:
                write_ids(result, store, lookup, work, reader.shape, options, ome_zarr, progress, cancel)
                return result
            ids = lookup[store].astype(np.uint32)
            ids = ids[0] if reader.volume.ndim == 2 else ids
    return dataclasses.replace(result, ids=ids)


def search(
    labels: LabelReader,
    store: Any,
    plan: BlockPlan,
    work: Path,
    options: ObjectOptions,
    landscape: Landscape | None = None,
    progress: StageProgress | None = None,
    cancel: Cancel | None = None,
) -> tuple[ObjectTable, np.ndarray, tuple[int, ...]]:
    """Find objects, their ids left to a lookup table.

    Args:
        labels: class ids.
        store: array (z, y, x) that takes numbers of parts.
        plan: blocks of the volume.
        work: folder for what is kept meanwhile.
        options: what counts as an object.
        landscape: for ``split="map"``.
        progress: called with each stage.
        cancel: asked now and then.

    Returns:
        The objects in the order of their ids, the id of each number in ``store`` (uint32), and the ids of objects
        that were too large to be split.

    Raises:
        CancelledError: if so asked.
    """
    components, parts = label_components(
        labels,
        store,
        plan,
        work,
        full=options.connectivity == "full",
        progress=progress_of("finding objects", progress),
        cancel=cancel,
    )
    if not len(components):
        labels.check_classes(plan)
    smallest = options.minimum_nm / voxel_measure(labels)
    kept = components.voxels >= smallest
    too_large = np.zeros(len(components), bool)
    if options.split != "none":
        components, parts, kept, too_large = split_components(
            components,
            parts,
            kept,
            labels,
            store,
            plan,
            neck=options.neck,
            minimum_voxels=smallest,
            classes=options.split_classes,
            largest_box=options.largest_box,
            landscape=landscape,
            progress=progress_of("splitting objects", progress),
            cancel=cancel,
        )
    places = np.flatnonzero(kept)
    places = places[np.argsort(components.first[places], kind="stable")]
    if len(places) > np.iinfo(np.uint32).max:
        raise InputError(
            labels.path,
            expected="fewer than 4,294,967,296 objects",
            met=f"{len(places):,}",
            remedy="set a smallest size",
        )
    ids = np.zeros(len(components) + 1, np.uint32)  # the last one is what part -1, the background, finds
    ids[places] = np.arange(1, len(places) + 1)
    left_whole = tuple(int(number) for number in np.sort(ids[:-1][too_large & kept]))
    return components.take(places).numbered(), ids[parts], left_whole


def voxel_measure(labels: LabelReader) -> float:
    """A voxel's volume in nm3, or its area in nm2 in a single section."""
    return math.prod(labels.voxel_size_nm[-labels.ndim :])


@contextmanager
def scratch(output: Path | None) -> Iterator[Path]:
    """A folder beside an output for what is kept meanwhile; it goes away in the end."""
    parent = None if output is None else output.parent
    prefix = "scsam-" if output is None else f".{volume_name(output)}-"
    with write_errors(output or "scratch"):
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=parent)
    with folder as name:
        yield Path(name)


def scratch_store(work: Path, shape: Shape3) -> Any:
    """An array (z, y, x) on the disk for numbers of parts."""
    import zarr
    from zarr.codecs import ZstdCodec

    chunk = tuple(min(edge, length) for edge, length in zip((32, 128, 128), shape, strict=True))
    dtype = np.uint32 if math.prod(shape) < 2**32 else np.uint64
    return zarr.create_array(
        str(work / "parts.zarr"),
        shape=shape,
        chunks=chunk,
        dtype=dtype,
        fill_value=0,
        compressors=ZstdCodec(level=1),
    )


__all__ = ["CancelledError", "FoundObjects", "ObjectOptions", "find_objects", "search", "slices"]
