"""Write a job's maps block by block, and move them to their place when all are finished."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai._version import __version__
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import write_errors
from scsam_monai.inference.blocks import Block
from scsam_monai.inference.job import Job, is_zarr, output_suffix
from scsam_monai.inference.products import Product
from scsam_monai.inference.runners.local import Cancel
from scsam_monai.inference.small_profiles import remove_small
from scsam_monai.io.formats import place_and_dataset
from scsam_monai.io.formats.nifti import directions, is_nifti
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.label_export import export_labels
from scsam_monai.io.ome_zarr import LabelLegend
from scsam_monai.io.ome_zarr_create import create_image, create_labels
from scsam_monai.io.ome_zarr_volume import ImageVolume, LabelVolume
from scsam_monai.io.pyramid import build_pyramid, write_block
from scsam_monai.io.stated_offset import NOWHERE, stated_offset
from scsam_monai.progress import StageProgress, progress_of


class Store:
    """The OME-Zarr volumes of a job in its progress folder; the finished ones stand beside it.

    Args:
        job: what is computed.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._volumes: dict[Product, LabelVolume | ImageVolume] = {}

    def create(self, colours: np.ndarray) -> None:
        """Make the volumes that are not there yet; any number of processes may at once.

        Args:
            colours: of the classes, (K', 3) uint8.
        """
        for product in self.job.products:
            if not self._place(product).exists():
                try:
                    self._create(product, colours)
                except InputError:
                    if not self._place(product).exists():  # another process was faster
                        raise

    def write(self, block: Block, products: dict[Product, np.ndarray]) -> None:
        """Write a block's maps; blocks are whole chunks, so that nobody else writes the same ones.

        What a block covers of the pyramid's next level is written, too: it need not be read again for that.
        """
        for product, values in products.items():
            if product not in self._volumes:
                kind = LabelVolume if product == Product.LABELS else ImageVolume
                self._volumes[product] = kind(self._place(product))
            if self._is_exported(product) or (product == Product.LABELS and self._cleans()):
                self._volumes[product].write(block, values)
            else:
                write_block(self._volumes[product], block, values)

    def finish(self, progress: StageProgress | None = None, cancel: Cancel | None = None) -> bool:
        """Build pyramids and move everything to its place; goes on where an earlier call was stopped or killed.

        Args:
            progress: called with each stage.
            cancel: asked between chunks of pyramids; True ends the work.

        Returns:
            whether everything is in its place.

        Raises:
            InputError: if something else stands there by now, or cannot be written.
        """
        for product in self.job.products:
            place, target = self._place(product), self.job.path(product)
            cleans = product == Product.LABELS and self._cleans()
            if cleans and place.exists() and not self._clean(progress, cancel):
                return False
            if self._is_exported(product):
                self._export(progress)
            elif place.exists():  # else moved before a kill
                named = progress_of(f"pyramid of {product.value}", progress)
                # Labels that change at the end were written without what lies in one block of the next level.
                block = None if cleans else self.job.block
                if not build_pyramid(place, block=block, progress=named, cancel=cancel):
                    return False
                move_into_place(place, target)
        return True

    def _cleans(self) -> bool:
        """Whether small profiles are left out, which takes whole sections: then the labels change at the end."""
        return self.job.selection is not None and self.job.selection.asks_size

    def _clean(self, progress: StageProgress | None, cancel: Cancel | None) -> bool:
        assert self.job.selection is not None
        _, y, x = self.job.voxel_size_nm
        return remove_small(
            LabelVolume(self._place(Product.LABELS)),
            self.job.plan,
            [area / (y * x) for area in self.job.selection.smallest_nm2],
            progress_of("leaving out small profiles", progress),
            cancel,
        )

    def _export(self, progress: StageProgress | None) -> None:
        place, exported, target = self._place(Product.LABELS), self._exported(), self.job.path(Product.LABELS)
        if place.exists():
            if not exported.exists():
                export_labels(
                    place,
                    exported,
                    progress_of("exporting", progress),
                    sections=self.job.source.sections,
                    directions=_directions(self.job),
                )
            # It goes with the folder. Away from its name, no kill from here on has it exported once more.
            with write_errors(place):
                place.rename(place.with_suffix(".exported"))
        if exported.exists():
            move_into_place(exported, target)

    def _create(self, product: Product, colours: np.ndarray) -> None:
        job, place = self.job, self._place(product)
        shared: dict[str, Any] = {
            "version": job.ome_zarr,
            "chunk": job.chunk,
            "attributes": _provenance(job),
            "offset_nm": _offset_nm(job),
        }
        shape, size = job.source.shape, job.voxel_size_nm
        if product == Product.LABELS:
            create_labels(place, shape, size, LabelLegend(job.class_names, colours), **shared)
        elif product == Product.PROBABILITIES:
            names = list(job.class_names)
            create_image(place, (len(names), *shape), size, names, colours=colours, **shared)
        else:
            create_image(place, shape, size, [product.value], **shared)

    def _place(self, product: Product) -> Path:
        return _place_in(self.job.folder, product)

    def _is_exported(self, product: Product) -> bool:
        """Whether a map becomes a file of another format, which has no pyramid."""
        return product == Product.LABELS and not is_zarr(self.job.path(product))

    def _exported(self) -> Path:
        """The labels as one file, if they are to be one; whole where it is."""
        return _exported_in(self.job.folder, Path(self.job.output))


def holds(folder: Path, output: Path, product: Product) -> bool:
    """Return whether a map of a job is still in its progress folder, not moved to its place.

    Args:
        folder: of the job's progress.
        output: its labels.
        product: the map.
    """
    exported = product == Product.LABELS and _exported_in(folder, output).exists()
    return exported or _place_in(folder, product).exists()


def _place_in(folder: Path, product: Product) -> Path:
    return folder / f"{product.value}.ome.zarr"


def _exported_in(folder: Path, output: Path) -> Path:
    return folder / f"exported{output_suffix(output).lower()}"


def _offset_nm(job: Job) -> VoxelSize:
    """Where the maps lie: where the image states that it lies, and so many sections further."""
    source = job.source
    z, y, x = NOWHERE if source.axes is not None else stated_offset(source.path, source.dataset)
    z, y, x = (n * edge for n, edge in zip((z + job.first_section, y, x), job.voxel_size_nm, strict=True))
    return z, y, x


def _directions(job: Job) -> np.ndarray | None:
    """How the axes of a NIfTI image lie in its world, which declared axes say nothing of."""
    path = Path(job.source.path)
    return directions(path) if is_nifti(path) and job.source.axes is None else None


def _provenance(job: Job) -> dict[str, object]:
    """How the maps were made, without the paths of this machine."""
    described = job.as_json()
    place, dataset = place_and_dataset(job.source.path)
    described["source"] |= {"path": place.name, "dataset": job.source.dataset or dataset}
    versions = {"scsam-monai": __version__, "torch": version("torch"), "numpy": version("numpy")}
    kept = {key: described[key] for key in described if key not in ("output", "model")}
    return kept | {"versions": versions}


def move_into_place(place: Path, target: Path) -> None:
    """Give a finished output its name.

    Raises:
        InputError: if something has that name by now, or the system refuses.
    """
    if target.exists():
        raise InputError(
            target,
            expected="no output yet",
            met="one that has come since the run began",
            remedy="move it away and add --resume",
        )
    with write_errors(target):
        place.rename(target)
