"""Inference and training by a bundle."""

from __future__ import annotations

import copy
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask

from scsam_monai.data.transforms import parse_size
from scsam_monai.errors import InputError
from scsam_monai.io import image_suffix, read_header, write_labels_like
from scsam_monai.io.formats.nifti import NiftiLayout
from scsam_monai.io.voxel_size import NM_PER_UNIT, nm_per_unit
from scsam_monai.monai_label.app.requests import broken_model, checked_training
from scsam_monai.monai_label.served_model import hold_out
from scsam_monai.monai_label.training import OVERLAY, RUN_DIR, VERDICT
from scsam_monai.weights.build import load_weights
from scsam_monai.weights.record import recorded_class_names

logger = logging.getLogger(__name__)

WEIGHTS = "model.pt"


def class_names(bundle: str) -> list[str]:
    """Names of the classes of a bundle's model, background first; none where there is no model."""
    return recorded_class_names(Path(bundle) / "models" / WEIGHTS) or []


class InferTask(BundleInferTask):
    """Segments with the bundle's ``inference.json``; labels carry the names of the model's own classes.

    Answers of the image's own format are written as the command line writes them: voxel size, axes and affine are
    those of the image.

    Args:
        path: the bundle.
        conf: of the app.
    """

    labels: dict[str, int]

    def __init__(self, path: str, conf: dict[str, str]) -> None:
        super().__init__(path, conf, load_strict=True)
        self._checked: tuple[Any, ...] | None = None
        names = class_names(path)
        self.labels = {name: index for index, name in enumerate(names) if index} or self.labels

    def is_valid(self) -> bool:
        """Whether there is a model."""
        return bool(self.valid)

    def _get_network(self, device: str, data: dict[str, Any] | None) -> Any:
        """The network with its weights, which are as they were recorded; if they do not fit, say how."""
        name = (data or {}).get("model_filename", WEIGHTS)
        path = Path(self.path[0]).with_name(name if isinstance(name, str) else name[0])
        self._check_weights(path)
        try:
            return super()._get_network(device, data)
        except Exception as error:
            with broken_model():
                load_weights(copy.deepcopy(self.network), path)
            raise error

    def _check_weights(self, path: Path) -> None:
        """Refuse weights that are damaged, once for each file that is served: MONAI Label does not look."""
        if not path.is_file():
            return
        state = path.stat()
        served = (path, state.st_ino, state.st_size, state.st_mtime_ns)
        if served != self._checked:
            with broken_model():
                load_weights(copy.deepcopy(self.network), path)
            self._checked = served

    def writer(self, data: dict[str, Any], extension: str | None = None, dtype: Any = None) -> Any:
        """Write the labels as the image's format, or as another one that was asked for."""
        source = data["image_path"]
        own, wanted = image_suffix(source), data.get("result_extension") or image_suffix(source)
        if wanted.lower() != own.lower() or data.get("result_dtype") not in (None, "uint8"):
            meta = data[f"{self.output_label_key}_meta_dict"]
            meta["affine"] = _in_millimetres(np.asarray(meta["affine"]), source)
            return super().writer(data, extension, dtype)
        with tempfile.NamedTemporaryFile(suffix=wanted, delete=False) as file:
            write_labels_like(file.name, np.asarray(data[self.output_label_key]).T, read_header(source))
        return file.name, data.get(self.output_json_key, {})


def _in_millimetres(affine: np.ndarray, source: str) -> np.ndarray:
    """The affine of an image as viewers have it once they have read the file."""
    layout = read_header(source).layout
    unit = layout.header.get_xyzt_units()[0] if isinstance(layout, NiftiLayout) else "nm"
    scale = (nm_per_unit(unit) or NM_PER_UNIT["mm"]) / NM_PER_UNIT["mm"]
    return np.vstack([affine[:3] * scale, affine[3:]])


class TrainTask(BundleTrainTask):
    """Trains by the bundle's ``train.json`` and ``monai_label.json``, and tells what came of it.

    Args:
        path: the bundle.
        conf: of the app.

    Raises:
        InputError: if the bundle has a ``train.json`` alone.
    """

    def run_single_gpu(self, request: dict[str, Any], overrides: dict[str, Any]) -> None:
        """Run the bundle's training with the overlay."""
        files = _with_overlay(self.bundle_config_path)
        monai.bundle.run("run", meta_file=self.bundle_metadata_path, config_file=files, **overrides)

    def _load_bundle_config(self, path: str, config: str) -> Any:
        """Read both files: MONAI Label hands the trainer's handlers of what is read here to the run."""
        return super()._load_bundle_config(path, _with_overlay(config))

    def check(self, datastore: Any) -> None:
        """Refuse to train without labels.

        Raises:
            InputError: if no image has a final label.
        """
        if not datastore.datalist():
            raise InputError(
                "training",
                expected="at least one image with a final label",
                met="none in the data store",
                remedy="upload one with PUT /datastore/label?image=ID&tag=final",
            )

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Train and return the verdict."""
        own = {"multi_gpu": False, "force_multi_gpu": False, "gpus": "all", "run_id": "run"}
        own |= {"pretrained": True, "model_filename": WEIGHTS}
        verdict = Path(self.bundle_path) / "runs" / RUN_DIR / VERDICT
        verdict.unlink(missing_ok=True)
        super().__call__({**checked_training(request), **own}, datastore)
        if not verdict.exists():
            raise InputError(
                "training",
                expected=f"a {VERDICT} at its end",
                met="none",
                remedy="renew the bundle's configs by starting the server anew",
            )
        result: dict[str, Any] = json.loads(verdict.read_text("utf-8"))
        return result

    def _partition_datalist(
        self, datalist: list[dict[str, Any]], request: dict[str, Any], shuffle: bool = False
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Hold out as many labels as MONAI Label would, but of images that the model has not learned, if any."""
        _, held_out = super()._partition_datalist(datalist, request, shuffle)
        return hold_out(datalist, len(held_out), Path(self.bundle_path) / "models" / WEIGHTS)

    def _fetch_datalist(self, request: dict[str, Any], datastore: Any) -> list[dict[str, Any]]:
        sizes = {
            datastore.get_image_uri(name): datastore.get_image_info(name).get("voxel_size_nm")
            for name in datastore.list_images()
        }
        pairs = super()._fetch_datalist(request, datastore)
        general = self.conf.get("voxel_size_nm")
        for pair in pairs:
            stated = read_header(pair["image"]).voxel_size_nm
            if size := sizes.get(pair["image"]) or (general if stated is None else None):
                pair["voxel_size_nm"] = parse_size(size)
        return pairs


def _with_overlay(config: str) -> list[str]:
    overlay = Path(config).with_name(OVERLAY)
    if not overlay.is_file():
        raise InputError(
            overlay,
            expected="the config that makes train.json a server's",
            met="no such file",
            remedy="copy the bundle's configs anew, all of them",
        )
    return [config, str(overlay)]
