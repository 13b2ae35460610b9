"""NIfTI images and labels, whole and in parts."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.axes import UNKNOWN
from scsam_monai.io.checks import colour_error, say_once
from scsam_monai.io.formats.source import Box, MappedArray, Stored
from scsam_monai.io.image import ImageHeader, VoxelSize
from scsam_monai.io.voxel_size import SAME, nm_per_unit
from scsam_monai.progress import amount

if TYPE_CHECKING:  # brings SciPy, which other formats do without
    import nibabel as nib

logger = logging.getLogger(__name__)

LARGEST_GZIP_BYTES = 2**31
"""A gzip stream has no parts: what it holds is unpacked at the first read and kept, up to this size."""


@dataclass(frozen=True)
class NiftiLayout:
    """What a NIfTI file states beside its values.

    Attributes:
        affine: (4, 4), voxel indices (x, y, z) to the file's world, in the file's own unit.
        header: the file's header.
        image_class: NIfTI-1 or NIfTI-2.
    """

    affine: np.ndarray
    header: nib.Nifti1Header
    image_class: type[nib.Nifti1Image]


class NiftiFormat:
    """Images and volumes as they are stored: axes are reversed, never flipped or resampled."""

    suffixes: tuple[str, ...] = (".nii", ".nii.gz")

    def open(self, path: Path) -> NiftiSource:
        """Open a file."""
        return NiftiSource(path)

    def write_labels(self, path: Path, labels: np.ndarray, like: ImageHeader) -> None:
        """Write labels with the affine, units and axes of ``like``, unscaled."""
        layout: NiftiLayout = like.layout
        header = layout.header.copy()
        values = labels.T.reshape(header.get_data_shape(), order="F")
        header.set_data_dtype(labels.dtype)
        header["cal_min"] = header["cal_max"] = 0
        layout.image_class(values, layout.affine, header).to_filename(path)


def is_nifti(path: str | Path) -> bool:
    """Whether a path is a file that calls itself NIfTI."""
    return str(path).lower().endswith(NiftiFormat.suffixes) and Path(path).is_file()


def _load(path: Path) -> nib.Nifti1Image:
    import nibabel as nib

    image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):  # NIfTI-2 is a subclass
        raise TypeError(f"{type(image).__name__} is not NIfTI")
    return image


def _stored(path: Path, image: nib.Nifti1Image) -> Stored:
    header, ndim = image.header, len(image.shape)
    if header.get_data_dtype().fields is not None:
        raise colour_error(path, "RGB voxels")
    layout = NiftiLayout(np.array(image.affine), header.copy(), type(image))
    # The scaled type is known from a value.
    dtype = image.dataobj[(0,) * ndim].dtype if 0 not in image.shape else np.dtype("u1")
    axes = (UNKNOWN * ndim + "tzyx")[-ndim:]
    size = (*(None for _ in range(ndim)), *_voxel_size(path, header))[-ndim:]
    return Stored(path, tuple(reversed(image.shape)), dtype, axes, size, layout=layout)


def _voxel_size(path: Path, header: nib.Nifti1Header) -> tuple[float | None, ...]:
    """(z, y, x) in nm, or all None: also where the header states two, of which programs take either."""
    scale = nm_per_unit(header.get_xyzt_units()[0])
    zooms = [float(zoom) for zoom in header.get_zooms()[:3]]
    if scale is None or len(zooms) < 2 or min(zooms) <= 0:
        return None, None, None
    if int(header["sform_code"]) > 0:
        edges = np.linalg.norm(header.get_sform()[:3, : len(zooms)], axis=0)
        if not np.allclose(edges, zooms, rtol=SAME, atol=0):
            given, other = (", ".join(f"{edge * scale:.5g}" for edge in size) for size in (zooms, edges))
            say_once(
                logger,
                "%s: its header states two voxel sizes (x, y, z), %s nm as pixdim and %s nm as sform: "
                "neither is taken",
                *(path, given, other),
            )
            return None, None, None
    # Zooms are stored in single precision: 7 digits are what the file states.
    x, y, *z = (float(f"{zoom * scale:.7g}") for zoom in zooms)
    return (z[0] if z else y, y, x)


def offset_in_voxels(path: Path) -> VoxelSize:
    """How many voxels the first one lies from the world's origin along z, y, x; 0 where no place is stated."""
    image: Any = _load(path)
    if not _states_a_place(image.header) or abs(np.linalg.det(image.affine[:3, :3])) == 0:
        return 0.0, 0.0, 0.0
    voxels = np.linalg.solve(image.affine[:3, :3], image.affine[:3, 3])
    nearest = np.round(voxels)  # the header is in single precision
    near = np.abs(voxels - nearest) < 1e-3 + 1e-6 * np.abs(nearest)
    x, y, z = (float(f"{voxel:.7g}") for voxel in np.where(near, nearest, voxels) + 0.0)
    return z, y, x


def directions(path: Path) -> np.ndarray | None:
    """Unit vectors in the world along x, y, z, as columns (3, 3); None where no place is stated."""
    image: Any = _load(path)
    edges = np.linalg.norm(image.affine[:3, :3], axis=0)
    return image.affine[:3, :3] / edges if _states_a_place(image.header) and edges.all() else None


def orientation(path: Path) -> str | None:
    """Where x, y and z run to, like ``LPS`` (left, posterior, superior); None where no place is stated."""
    import nibabel as nib

    axes = directions(path)
    return None if axes is None else "".join(nib.orientations.aff2axcodes(nib.affines.from_matvec(axes)))


def _states_a_place(header: nib.Nifti1Header) -> bool:
    """Whether the affine is one of the file's own; nibabel makes one up where the header knows none."""
    return int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0


class NiftiSource:
    """``.nii`` mapped, ``.nii.gz`` unpacked once; slope and intercept are applied to what is read.

    Why not nibabel's ``dataobj[...]``: the values are the same, but it opens the file for each part, took up to 8
    times as long for a block, and unpacks ``.nii.gz`` from its beginning each time.
    """

    def __init__(self, path: Path) -> None:
        image: Any = _load(path)
        self.stored = _stored(path, image)
        self._proxy = image.dataobj
        self._values: np.ndarray | None = None
        self._mapped = MappedArray(path, self._proxy.offset, self.stored.shape, self._proxy.dtype)
        self._packed = path.name.lower().endswith(".gz")
        if self._packed:
            _check_unpacked_size(self._mapped)
        else:
            self._mapped.check_size()
        self.chunk = self.stored.shape if self._packed else self._mapped.chunk

    def read(self, box: Box) -> np.ndarray:
        """The values in ``box``, scaled."""
        from nibabel.volumeutils import apply_read_scaling

        stored = self._unpacked()[box] if self._packed else self._mapped.read(box)
        slope, intercept = np.float64(self._proxy.slope), np.float64(self._proxy.inter)
        return apply_read_scaling(stored, slope, intercept)

    def close(self) -> None:
        """Forget what was unpacked."""
        self._values = None

    def _unpacked(self) -> np.ndarray:
        if self._values is None:
            stored = self._proxy.get_unscaled()
            self._values = stored.reshape(self.stored.shape[::-1], order="F").T
        return self._values


def _check_unpacked_size(array: MappedArray) -> None:
    size = math.prod(array.shape) * array.dtype.itemsize
    if size > LARGEST_GZIP_BYTES:
        raise InputError(
            array.path,
            expected=f"at most {amount(LARGEST_GZIP_BYTES)} in a gzip file, which can only be read whole",
            met=amount(size),
            remedy="gunzip it and name the .nii file, or convert it to OME-Zarr",
        )
