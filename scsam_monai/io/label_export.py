"""Write finished labels as TIFF stacks or NIfTI files, plane by plane."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import tifffile
from numpy.typing import DTypeLike

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path, write_errors
from scsam_monai.io.checks import suffix_among
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.label_legend import sections_line
from scsam_monai.io.ome_zarr import LabelLegend
from scsam_monai.io.ome_zarr_volume import LabelVolume
from scsam_monai.io.stated_offset import NOWHERE, imagej_origin, ome_planes
from scsam_monai.progress import Progress

if TYPE_CHECKING:  # brings SciPy, which other formats do without
    import nibabel as nib

CLASSIC_TIFF_BYTES = 2**32 - 2**25  # offsets are 32-bit; leave room for the tags
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")

SLAB_BYTES = 2**28
NIFTI_VOXELS, NIFTI_SIDE = 2**31, 2**15 - 1
_MM_PER_NM = 1e-6


def write_stack(path: str | Path, array: np.ndarray, voxel_size_nm: VoxelSize) -> None:
    """Write an image or volume as a TIFF that Fiji opens with its scale; whole or not at all.

    Args:
        path: ends in ``.tif`` or ``.tiff``.
        array: (y, x) or (z, y, x).
        voxel_size_nm: (z, y, x) in nm.
    """
    options = stack_options(array.shape, array.dtype, voxel_size_nm)
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, array, **options)


def stack_options(
    shape: tuple[int, ...],
    dtype: DTypeLike,
    voxel_size_nm: VoxelSize,
    *,
    imagej_metadata: dict[str, Any] | None = None,
    ome_metadata: dict[str, Any] | None = None,
    offset_nm: VoxelSize = NOWHERE,
) -> dict[str, Any]:
    """How :func:`tifffile.imwrite` is to write a stack.

    ImageJ's flavour holds 8- and 16-bit integers and float32 up to 4 GiB; the rest is written as OME.

    Args:
        shape: (y, x) or (z, y, x).
        dtype: of the values.
        voxel_size_nm: (z, y, x) in nm.
        imagej_metadata: what ImageJ's flavour shall state besides.
        ome_metadata: what OME's flavour shall state besides.
        offset_nm: (z, y, x), where the stack is part of a larger one.
    """
    z, y, x = (float(size) for size in voxel_size_nm)
    dtype = np.dtype(dtype)
    large = math.prod(shape) * dtype.itemsize >= CLASSIC_TIFF_BYTES
    imagej = not large and dtype.name in _IMAGEJ_TYPES
    metadata: dict[str, Any] = {"axes": "ZYX"[-len(shape) :]}
    if imagej:
        metadata |= (
            {"unit": "nm", "spacing": z} | imagej_origin(offset_nm, (z, y, x)) | (imagej_metadata or {})
        )
    else:
        metadata |= {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (z, y, x), strict=True)}
        metadata |= {f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"} | (ome_metadata or {})
        metadata |= ome_planes(1 if len(shape) == 2 else shape[0], offset_nm, (z, y, x))
    return {
        "bigtiff": large,
        "imagej": imagej,
        "ome": not imagej,
        "compression": "zlib",
        "photometric": "minisblack",
        "resolution": (1 / x, 1 / y) if imagej else None,
        "metadata": metadata,
    }


def export_labels(
    zarr_path: str | Path,
    target: str | Path,
    progress: Progress | None = None,
    *,
    sections: tuple[int, int] | None = None,
    directions: np.ndarray | None = None,
) -> None:
    """Write a label volume as one file, which appears whole or not at all.

    TIFF is ImageJ's up to 4 GiB and OME-BigTIFF beyond, with the voxel size and the class names and colours as
    text; values stay grey, because readers built on ITK turn palettes into RGB. NIfTI has no place for names.

    Args:
        zarr_path: made by :func:`~scsam_monai.io.create_labels`, level 0 finished.
        target: ends in ``.tif``, ``.tiff``, ``.nii`` or ``.nii.gz``.
        progress: called with planes read and in all.
        sections: of the whole volume that these are, to be recorded; None for all.
        directions: unit vectors along x, y, z in the world of NIfTI, (3, 3) columns: those of the image, so that
            programs lay the labels over it; None takes the world's own.

    Raises:
        InputError: another suffix, an output that exists, a volume too large for NIfTI, a damaged chunk, a full
            disk or a place that cannot be written to.
    """
    volume, target = LabelVolume(zarr_path), Path(target)
    check_export(target, volume.shape)
    write = _WRITERS[suffix_among(target, _WRITERS).lower()]
    if target.exists():
        raise InputError(
            target, expected="a new output", met="one that exists", remedy="remove it or choose another name"
        )
    with write_errors(target), atomic_path(target) as temporary:
        write(temporary, volume, _planes(volume, progress), sections, directions)


def check_export(target: str | Path, shape: tuple[int, ...]) -> None:
    """Refuse a format that cannot hold a volume, before anything is computed for it.

    Args:
        target: where :func:`export_labels` is to write.
        shape: (z, y, x).

    Raises:
        InputError: another suffix, or a volume too large for NIfTI.
    """
    if _WRITERS[suffix_among(target, _WRITERS).lower()] is _write_nifti:
        _check_nifti_size(Path(target), shape)


def _planes(volume: LabelVolume, progress: Progress | None) -> Iterator[np.ndarray]:
    """The planes (y, x) in order; a layer of chunks is decoded at once where it takes 256 MiB at most."""
    depth, height, width = volume.shape
    step = max(1, min(volume.chunk[0], SLAB_BYTES // (height * width)))
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        for index, plane in enumerate(volume.read(((start, stop), (0, height), (0, width)))):
            if progress is not None:  # before the yield: tifffile never asks beyond the last plane
                progress(start + index + 1, depth)
            yield plane


def _write_tiff(
    path: Path,
    volume: LabelVolume,
    planes: Iterator[np.ndarray],
    sections: tuple[int, int] | None,
    _: np.ndarray | None,
) -> None:
    text = "\n".join([_legend_text(volume.legend), *([] if sections is None else [sections_line(sections)])])
    options = stack_options(
        volume.shape,
        np.uint8,
        volume.voxel_size_nm,
        imagej_metadata={
            "min": 0.0,
            "max": float(max(len(volume.legend.class_names) - 1, 1)),
            "Info": text,
        },
        ome_metadata={"Description": text},
        offset_nm=volume.offset_nm,
    )
    tifffile.imwrite(path, planes, shape=volume.shape, dtype=np.uint8, **options)


def _legend_text(legend: LabelLegend) -> str:
    colours = (bytes(colour).hex() for colour in legend.colours.tolist())
    pairs = enumerate(zip(legend.class_names, colours, strict=True))
    lines = (f"{k} = {name} #{colour}" for k, (name, colour) in pairs)
    return "\n".join(lines)


def _write_nifti(
    path: Path,
    volume: LabelVolume,
    planes: Iterator[np.ndarray],
    sections: tuple[int, int] | None,
    directions: np.ndarray | None,
) -> None:
    header = _nifti_header(volume.shape, volume.voxel_size_nm, volume.offset_nm, directions)
    if sections is not None:
        header["descrip"] = sections_line(sections).encode()
    with _opened(path) as stream:
        header.write_to(stream)
        for plane in planes:  # x runs fastest in the file, as in the plane
            stream.write(plane.tobytes())


def _nifti_header(
    shape: tuple[int, ...], voxel_size_nm: VoxelSize, offset_nm: VoxelSize, directions: np.ndarray | None
) -> nib.Nifti1Header:
    import nibabel as nib

    sizes = np.array(voxel_size_nm[::-1]) * _MM_PER_NM
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if directions is None else directions) * sizes
    affine[:3, 3] = affine[:3, :3] @ (np.array(offset_nm[::-1]) * _MM_PER_NM / sizes)
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape[::-1])
    header.set_zooms(sizes)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")
    header.set_xyzt_units("mm")
    header.set_data_offset(352)
    header["magic"] = b"n+1"
    return header


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with path.open("wb") as file:
        if path.suffix.lower() != ".gz":
            yield file
        else:  # neither name nor time inside: the same labels give the same bytes
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as stream:
                yield stream


def _check_nifti_size(path: Path, shape: tuple[int, ...]) -> None:
    if math.prod(shape) > NIFTI_VOXELS or max(shape) > NIFTI_SIDE:
        raise InputError(
            path,
            expected=f"at most {NIFTI_VOXELS} voxels and {NIFTI_SIDE} along a side for NIfTI",
            met=f"(z, y, x) = {shape}",
            remedy="export it as .tif, or open the OME-Zarr itself",
        )


_WRITERS = {".tif": _write_tiff, ".tiff": _write_tiff, ".nii": _write_nifti, ".nii.gz": _write_nifti}
