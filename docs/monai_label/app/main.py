"""The bundle as a MONAI Label app: its models, a data store that checks what comes in, and errors to be read.

It is a MONAI Label sample app like ``monaibundle``, with which the bundle works, too; that one answers most
mistakes with "Internal Server Error" and stores whatever it is sent.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from fastapi import HTTPException
from lib.datastore import CheckedDatastore
from lib.errors import not_found, readable
from lib.tasks import InferTask, TrainTask, class_names
from monailabel.config import settings
from monailabel.endpoints import train as train_endpoint
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.utils.app import app_instance

from scsam_monai import __version__
from scsam_monai.io import read_header

logger = logging.getLogger(__name__)


class ScSAMApp(MONAILabelApp):
    """Every bundle in the app's ``model`` folder, served under the name of its folder.

    ``--conf voxel_size_nm Z,Y,X`` is the voxel size of images that state none and were uploaded without one.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        configs = Path(app_dir).glob("model/*/configs/inference.json")
        self.bundles = {path.parents[1].name: str(path.parents[1]) for path in sorted(configs)}
        description = "Organelles in electron micrographs"
        super().__init__(app_dir, studies, conf, name="ScSAM", description=description, version=__version__)

    def init_datastore(self) -> CheckedDatastore:
        """Open the folder of images and labels."""
        names = max((class_names(path) for path in self.bundles.values()), key=len, default=[])
        return CheckedDatastore(
            self.studies,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
            class_names=names,
        )

    def init_infers(self) -> dict[str, InferTask]:
        """One per bundle."""
        return {name: InferTask(path, self.conf) for name, path in self.bundles.items()}

    def init_trainers(self) -> dict[str, TrainTask]:
        """One per bundle."""
        return {name: TrainTask(path, self.conf) for name, path in self.bundles.items()}

    def infer(self, request: dict[str, Any], datastore: CheckedDatastore | None = None) -> dict[str, Any]:
        """Segment an image of the data store, or one that came with the request."""
        image = request["image"]
        with readable("the image that was sent" if Path(image).is_file() else None):
            self._known(request.get("model"), self._infers)
            store = datastore or self.datastore()
            path = image if Path(image).is_file() else store.get_image_uri(image)
            if not path:
                raise not_found("image", image, store.list_images())
            size = request.get("voxel_size_nm") or self._voxel_size(store, image, path)
            return super().infer({**request, "voxel_size_nm": size}, datastore)

    def batch_infer(
        self, request: dict[str, Any], datastore: CheckedDatastore | None = None
    ) -> dict[str, Any]:
        """Segment many images of the data store; one that is refused does not keep the others from it."""

        def infer(request: dict[str, Any], datastore: CheckedDatastore) -> dict[str, Any]:
            try:
                return self.infer(request, datastore)
            except HTTPException as error:
                logger.warning("%s is left out: %s", request["image"], error.detail)
                return {"error": error.detail}

        with readable():
            self._known(request.get("model"), self._infers)
            several = torch.cuda.device_count() > 1 and request.get("multi_gpu", True)
            request = {**request, "multi_gpu": several}
            result: dict[str, Any] = self._batch_infer(request, datastore or self.datastore(), infer)
            return result

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        """Train on the final labels of the data store."""
        with readable():
            self.check_training(request.get("model"))
            result: dict[str, Any] = super().train(request)
            return result

    def check_training(self, model: str | None) -> None:
        """Refuse what cannot be trained."""
        with readable():
            self._known(model, self._trainers)
            self._trainers[model].check(self.datastore())

    def _voxel_size(self, store: CheckedDatastore, image: str, path: str) -> Any:
        """What was said when the image was uploaded, or of all images whose files say nothing; else nothing."""
        noted = store.get_image_info(image).get("voxel_size_nm")
        general = self.conf.get("voxel_size_nm")
        if noted or not general or read_header(path).voxel_size_nm is not None:
            return noted or ""
        logger.warning(
            "%s states no voxel size: taking %s nm (z, y, x) from --conf", Path(path).name, general
        )
        return general

    def _known(self, model: str | None, tasks: dict[str, Any]) -> None:
        if model not in tasks or not tasks[model].is_valid():
            raise not_found("model", model, [name for name, task in tasks.items() if task.is_valid()])


def _refuse_at_once(run_model: Any) -> Any:
    """Check a training before it goes to the background, where nobody would wait for its error."""

    def checked(model: str, *args: Any, **kwargs: Any) -> Any:
        app_instance().check_training(model)
        return run_model(model, *args, **kwargs)

    checked.unchecked = run_model
    return checked


train_endpoint.run_model = _refuse_at_once(
    getattr(train_endpoint.run_model, "unchecked", train_endpoint.run_model)
)
