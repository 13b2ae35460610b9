"""What the plugin asks of the engine: predict, adapt, measure. Nothing here knows of windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.image import VoxelSize
from scsam_monai.napari.layers import UNKNOWN
from scsam_monai.weights.registry import MODEL_FILE, check_model

if TYPE_CHECKING:
    from scsam_monai.inference.model import Model
    from scsam_monai.inference.segment import Segmentation
    from scsam_monai.measure.measuring import Measurements
    from scsam_monai.training.adapt import AdaptResult


class Watch(Protocol):
    """How work is watched and stopped, see :class:`~scsam_monai.napari.tasks.Task`."""

    def progress(self, stage: str, done: float, total: float) -> None:
        """Take how far the work is."""

    def asked_to_stop(self) -> bool:
        """Whether the work is to end."""


def warm_up() -> None:
    """Import the engine before the first prediction: libraries that load stop all threads for a moment."""
    import scsam_monai.inference.segment
    import scsam_monai.weights.build  # noqa: F401


class KeptModel:
    """The model that was used last, so that it is not loaded again for every section."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._model: Model | None = None

    def open(self, name: str) -> Model:
        """Return the model of a name or path, loaded anew if its file has changed.

        Raises:
            InputError: there is none, or it is damaged.
        """
        from scsam_monai.inference.model import open_model

        path = check_model(name)
        state = path.stat()
        key = path, state.st_mtime_ns, state.st_size
        if self._model is None or key != self._key:
            self._model, self._key = open_model(path), key
        return self._model


@dataclass(frozen=True)
class Prediction:
    """What was predicted of an image.

    Attributes:
        labels: uint8, shaped like the image; (1, y, x) of a section alone.
        confidence: the same, or None.
        class_names: K' names, the background first.
        section: which one of the image, None for all.
    """

    labels: np.ndarray
    confidence: np.ndarray | None
    class_names: tuple[str, ...]
    section: int | None = None


def predict(
    watch: Watch,
    kept: KeptModel,
    grey: Any,
    model: str,
    voxel_size_nm: VoxelSize,
    section: int | None = None,
    *,
    confidence: bool = False,
) -> Prediction:
    """Segment an image, or one section of a stack.

    Args:
        watch: takes progress.
        kept: holds the model.
        grey: (y, x) or (z, y, x), read only now.
        model: name or path.
        voxel_size_nm: (z, y, x).
        section: of a stack; None for all.
        confidence: make its map, too.

    Raises:
        InputError: the model or the voxel size does not fit.
        InterruptedError: it was stopped.
    """
    from scsam_monai.inference.segment import segment

    watch.progress("loading the model", 0, 0)
    opened = kept.open(model)
    watch.progress("reading the image", 0, 0)
    image = np.asarray(grey if section is None else grey[section])
    found: Segmentation = segment(
        image,
        opened,
        voxel_size_nm,
        products=("confidence",) if confidence else (),
        progress=lambda done, total: watch.progress("segmenting", done, total),
        cancel=watch.asked_to_stop,
    )
    labels, sure = found.labels, next(iter(found.maps.values()), None)
    if section is not None:
        labels, sure = labels[None], None if sure is None else sure[None]
    return Prediction(labels, sure, found.class_names, section)


def adapt(
    watch: Watch,
    grey: Any,
    labels: np.ndarray,
    folder: Path,
    *,
    model: str,
    class_names: Sequence[str],
    voxel_size_nm: VoxelSize,
    minutes: float,
    tell: Callable[[str], None],
) -> AdaptResult:
    """Adapt a model to what was painted; it then knows the classes that were, and the background.

    Args:
        watch: takes progress.
        grey: (y, x) or (z, y, x), read only now.
        labels: class ids of the same shape, 255 where nobody looked.
        folder: for the new model.
        model: to start from.
        class_names: K' names, the background first.
        voxel_size_nm: (z, y, x).
        minutes: of processor time.
        tell: takes notes.

    Raises:
        InputError: nothing can be learned, or the folder holds another model.
        InterruptedError: it was stopped; the same call goes on.
    """
    from scsam_monai.training.adapt import adapt as adapt_model

    watch.progress("reading the image", 0, 0)
    painted = [k for k in range(len(class_names)) if np.any(labels == k)]
    return adapt_model(
        np.asarray(grey),
        labels,
        folder,
        model=model,
        class_names={k: class_names[k] for k in painted},
        voxel_size_nm=voxel_size_nm,
        minutes=minutes,
        progress=watch.progress,
        stop=watch.asked_to_stop,
        tell=tell,
    )


def measure(
    watch: Watch, labels: Any, class_names: Sequence[str] | None, voxel_size_nm: VoxelSize
) -> Measurements:
    """Measure the objects and classes of labels.

    Args:
        watch: takes progress.
        labels: (y, x) or (z, y, x) class ids, read only now.
        class_names: the background first; None where nobody has named them.
        voxel_size_nm: (z, y, x).

    Raises:
        InputError: there is nothing to measure.
        CancelledError: it was stopped.
    """
    from scsam_monai.measure import measure_labels

    watch.progress("reading the labels", 0, 0)
    values = np.squeeze(np.asarray(labels)) if labels.ndim > 3 else np.asarray(labels)
    if not np.any((values != 0) & (values != UNKNOWN)):
        raise InputError(
            "labels", expected="objects to measure", met="background only", remedy="choose other labels"
        )
    return measure_labels(
        values,
        voxel_size_nm=voxel_size_nm,
        class_names=class_names,
        progress=watch.progress,
        cancel=watch.asked_to_stop,
    )


def model_label(model: str) -> str:
    """Return a short name of a model: that of the folder of a ``model.pt``.

    Example:
        >>> model_label("scsam"), model_label("runs/islet-1/model.pt"), model_label("other.pt")
        ('scsam', 'islet-1', 'other')
    """
    path = Path(model)
    return path.parent.name if path.name == MODEL_FILE and path.parent.name else path.stem


def next_folder(parent: Path, name: str) -> Path:
    """Return the first of ``name-1``, ``name-2`` and so on that holds no model; one may be half done there."""
    letters = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    plain = letters.strip("-") or "model"
    return next(folder for k in count(1) if not ((folder := parent / f"{plain}-{k}") / MODEL_FILE).exists())
