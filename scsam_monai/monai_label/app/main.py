"""The bundle as a MONAI Label app: its models, a data store that checks what comes in, and errors to be read.

It is a MONAI Label sample app like ``monaibundle``, with which the bundle works, too; that one answers most
mistakes with "Internal Server Error" and stores whatever it is sent.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.config import settings
from monailabel.endpoints import batch_infer as batch_endpoint
from monailabel.endpoints import train as train_endpoint
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.utils.app import app_instance

from scsam_monai._version import __version__
from scsam_monai.errors import InputError
from scsam_monai.io import read_header
from scsam_monai.monai_label.app.datastore import CheckedDatastore
from scsam_monai.monai_label.app.requests import checked_inference, checked_training, not_found, readable
from scsam_monai.monai_label.app.tasks import InferTask, TrainTask, class_names
from scsam_monai.threads import share_cores

logger = logging.getLogger(__name__)


class ScSAMApp(MONAILabelApp):
    """Every bundle in the app's ``model`` folder, served under the name of its folder.

    ``--conf voxel_size_nm Z,Y,X`` is the voxel size of images that state none and were uploaded without one.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        share_cores()
        configs = Path(app_dir).glob("model/*/configs/inference.json")
        self.bundles = {path.parents[1].name: str(path.parents[1]) for path in sorted(configs)}
        description = "Organelles in electron micrographs"
        super().__init__(app_dir, studies, conf, name="ScSAM", description=description, version=__version__)

    def init_datastore(self) -> CheckedDatastore:
        """Open the folder of images and labels."""
        lists = {name: names for name, path in self.bundles.items() if (names := class_names(path))}
        names = next(iter(lists.values()), [])
        if others := [name for name, other in lists.items() if other != names]:
            raise InputError(
                f"{Path(self.app_dir) / 'model' / others[0]}",
                expected=f"the classes of {next(iter(lists))}, {', '.join(names)}: labels are shared",
                met=", ".join(lists[others[0]]),
                remedy="serve bundles of other classes from a folder of their own",
            )
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
            request = self.check_inference(request)
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
            request = self.check_inference(request)
            several = torch.cuda.device_count() > 1 and request.get("multi_gpu", True)
            request = {**request, "multi_gpu": several}
            result: dict[str, Any] = self._batch_infer(request, datastore or self.datastore(), infer)
            return result

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        """Train on the final labels of the data store."""
        with readable():
            result: dict[str, Any] = super().train(self.check_training(request))
            return result

    def check_inference(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return what a prediction takes from a request; refuse what would be evaluated."""
        with readable():
            request = checked_inference(request)
            self._known(request.get("model"), self._infers)
            return request

    def check_training(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return what a training takes from a request; refuse what cannot be trained."""
        with readable():
            request = checked_training(request)
            self._known(request.get("model"), self._trainers)
            self._trainers[request["model"]].check(self.datastore())
            return request

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
        if not isinstance(model, str) or model not in tasks or not tasks[model].is_valid():
            raise not_found("model", model, [name for name, task in tasks.items() if task.is_valid()])


def _first(check: Callable[..., dict[str, Any]], run: Any) -> Any:
    """Check a request before it goes to the background, where nobody would wait for its error."""
    run = getattr(run, "unchecked", run)

    def checked(*args: Any, **kwargs: Any) -> Any:
        call = inspect.signature(run).bind(*args, **kwargs)
        call.arguments["params"] = check(call.arguments.get("params") or {}, call.arguments["model"])
        return run(*call.args, **call.kwargs)

    checked.unchecked = run  # type: ignore[attr-defined]
    return checked


def _training(params: dict[str, Any], model: str) -> dict[str, Any]:
    checked: dict[str, Any] = app_instance().check_training({**params, "model": model})
    return checked


def _inference(params: dict[str, Any], model: str) -> dict[str, Any]:
    checked: dict[str, Any] = app_instance().check_inference({**params, "model": model})
    return checked


def _train_all(params: dict[str, Any] | None = None, run_sync: bool | None = False) -> dict[str, Any]:
    """Train every model by its own part of ``params``."""
    names = app_instance().bundles
    return {name: train_endpoint.run_model(name, (params or {}).get(name), run_sync, True) for name in names}


train_endpoint.run_model = _first(_training, train_endpoint.run_model)
train_endpoint.run = _train_all
batch_endpoint.run = _first(_inference, batch_endpoint.run)
