"""A data store that takes only images and labels that the models can use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.errors import not_found, readable
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag

from scsam_monai.data.corrections import by_segment_names, check_correction
from scsam_monai.data.items import as_uint8
from scsam_monai.data.transforms import parse_size
from scsam_monai.errors import InputError
from scsam_monai.io import read_image, read_labels, write_labels_like


class CheckedDatastore(LocalDatastore):
    """MONAI Label's folder of images, ``labels/final`` and ``labels/original``.

    Args:
        class_names: of the models; index is the class id.
    """

    def __init__(self, *args: Any, class_names: list[str], **kwargs: Any) -> None:
        self.class_names = class_names
        super().__init__(*args, **kwargs)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Store an image, unless it is none; ``image_info`` may hold its ``voxel_size_nm``."""
        with readable(f"{image_id}{Path(image_filename).suffix}"):
            _check_name("image", image_id)
            read_image(image_filename)
            parse_size(image_info.get("voxel_size_nm"))
            return super().add_image(image_id, image_filename, image_info)

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Store a label, unless it does not fit its image; ``label_info`` may hold the names of its segments."""
        with readable(f"label of {image_id}"):
            _check_name("tag", label_tag)
            image = self.get_image_uri(image_id)
            if not image:
                raise not_found("image", image_id, self.list_images())
            if label_tag == DefaultLabelTag.FINAL:
                if segments := label_info.get("label_info"):
                    _rename(label_filename, segments, self.class_names)
                check_correction(image, label_filename, self.class_names)
            return super().save_label(image_id, label_filename, label_tag, label_info)

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Note something about an image, such as its ``voxel_size_nm``."""
        with readable(image_id):
            parse_size(info.get("voxel_size_nm"))
            super().update_image_info(image_id, info)


def _rename(label: str, segments: list[dict[str, Any]], class_names: list[str]) -> None:
    """Number the voxels of an uploaded file by the names of their segments."""
    read = read_labels(label)
    values = as_uint8(read.array, where=label)
    write_labels_like(label, by_segment_names(values, segments, class_names), read)


def _check_name(what: str, name: str) -> None:
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise InputError(what, expected="a name without folders", met=repr(name), remedy="correct the name")
