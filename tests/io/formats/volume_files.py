"""Writers of one volume in every format that is read in parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import nibabel as nib
import numpy as np
import tifffile
import zarr
from PIL import Image

Writer = Callable[[Path, np.ndarray], Path]


def tiff(**options: Any) -> Writer:
    def write(folder: Path, array: np.ndarray) -> Path:
        tifffile.imwrite(folder / "stack.tif", array, photometric="minisblack", **options)
        return folder / "stack.tif"

    return write


def slices(folder: Path, array: np.ndarray) -> Path:
    for number, section in enumerate(array, 8):
        tifffile.imwrite(folder / f"slice_{number}.tif", section, compression="zlib")
    return folder


def png_slices(folder: Path, array: np.ndarray) -> Path:
    for number, section in enumerate(array, 8):
        Image.fromarray(section).save(folder / f"slice_{number}.png")
    return folder


def npy(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "volume.npy", array)
    return folder / "volume.npy"


def fortran_npy(folder: Path, array: np.ndarray) -> Path:
    return npy(folder, np.asfortranarray(array))


def nifti(folder: Path, array: np.ndarray, name: str = "volume.nii", scaled: bool = False) -> Path:
    image = nib.Nifti1Image(array.T, np.diag([4.0, 5.0, 50.0, 1.0]), dtype=array.dtype)
    image.header.set_xyzt_units(xyz="micron")
    if scaled:
        image.header.set_slope_inter(0.5, -3)
    image.to_filename(folder / name)
    return folder / name


def mrc(folder: Path, array: np.ndarray) -> Path:
    with mrcfile.new(folder / "volume.mrc", overwrite=True) as file:
        file.set_data(array)
        file.set_volume()
        file.voxel_size = (40, 50, 500)  # x, y, z in angstrom
    return folder / "volume.mrc"


def hdf5(folder: Path, array: np.ndarray, **options: Any) -> Path:
    with h5py.File(folder / "volume.h5", "w") as file:
        raw = file.create_dataset("volumes/raw", data=array, **options)
        raw.attrs["element_size_um"] = (0.05, 0.005, 0.004)
    return folder / "volume.h5"


def chunked_hdf5(folder: Path, array: np.ndarray) -> Path:
    return hdf5(folder, array, chunks=(2, 16, 8), compression="gzip", shuffle=True)


def plain_zarr(zarr_format: int, **options: Any) -> Writer:
    def write(folder: Path, array: np.ndarray) -> Path:
        _zarr_array(folder / "volume.zarr", array, zarr_format, **options)
        return folder / "volume.zarr"

    return write


def ome_zarr(
    version: str = "0.5",
    axes: str = "zyx",
    unit: str | None = "micrometer",
    common: list[float] | None = None,
    **options: Any,
) -> Writer:
    """Two levels, the second of every other voxel."""

    def write(folder: Path, array: np.ndarray) -> Path:
        path, zarr_format = folder / "volume.ome.zarr", 2 if version == "0.4" else 3
        outer = len(axes) - array.ndim
        group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
        for level, step in enumerate((1, 2)):
            part = array[tuple(slice(None, None, step) for _ in array.shape)]
            _zarr_array(path / f"s{level}", part[(None,) * outer], zarr_format, **options)
        image: dict[str, Any] = {
            "axes": [_axis(axis, unit) for axis in axes],
            "datasets": [
                {"path": f"s{level}", "coordinateTransformations": [_scale(axes, 2.0**level)]}
                for level in range(2)
            ],
        }
        if common is not None:
            image["coordinateTransformations"] = [{"type": "scale", "scale": common}]
        group.attrs.update(
            {"multiscales": [image | {"version": "0.4"}]}
            if version == "0.4"
            else {"ome": {"version": version, "multiscales": [image]}}
        )
        return path

    return write


def _axis(name: str, unit: str | None) -> dict[str, str]:
    if name not in "zyx":
        return {"name": name, "type": "time" if name == "t" else "channel"}
    return {"name": name, "type": "space"} | ({} if unit is None else {"unit": unit})


def _scale(axes: str, factor: float) -> dict[str, Any]:
    size = {"z": 0.05 * factor, "y": 0.005 * factor, "x": 0.004 * factor}
    return {"type": "scale", "scale": [size.get(axis, 1.0) for axis in axes]}


def _zarr_array(path: Path, array: np.ndarray, zarr_format: int, **options: Any) -> None:
    chunks = options.pop("chunks", (1,) * (array.ndim - 3) + (2, 16, 8)[-array.ndim :])
    target = zarr.create_array(
        path, shape=array.shape, dtype=array.dtype, chunks=chunks, zarr_format=zarr_format, **options
    )
    target[:] = array


ANY_TYPE: dict[str, Writer] = {
    "tiff": tiff(metadata=None),
    "tiff-zlib-strips": tiff(compression="zlib", rowsperstrip=7),
    "tiff-big-endian": tiff(bigtiff=True, byteorder=">"),
    "tiff-tiles": tiff(tile=(16, 16)),
    "tiff-zlib-tiles": tiff(tile=(32, 16), compression="zlib"),
    "tiff-ome": tiff(ome=True, metadata={"axes": "ZYX"}, compression="zlib"),
    "slices": slices,
    "npy": npy,
    "npy-fortran": fortran_npy,
    "nifti": nifti,
    "nifti-gz": lambda folder, array: nifti(folder, array, "volume.nii.gz"),
    "hdf5": hdf5,
    "hdf5-chunks": chunked_hdf5,
    "zarr-2": plain_zarr(2),
    "zarr-3": plain_zarr(3),
    "zarr-3-shards": plain_zarr(3, chunks=(1, 8, 8), shards=(4, 16, 16)),
    "ome-zarr-0.4": ome_zarr("0.4"),
    "ome-zarr-0.4-tczyx": ome_zarr("0.4", "tczyx"),
    "ome-zarr-0.5": ome_zarr("0.5"),
    "ome-zarr-0.5-czyx": ome_zarr("0.5", "czyx"),
}
"""Formats that hold every integer type of up to 32 bits, and float32."""

FEW_TYPES: dict[str, tuple[Writer, tuple[str, ...]]] = {
    "tiff-zlib-predictor": (tiff(compression="zlib", predictor=2), ("uint8", "uint16", "int32")),
    "tiff-imagej": (tiff(imagej=True, metadata={"axes": "ZYX"}), ("uint8", "uint16", "float32")),
    "png-slices": (png_slices, ("uint8", "uint16")),
    "mrc": (mrc, ("int8", "int16", "uint16", "float32")),
}
