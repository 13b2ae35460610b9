"""A data store that takes only images and labels that the models can use."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag

from scsam_monai.data.items import as_uint8, volume_shape
from scsam_monai.data.transforms import parse_size
from scsam_monai.errors import InputError
from scsam_monai.io import read_header, read_image, read_labels, write_labels_like
from scsam_monai.monai_label.app.requests import not_found, readable
from scsam_monai.monai_label.corrections import by_segment_names, check_correction


class CheckedDatastore(LocalDatastore):
    """MONAI Label's folder of images, ``labels/final`` and ``labels/original``.

    Args:
        class_names: of the models; index is the class id.
    """

    def __init__(self, *args: Any, class_names: list[str], **kwargs: Any) -> None:
        self.class_names = class_names
        super().__init__(*args, **kwargs)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Store an image if it can be read as one; ``image_info`` may hold its ``voxel_size_nm``.

        It replaces one of the same name, whose labels stay, unless it has another shape than a final label.
        """
        with readable(f"{image_id}{Path(image_filename).suffix}"):
            _check_name("image", image_id)
            read_image(image_filename)
            parse_size(image_info.get("voxel_size_nm"))
            earlier, label = self.get_image_uri(image_id), self.get_label_uri(image_id, DefaultLabelTag.FINAL)
            if label:
                _check_shape(image_id, image_filename, label)
            labels = dict(self._datastore.objects[image_id].labels) if earlier else {}
            with FileLock(self._lock_file):
                name, suffix = _place(image_filename, self._datastore.image_path(), image_id, self._to_id)
                info = DataModel(ext=suffix, info={**image_info, "ts": int(time.time()), "name": name})
                self._datastore.objects[image_id] = ImageLabelModel(image=info, labels=labels)
                self._update_datastore_file(lock=False)
            _remove_other(earlier, self.get_image_uri(image_id))
            return image_id

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
            earlier = self.get_label_uri(image_id, label_tag)
            with FileLock(self._lock_file):
                folder = self._datastore.label_path(label_tag)
                name, suffix = _place(label_filename, folder, image_id, self._to_id)
                info = DataModel(ext=suffix, info={**label_info, "ts": int(time.time()), "name": name})
                self._datastore.objects[image_id].labels[label_tag] = info
                self._update_datastore_file(lock=False)
            _remove_other(earlier, self.get_label_uri(image_id, label_tag))
            return image_id

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


def _check_shape(image_id: str, image: str, label: str) -> None:
    """Refuse an image that its label no longer fits."""
    shape, drawn = (volume_shape(read_header(path).shape) for path in (image, label))
    if shape != drawn:
        raise InputError(
            f"image {image_id}",
            expected=f"the shape of its final label, {drawn} (z, y, x)",
            met=f"{shape}",
            remedy="delete the label first or give the image another name",
        )


def _place(file: str, folder: str, name: str, split: Callable[[str], tuple[str, str]]) -> tuple[str, str]:
    """Copy a file into a folder, whole or not at all; returns its name there and its suffix."""
    suffix = split(Path(file).name)[1]
    target = (Path(folder) / f"{name}{suffix}").resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    arriving = target.with_name(f"{target.name}.arriving")  # no name that the data store lists
    try:
        shutil.copyfile(file, arriving)
        arriving.replace(target)
    finally:
        arriving.unlink(missing_ok=True)
    return f"{name}{suffix}", suffix


def _remove_other(earlier: str, present: str) -> None:
    """Remove what another format of the same thing has replaced."""
    if earlier and earlier != present:
        Path(earlier).unlink(missing_ok=True)


def _check_name(what: str, name: str) -> None:
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise InputError(what, expected="a name without folders", met=repr(name), remedy="correct the name")
