"""Readers and writers of images, and voxel sizes in nm. Nothing here knows of data sets or networks."""

from typing import TYPE_CHECKING

from scsam_monai.lazy import offer

if TYPE_CHECKING:
    from scsam_monai.io.files import (
        image_suffix,
        is_supported,
        read_header,
        read_image,
        read_labels,
        write_labels_like,
    )
    from scsam_monai.io.formats import only_in_parts
    from scsam_monai.io.image import EMImage, ImageHeader, Region, VoxelSize, check_region, crop
    from scsam_monai.io.intensity import intensity_range, intensity_range_of, normalise
    from scsam_monai.io.label_export import export_labels, write_stack
    from scsam_monai.io.ome_zarr import LabelLegend
    from scsam_monai.io.ome_zarr_create import create_image, create_labels
    from scsam_monai.io.ome_zarr_volume import ImageVolume, LabelVolume
    from scsam_monai.io.pyramid import build_pyramid, write_block
    from scsam_monai.io.volume import ArrayVolume, VolumeReader, open_volume, voxel_size_of
    from scsam_monai.io.voxel_size import as_voxel_size

__all__ = [
    "ArrayVolume",
    "EMImage",
    "ImageHeader",
    "ImageVolume",
    "LabelLegend",
    "LabelVolume",
    "Region",
    "VolumeReader",
    "VoxelSize",
    "as_voxel_size",
    "build_pyramid",
    "check_region",
    "create_image",
    "create_labels",
    "crop",
    "export_labels",
    "image_suffix",
    "intensity_range",
    "intensity_range_of",
    "is_supported",
    "normalise",
    "only_in_parts",
    "open_volume",
    "read_header",
    "read_image",
    "read_labels",
    "voxel_size_of",
    "write_block",
    "write_labels_like",
    "write_stack",
]

offer(
    __name__,
    {
        "ArrayVolume": "volume",
        "EMImage": "image",
        "ImageHeader": "image",
        "ImageVolume": "ome_zarr_volume",
        "LabelLegend": "ome_zarr",
        "LabelVolume": "ome_zarr_volume",
        "Region": "image",
        "VolumeReader": "volume",
        "VoxelSize": "image",
        "as_voxel_size": "voxel_size",
        "build_pyramid": "pyramid",
        "check_region": "image",
        "create_image": "ome_zarr_create",
        "create_labels": "ome_zarr_create",
        "crop": "image",
        "export_labels": "label_export",
        "image_suffix": "files",
        "intensity_range": "intensity",
        "intensity_range_of": "intensity",
        "is_supported": "files",
        "normalise": "intensity",
        "only_in_parts": "formats",
        "open_volume": "volume",
        "read_header": "files",
        "read_image": "files",
        "read_labels": "files",
        "voxel_size_of": "volume",
        "write_block": "pyramid",
        "write_labels_like": "files",
        "write_stack": "label_export",
    },
)
