"""Plan how a volume is segmented, and refuse what cannot work, before anything is computed."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.errors import InputError, check_choice
from scsam_monai.inference.begun import recorded_threads, refuse_finished
from scsam_monai.inference.job import (
    Job,
    Source,
    is_zarr,
    output_suffix,
    progress_folder,
)
from scsam_monai.inference.model import Model, ModelFile, check_device_name, open_model
from scsam_monai.inference.pixel_size import volume_factors
from scsam_monai.inference.products import as_products
from scsam_monai.inference.selection import Selection
from scsam_monai.inference.windows import Windows
from scsam_monai.io.empty import EmptyParts, describe_empty, find_empty
from scsam_monai.io.intensity import intensity_range_of
from scsam_monai.io.inventory import Inventory
from scsam_monai.io.label_export import check_export
from scsam_monai.io.section_range import known_empty, whole_of
from scsam_monai.io.volume import VolumeReader, open_volume, voxel_size_of
from scsam_monai.progress import StageProgress, progress_of
from scsam_monai.threads import default_threads

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

LARGE_PIECE = 2**26
"""Bytes of a piece of the source from which on it counts; smaller ones lie within what is spared anyway."""
UNPACKED_IN_VAIN = 16
"""Times what a block needs, from which on unpacking may take as long as a network on a GPU."""


def plan_job(
    source: str | Path | VolumeReader,
    output: str | Path,
    model: str | Path | ModelFile | Model,
    *,
    dataset: str | None = None,
    axes: str | None = None,
    voxel_size_nm: Sequence[float] | None = None,
    windows: Windows | None = None,
    products: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    smallest_nm2: Mapping[str, float] | None = None,
    invert: bool = False,
    block: Sequence[int] | None = None,
    memory_gb: float = 4.0,
    ome_zarr: str = "0.5",
    threads: int | None = None,
    device: str | torch.device | None = None,
    empty_label: int = 0,
    resume: bool = False,
    progress: StageProgress | None = None,
) -> tuple[Job, Model]:
    """Make a job from a volume, a model and settings.

    What headers, records and arguments tell is refused before torch is imported, which takes seconds.

    Args:
        source: anything that :func:`scsam_monai.io.open_volume` reads, or what it has opened; a
            :class:`~scsam_monai.io.section_range.SectionRange` is segmented as it would be in the whole volume.
        output: of the labels: ``.ome.zarr``, or ``.tif`` and ``.nii.gz`` for volumes that are not too large.
        model: a trained ``model.pt``, or what :func:`open_model` returned for one.
        dataset: inside an HDF5 file or an OME-Zarr.
        axes: letters of the stored axes where the file does not say, see :func:`scsam_monai.io.open_volume`; of a
            volume that is open, those that it was opened with.
        voxel_size_nm: (z, y, x), goes before what the file states; None relies on that.
        windows: how the network looks at the volume.
        products: further maps: ``probabilities``, ``confidence``, and with three planes ``disagreement``.
        classes: names of the classes to draw; None for all. The others compete for voxels all the same.
        thresholds: probability below which a voxel is left out, by class; that of ``""`` holds for all others.
        smallest_nm2: area of a profile in a section, in nm2, below which it is left out, the same way.
        invert: turn grey values round, where membranes are bright.
        block: voxels (z, y, x) that are computed at a time, rounded up to whole chunks; None for as many as
            ``memory_gb`` allows.
        memory_gb: memory for blocks and for a piece of the source, which is unpacked whole; the network's own not
            counted.
        ome_zarr: version of the format to write.
        threads: of torch in each process that computes; None for those of an unfinished run that is there, else
            for what torch takes here, within the quota of a container. Only with the same number are results the
            same to the last bit.
        device: where to compute; None takes a GPU where there is one.
        empty_label: of empty parts, see :mod:`scsam_monai.io.empty`: 0, the background, or 255, unknown.
        resume: whether an unfinished run is to be gone on with; chooses the words of a refusal.
        progress: called with each stage.

    Raises:
        InputError: if anything of it does not fit.
    """
    windows = windows or Windows()
    wanted = as_products(products, windows.planes)
    check_choice("--empty-label", empty_label, (0, IGNORE_LABEL))
    check_device_name(device)
    if block is not None and (len(block) != 3 or min(block) < 1):
        raise InputError(
            "--block", expected="three numbers of voxels (z, y, x)", met=f"{list(block)}", remedy="correct it"
        )
    output_suffix(output)
    target, file = Path(output).absolute(), _file_of(model)
    if names := file.record.get("class_names"):
        Selection.of(names, classes, thresholds, smallest_nm2)
    opening = open_volume(source, dataset, axes) if isinstance(source, str | Path) else nullcontext(source)
    with opening as volume:
        size = voxel_size_of(volume, voxel_size_nm)
        whole, sections = whole_of(volume)
        if sections is not None and windows.planes != 1:
            raise InputError(
                "--z",
                expected="one plane: xz and yz sections of some sections are others than those of all",
                met=f"--planes {windows.planes}",
                remedy="leave out --planes or --z",
            )
        memory = _memory_for_blocks(volume, memory_gb)
        factors = volume_factors(size, file.pixel_size_nm, windows.planes)
        refuse_finished(target, wanted, volume.path, resume)
        if not is_zarr(output):
            check_export(output, volume.shape)
        _ = file.sha256  # damage is told before minutes of sampling
        if gaps := volume.gaps():
            logger.warning(
                "%s: %s; it is taken as it is, but a copy that has not ended looks so, too", volume.path, gaps
            )
        inventory = Inventory(volume)
        of_all = find_empty(whole, progress_of("looking for empty parts", progress))
        empty = known_empty(volume, of_all)
        if sections is not None and empty.content[0][0] == empty.content[0][1]:
            raise InputError(
                "--z",
                expected="sections that are not empty",
                met=f"{sections[0]}:{sections[1]}, which all are",
                remedy=f"such as {of_all.content[0][0]}:{of_all.content[0][1]}",
            )
        if empty.share:
            logger.warning("%s", describe_empty(empty, empty_label))
        sampling = progress_of("sampling grey values", progress)
        intensity = intensity_range_of(whole, progress=sampling, empty=of_all)
        if invert:
            intensity = intensity[1], intensity[0]
        opened = model if isinstance(model, Model) else open_model(file, device)
        if opened.pixel_size_nm != file.pixel_size_nm:  # the weights have the last word
            factors = volume_factors(size, opened.pixel_size_nm, windows.planes)
        if (drawn := file.record.get("tissues")) and not resume:
            _tell_tissue(volume, intensity, size, empty, drawn, file.path.parent)
        warn_if_thin([last - first for first, last in empty.content], factors, windows)
        from scsam_monai.inference.sizing import divide

        count = len(opened.class_names)
        chunk, largest = divide(volume.shape, volume.dtype, count, windows, factors, wanted, memory)
        job = Job(
            source=Source(
                str(volume.path.absolute()),
                dataset,
                volume.shape,
                str(volume.dtype),
                inventory.digest,
                axes,
                sections,
            ),
            output=str(target),
            model=str(file.path.absolute()),
            model_sha256=file.sha256,
            class_names=opened.class_names,
            voxel_size_nm=size,
            factors=factors,
            intensity=intensity,
            content=empty.content,
            empty=empty.share,
            empty_label=empty_label,
            windows=windows,
            products=wanted,
            chunk=chunk,
            block=largest if block is None else _whole_chunks(block, chunk),
            ome_zarr=ome_zarr,
            threads=threads or recorded_threads(progress_folder(target)) or default_threads(),
            selection=Selection.of(opened.class_names, classes, thresholds, smallest_nm2),
        )
        _warn_if_coarse(volume, job.block)
    return job, opened


def _tell_tissue(
    volume: VolumeReader,
    intensity: Sequence[float],
    size: Sequence[float],
    empty: EmptyParts,
    drawn: Sequence[str],
    weights_dir: Path,
) -> None:
    """Say what tissue a volume resembles, where the model has learned from drawn ones alone."""
    from scsam_monai.inference.recognition import crops_of, doubts, recognition

    crops = crops_of(volume, intensity, min(size[1:]), empty)
    if crops is None:
        return
    try:
        found = recognition(weights_dir).look(crops)
    except InputError as error:  # a model's folder may have come without the package's other weights
        logger.warning("nothing tells what tissue this is: %s", error)
        return
    if found.tissue in drawn:
        logger.info("%s: resembles %s, which the model knows as drawn", volume.path, found.tissue)
    for line in doubts(volume.path, found, drawn, inverted=intensity[0] > intensity[1]):
        logger.warning("%s", line)


def _file_of(model: str | Path | ModelFile | Model) -> ModelFile:
    if isinstance(model, Model):
        if model.file is None:
            raise InputError(
                "model",
                expected="one that was opened from its file, which the results name",
                met="a network that was built by hand",
                remedy="save it as model.pt with its model.json, or keep the labels in memory",
            )
        return model.file
    return model if isinstance(model, ModelFile) else ModelFile(model)


def _memory_for_blocks(volume: VolumeReader, memory_gb: float) -> float:
    """Return the bytes that are left for blocks beside a piece of the source, which is unpacked whole.

    Raises:
        InputError: if there is no memory, or a piece does not fit into it.
    """
    if not memory_gb > 0 or math.isinf(memory_gb):
        remedy = "name some, like 4"
        raise InputError("--memory-gb", expected="a number above 0", met=f"{memory_gb:g}", remedy=remedy)
    piece = math.prod(volume.chunk) * volume.dtype.itemsize
    if piece > memory_gb * 1e9:
        edges = " x ".join(map(str, volume.chunk))
        raise InputError(
            volume.path,
            expected=f"pieces that fit into the {memory_gb:g} GB of --memory-gb",
            met=f"pieces of {edges} voxels, {piece / 1e9:.3g} GB each",
            remedy="save it in smaller pieces, or name more memory than a piece takes",
        )
    return memory_gb * 1e9 - (piece if piece >= LARGE_PIECE else 0)


def _whole_chunks(block: Sequence[int], chunk: Sequence[int]) -> tuple[int, int, int]:
    z, y, x = (-(-edge // step) * step for edge, step in zip(block, chunk, strict=True))
    if (z, y, x) != tuple(block):
        logger.warning(
            "--block %s is rounded up to whole chunks of the output: %d,%d,%d",
            *(",".join(map(str, block)), z, y, x),
        )
    return z, y, x


def warn_if_thin(shape: Sequence[int], factors: Sequence[float], windows: Windows) -> None:
    """Say where three planes see a volume that is thinner than a window."""
    thinnest = round(min(size * factor for size, factor in zip(shape, factors, strict=True)))
    if windows.planes == 3 and thinnest < windows.size:
        logger.warning(
            "three planes of a volume that is only %d of the network's pixels thick, where windows have %d: "
            "one plane may be better, segment a part both ways",
            thinnest,
            windows.size,
        )


def _warn_if_coarse(volume: VolumeReader, block: Sequence[int]) -> None:
    """Say where pages in one piece, packed, are unpacked again for each block that lies in them.

    A file that holds one image, or all sections in one piece, is unpacked once and kept; rows are mapped.
    """
    depth, *page = volume.chunk
    times = math.prod(page) / math.prod(min(*edges) for edges in zip(page, block[1:], strict=True))
    if volume.ndim == 3 and depth == 1 and page[0] > 1 and times >= UNPACKED_IN_VAIN:
        logger.warning(
            "%s is stored in pieces of %d x %d pixels, %.0f times what a block needs of one: reading may take "
            "longer than the network; larger blocks (--memory-gb, --block) or a copy in smaller pieces are faster",
            volume.path,
            *page,
            times,
        )
