"""Readers and writers of images, and voxel sizes in nm. Nothing here knows of data sets or networks."""

from scsam_monai.io.atomic import atomic_path
from scsam_monai.io.files import (
    image_suffix,
    is_supported,
    read_header,
    read_image,
    read_labels,
    write_labels_like,
)
from scsam_monai.io.image import EMImage, ImageHeader, VoxelSize
from scsam_monai.io.intensity import intensity_range, normalise
from scsam_monai.io.region import Region, check_region, crop
from scsam_monai.io.stack import write_stack

__all__ = [
    "EMImage",
    "ImageHeader",
    "Region",
    "VoxelSize",
    "atomic_path",
    "check_region",
    "crop",
    "image_suffix",
    "intensity_range",
    "is_supported",
    "normalise",
    "read_header",
    "read_image",
    "read_labels",
    "write_labels_like",
    "write_stack",
]
