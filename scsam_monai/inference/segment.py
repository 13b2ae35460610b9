"""Segment an image or a volume: an array or a file in, labels in memory or in a file out."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from scsam_monai.filesystem.atomic import write_errors
from scsam_monai.inference.blocks import Block, BlockPlan
from scsam_monai.inference.content import content_stream
from scsam_monai.inference.job import progress_folder
from scsam_monai.inference.manifest import JOB
from scsam_monai.inference.model import Model, open_model
from scsam_monai.inference.pixel_size import volume_factors
from scsam_monai.inference.planning import warn_if_thin
from scsam_monai.inference.products import Product, as_products
from scsam_monai.inference.sizing import divide
from scsam_monai.inference.windows import Windows
from scsam_monai.io.axes import AxisOrder
from scsam_monai.io.empty import describe_empty, find_empty
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.intensity import intensity_range_of
from scsam_monai.io.inventory import Inventory, WatchedVolume
from scsam_monai.io.volume import ArrayVolume, VolumeReader, open_volume, voxel_size_of
from scsam_monai.progress import Progress
from scsam_monai.weights.registry import check_model

logger = logging.getLogger(__name__)

MEMORY_BYTES = 4e9

Cancel = Callable[[], bool]


class Segmentation(NamedTuple):
    """What :func:`segment` finds; all maps are uint8 and shaped like the image."""

    labels: np.ndarray
    """Class ids."""
    class_names: tuple[str, ...]
    """K' names, background first."""
    maps: dict[Product, np.ndarray]
    """What else was asked for; probabilities have a leading axis of K' classes."""


@overload
def segment(
    image: npt.ArrayLike | str | Path,
    model: str | Path | Model | None = ...,
    voxel_size_nm: Sequence[float] | float | None = ...,
    *,
    output: None = ...,
    dataset: str | None = ...,
    axes: str | None = ...,
    windows: Windows | None = ...,
    products: Sequence[Product | str] = ...,
    device: str | None = ...,
    empty_label: int = ...,
    resume: bool = ...,
    progress: Progress | None = ...,
    cancel: Cancel | None = ...,
) -> Segmentation: ...


@overload
def segment(
    image: npt.ArrayLike | str | Path,
    model: str | Path | Model | None = ...,
    voxel_size_nm: Sequence[float] | float | None = ...,
    *,
    output: str | Path,
    dataset: str | None = ...,
    axes: str | None = ...,
    windows: Windows | None = ...,
    products: Sequence[Product | str] = ...,
    device: str | None = ...,
    empty_label: int = ...,
    resume: bool = ...,
    progress: Progress | None = ...,
    cancel: Cancel | None = ...,
) -> Path: ...


def segment(
    image: npt.ArrayLike | str | Path,
    model: str | Path | Model | None = None,
    voxel_size_nm: Sequence[float] | float | None = None,
    *,
    output: str | Path | None = None,
    dataset: str | None = None,
    axes: str | None = None,
    windows: Windows | None = None,
    products: Sequence[Product | str] = (),
    device: str | None = None,
    empty_label: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Segmentation | Path:
    """Segment an image (y, x) or a volume (z, y, x).

    It is the same computation as that of ``scsam predict``.

    Args:
        image: an array of grey values, or what numpy takes for one, any real type, bright or dark as the
            microscope gives it; or the path of anything that :func:`scsam_monai.io.open_volume` reads. An array
            may have axes of length 1, and its labels have them, too.
        model: a ``model.pt``, the folder of one, or what :func:`open_model` returned. None, like ``scsam``, takes
            the model that comes with the package, which was trained on drawn tissue.
        voxel_size_nm: (z, y, x), or (y, x) or one number for an image, as a list, an array or a tensor. An array
            needs it; it goes before what a file states.
        output: where the labels shall be written, block by block: ``.ome.zarr``, or ``.tif`` and ``.nii.gz`` for
            volumes that are not too large. Nothing may be there yet. None keeps them in memory.
        dataset: inside an HDF5 file or an OME-Zarr.
        axes: letters of the axes of the array, or as the file stores them, like ``xyz`` or ``zyxc``; None
            takes what the file says, else z, y, x. The labels of an array have its axes.
        windows: how the network looks at it.
        products: further maps: ``probabilities``, ``confidence``, and with three planes ``disagreement``.
        device: where to compute; None takes a GPU where there is one.
        empty_label: of padding around the image, see :mod:`scsam_monai.io.empty`: 0, the background, or 255.
        resume: go on with what a run that was stopped has left at ``output``. Arrays start anew.
        progress: called with the voxels done and in all.
        cancel: asked now and then; True ends the work with :class:`InterruptedError`.

    Returns:
        the labels, or the path that they were written to; further maps are beside it.

    Raises:
        InputError: if the image is no grey image, or the model, the voxel size or the output does not fit.

    Example:
        >>> import numpy as np
        >>> from scsam_monai import segment
        >>> stack = np.random.default_rng(0).integers(0, 255, (2, 64, 64), dtype=np.uint8)
        >>> segment(stack, voxel_size_nm=(16, 16, 16), device="cpu").labels.shape
        (2, 64, 64)
    """
    windows = windows or Windows()
    wanted = as_products(products, windows.planes)
    if model is None:
        model = check_model()
        logger.warning("model: %s, trained on drawn tissue, not on yours; name your own", model)
    array: np.ndarray | None = None
    opening: VolumeReader
    if isinstance(image, str | Path):
        opening = open_volume(image, dataset, axes)
    else:
        array = np.asarray(image)
        opening = ArrayVolume(array, axes=axes)
    option = "voxel_size_nm=(50, 4.6, 4.6)"
    if output is None:
        with opening as volume:
            size = voxel_size_of(volume, voxel_size_nm, option)
            model = model if isinstance(model, Model) else open_model(model, device)
            found = _in_memory(volume, size, model, windows, wanted, empty_label, progress, cancel)
            return found if array is None else _with_axes(found, volume.order)
    to_file = partial(
        _to_file,
        model=model,
        windows=windows,
        products=wanted,
        device=device,
        empty_label=empty_label,
        progress=progress,
        cancel=cancel,
    )
    with opening as volume:
        size = voxel_size_of(volume, voxel_size_nm, option)
        if array is None:
            return to_file(
                volume, Path(output), voxel_size_nm=size, dataset=dataset, axes=axes, resume=resume
            )
    with _saved(volume.order.bring(array), Path(output)) as path:
        return to_file(path, Path(output), voxel_size_nm=size, axes="zyx"[-volume.ndim :])


def _with_axes(found: Segmentation, order: AxisOrder) -> Segmentation:
    """The maps with the axes of the array that they are of."""
    maps = {product: order.back(values) for product, values in found.maps.items()}
    return found._replace(labels=order.back(found.labels), maps=maps)


def _in_memory(
    volume: VolumeReader,
    size: VoxelSize,
    model: Model,
    windows: Windows,
    wanted: tuple[Product, ...],
    empty_label: int,
    progress: Progress | None,
    cancel: Cancel | None,
) -> Segmentation:
    factors = volume_factors(size, model.pixel_size_nm, windows.planes)
    inventory = Inventory(volume)
    empty = find_empty(volume)
    if empty.share:
        logger.warning("%s", describe_empty(empty, empty_label))
    intensity = intensity_range_of(volume, empty=empty)
    warn_if_thin([last - first for first, last in empty.content], factors, windows)
    classes = len(model.class_names)
    _, block = divide(volume.shape, volume.dtype, classes, windows, factors, wanted, MEMORY_BYTES)
    plan, sink = BlockPlan(volume.shape, block), MapsInMemory(volume.shape)
    watched = WatchedVolume(volume, inventory)
    stream = content_stream(
        watched,
        volume.dtype,
        empty,
        model,
        windows,
        factors,
        intensity,
        plan,
        sink,
        wanted,
        empty_label,
        progress,
    )
    finished = sum(1 for _ in stream.run(range(len(plan)), cancel))
    if finished < len(plan):
        raise InterruptedError("segmentation was cancelled")
    maps = {
        product: values if volume.ndim == 3 else values[..., 0, :, :] for product, values in sink.maps.items()
    }
    return Segmentation(maps.pop(Product.LABELS), model.class_names, maps)


def _to_file(
    source: str | Path | VolumeReader,
    output: Path,
    *,
    model: str | Path | Model,
    device: str | None,
    resume: bool = False,
    progress: Progress | None,
    cancel: Cancel | None,
    **planned: Any,
) -> Path:
    from scsam_monai.inference.planning import plan_job
    from scsam_monai.inference.run import run_job
    from scsam_monai.io.palette import colours_of

    def stage(name: str, done: float, total: float) -> None:
        if progress is not None and name == "segmenting":
            progress(done, total)

    job, opened = plan_job(source, output, model, device=device, progress=stage, **planned)
    colours = colours_of(job.class_names)
    if not run_job(job, colours, resume=resume, model=opened, progress=stage, cancel=cancel):
        raise InterruptedError("segmentation was cancelled; resume=True goes on with it")
    return output


@contextmanager
def _saved(image: np.ndarray, output: Path) -> Iterator[Path]:
    """Yield a file of an array, to be read in parts. What is left of a run that stopped cannot be gone on with."""
    left = progress_folder(output)
    with ExitStack() as stack:
        with write_errors(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".array-", dir=output.parent))
            np.save(Path(folder) / "array.npy", image)
        try:
            yield Path(folder) / "array.npy"
        except BaseException:
            if _is_of(left, Path(folder)):
                shutil.rmtree(left, ignore_errors=True)
            raise


def _is_of(progress: Path, array: Path) -> bool:
    """Whether a begun run reads the array in that folder; another call's run is not ours to remove."""
    job = progress / JOB
    return job.is_file() and array.name in job.read_text("utf-8")


class MapsInMemory:
    """Keeps whole maps."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.maps: dict[Product, np.ndarray] = {}

    def write(self, block: Block, products: dict[Product, np.ndarray]) -> None:
        """Copy a block's maps in."""
        for product, values in products.items():
            if product not in self.maps:
                self.maps[product] = np.empty((*values.shape[:-3], *self.shape), np.uint8)
            z, y, x = (slice(*bounds) for bounds in block)
            self.maps[product][..., z, y, x] = values
