"""The plugin's widget: predict, paint, adapt, predict again, measure, on the layers that are open."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer as NapariLayer
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QVBoxLayout, QWidget

from scsam_monai.errors import InputError
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.voxel_size import as_voxel_size
from scsam_monai.napari.form import Form
from scsam_monai.napari.image_layer import grey_of, place_of, section_of, stated_voxel_size
from scsam_monai.napari.layers import CLASSES, VOXEL_SIZE, Layer, class_layer, map_layer
from scsam_monai.napari.painting import (
    BACKGROUND,
    PAINTING,
    as_labels,
    as_painted,
    check_learnable,
    joined,
    paint_layer,
)
from scsam_monai.napari.table import MeasuredTables
from scsam_monai.napari.tasks import Task, aside
from scsam_monai.napari.work import (
    KeptModel,
    Prediction,
    adapt,
    measure,
    model_label,
    next_folder,
    predict,
    warm_up,
)
from scsam_monai.weights.model_file import ModelFile

if TYPE_CHECKING:
    from napari.viewer import Viewer

MODELS = Path("scsam_models")
"""Folder of adapted models, in the user's home."""
PREDICTED = "scsam_prediction_of"
"""Key of the metadata of predictions: of which image they are."""
SECTION = "scsam_section"
"""The same of which section alone, counted from 0."""


class SegmentWidget(QWidget):
    """Segments what is open in napari.

    Args:
        napari_viewer: napari hands it in.

    Attributes:
        form: fields and buttons.
        task: what is being computed, None for nothing.
        tables: the last measurement's, in a dock of their own.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.form = Form(napari_viewer)
        self.task: Task | None = None
        self.tables: MeasuredTables | None = None
        self._kept = KeptModel()
        self._begun = ("", 0.0)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.form)
        form = self.form
        for button, act in (
            (form.predict, self.predict),
            (form.paint, self.paint),
            (form.correct, self.correct),
            (form.add_class, self.add_class),
            (form.adapt, self.adapt),
            (form.measure, self.measure),
        ):
            button.clicked.connect(partial(self._tried, act))
        form.stop.clicked.connect(self.cancel)
        form.image.chosen.connect(self._image_chosen)
        form.classes.currentRowChanged.connect(lambda _: self._class_chosen())
        form.model.currentTextChanged.connect(lambda _: self._show_classes())
        self.destroyed.connect(partial(_let_go, form.choices))
        form.busy(False)
        self._image_chosen()
        self._show_classes()
        aside(warm_up)

    def predict(self) -> None:
        """Segment the image, or the section shown; the labels become a layer upon it."""
        image, size = self._image(), self._voxel_size()
        section = section_of(image, self.viewer.dims.point) if self.form.section_alone.isChecked() else None
        grey = grey_of(image, section)
        model = self._model()
        work = partial(
            predict,
            kept=self._kept,
            grey=grey,
            model=model,
            voxel_size_nm=size,
            section=section,
            confidence=self.form.confidence.isChecked(),
        )
        self._start(work, partial(self._show_prediction, image, model, size))

    def paint(self) -> None:
        """Add an empty layer to paint classes in."""
        image = self._image()
        self._add_painting(np.zeros(_shape(image), np.uint8), self.form.classes.class_names)

    def correct(self) -> None:
        """Add a layer to paint in that holds the section shown of the chosen labels."""
        image, labels = self._image(), self.form.prediction.layer
        section = section_of(image, self.viewer.dims.point)
        shape = _shape(image)
        alone = labels is not None and SECTION in labels.metadata
        of_image = alone and labels.metadata[PREDICTED] == str(image.unique_id)
        if labels is None or not (of_image or (not alone and _shape(labels) == shape)):
            raise InputError(
                "labels",
                expected=f"labels of {image.name} to correct",
                met="none" if labels is None else f"those of another image, {labels.name}",
                remedy="predict first, or choose others",
            )
        if alone and labels.metadata[SECTION] != section:
            raise InputError(
                labels.name,
                expected=f"labels of section {section}, which is shown",
                met=f"those of section {labels.metadata[SECTION]} alone",
                remedy="go to that section, or predict this one",
            )
        here: Any = ... if section is None else section
        there: Any = 0 if alone else here
        painted = np.zeros(shape, np.uint8)
        painted[here] = as_painted(np.asarray((labels.data[0] if labels.multiscale else labels.data)[there]))
        self._add_painting(painted, tuple(labels.metadata[CLASSES]))
        labels.visible = False

    def add_class(self) -> None:
        """Add a class to those that can be painted."""
        name = self.form.new_class.text().strip()
        known = self.form.classes.class_names
        if not name or name in known:
            raise InputError(
                "class", expected="a new name", met=name or "none", remedy="type one beside the button"
            )
        self.form.new_class.clear()
        self.form.classes.show_classes((*known, name))
        for layer in self._paintings():
            self._name_classes(layer, (*known, name))

    def adapt(self) -> None:
        """Train the model on what was painted on this image, and choose the new one."""
        image, size = self._image(), self._voxel_size()
        paintings = [layer for layer in self._paintings() if layer.metadata[PAINTING] == str(image.unique_id)]
        if not paintings:
            raise InputError(
                image.name, expected="a layer to paint in", met="none", remedy="add one, and paint"
            )
        names, last = paintings[-1].metadata[CLASSES], paintings[-1].name
        for layer in paintings:
            if layer.metadata[CLASSES] != names:
                raise InputError(
                    layer.name,
                    expected=f"the classes of {last}: {', '.join(names)}",
                    met=", ".join(layer.metadata[CLASSES]),
                    remedy="remove one of the two layers",
                )
        labels = as_labels(joined([layer.data for layer in paintings]), names, last)
        check_learnable(labels, names, last)
        text = self.form.folder.text
        folder = Path(text).expanduser() if text else next_folder(Path.home() / MODELS, image.name)
        work = partial(
            _adapt_and_tell,
            grey=grey_of(image),
            labels=labels,
            folder=folder,
            model=self._model(),
            class_names=names,
            voxel_size_nm=size,
            minutes=self.form.minutes.value(),
        )
        self._start(work, self._show_adapted)

    def measure(self) -> None:
        """Measure the chosen labels; the tables come into a dock of their own."""
        layer = self.form.labels.layer
        if layer is None:
            raise InputError("labels", expected="labels to measure", met="none", remedy="predict first")
        stated = stated_voxel_size(layer)
        size = self._voxel_size() if stated is None else stated[0]
        names = layer.metadata.get(CLASSES)
        data = layer.data[0] if layer.multiscale else layer.data
        if PAINTING in layer.metadata:
            data = as_labels(data, names, layer.name)
        work = partial(measure, labels=data, class_names=names, voxel_size_nm=size)
        self._start(work, partial(self._show_tables, layer.name))

    def cancel(self) -> None:
        """End what is being computed, before its next group of windows."""
        if self.task is not None:
            self.task.cancel()
            self.form.bar.setFormat("stopping")

    def _start(self, work: Callable[..., Any], done: Callable[[Any], None]) -> None:
        if self.task is not None:
            raise InputError("scsam", expected="one thing at a time", met="another", remedy="cancel it first")
        self.form.notes.clear()
        task = self.task = Task(work, self)
        task.progressed.connect(self._progressed)
        task.noted.connect(self._note)
        task.succeeded.connect(partial(self._tried, done))
        task.failed.connect(self._tell_error)
        task.cancelled.connect(partial(self.form.notes.appendPlainText, "cancelled"))
        task.ended.connect(self._ended)
        self.form.busy(True)
        task.start()

    def _note(self, line: str) -> None:
        """Show a note of the engine; what it warns of at each of several stages is said once."""
        if line not in self.form.notes.toPlainText().splitlines():
            self.form.notes.appendPlainText(line)

    def _ended(self) -> None:
        self.task = None
        self.form.busy(False)

    def _progressed(self, stage: str, done: float, total: float) -> None:
        now = time.monotonic()
        if stage != self._begun[0]:
            self._begun = stage, now
        seconds = now - self._begun[1]
        left = seconds * (total - done) / done if done and seconds > 1 else None
        self.form.show_progress(stage, done, total, left)

    def _tried(self, act: Callable[..., None], *given: Any) -> None:
        """Do what a button stands for; what the user can mend becomes a line below."""
        try:
            act(*(value for value in given if not isinstance(value, bool)))
        except InputError as error:
            self._tell_error(error)

    def _tell_error(self, error: Exception) -> None:
        self.form.notes.appendPlainText(str(error) if isinstance(error, InputError) else repr(error))
        if not isinstance(error, InputError):
            notification_manager.receive_error(type(error), error, error.__traceback__)

    def _show_prediction(self, image: Any, model: str, size: VoxelSize, found: Prediction) -> None:
        origin: dict[str, Any] = {PREDICTED: str(image.unique_id)}
        for layer in self.viewer.layers:
            if layer.metadata.get(PREDICTED) == str(image.unique_id):
                layer.visible = False
        if found.section is not None:
            origin[SECTION] = found.section
        place, name = place_of(image, found.section), f"{image.name} {model_label(model)}"
        image.metadata[VOXEL_SIZE] = list(size)
        if found.confidence is not None:
            sure = self._add(map_layer(found.confidence, f"{name} confidence", size, place))
            sure.metadata.update(origin)
            sure.visible = False  # it would lie under the labels, and hide the image
        layer = self._add(class_layer(found.labels, name, found.class_names, size, place, metadata=origin))
        self.form.prediction.choose(layer)
        self.form.labels.choose(layer)

    def _show_adapted(self, result: Any) -> None:
        note = self.form.notes.appendPlainText
        note(
            f"mean IoU on what was held back: {result.mean_before:.2f} before, {result.mean_after:.2f} after"
        )
        if result.adapted:
            self.form.use_model(str(result.model))
            note(f"model: {result.model}; predict again with it")
        else:
            note("the model that there was is better, and stays; paint more, or give it more minutes")

    def _show_tables(self, name: str, measured: Any) -> None:
        self.tables = MeasuredTables(measured, name)
        self.viewer.window.add_dock_widget(self.tables, name=f"{name}: measured", area="bottom")

    def _add(self, layer: Layer) -> Any:
        return self.viewer.add_layer(NapariLayer.create(*layer))

    def _add_painting(self, painted: np.ndarray, class_names: tuple[str, ...]) -> None:
        image = self._image()
        self.form.classes.show_classes(class_names)
        layer = self._add(
            paint_layer(
                painted,
                f"{image.name} painted",
                class_names,
                self._voxel_size(),
                place_of(image),
                str(image.unique_id),
            )
        )
        self.viewer.layers.selection.active = layer
        layer.mode = "paint"
        self._class_chosen()

    def _paintings(self) -> list[Any]:
        return [layer for layer in self.viewer.layers if PAINTING in layer.metadata]

    def _name_classes(self, layer: Any, class_names: tuple[str, ...]) -> None:
        """Let a layer that is being painted know a further class."""
        fresh = NapariLayer.create(
            *paint_layer(np.zeros((1, 1), np.uint8), "", class_names, (1, 1, 1), {}, layer.metadata[PAINTING])
        )
        layer.colormap, layer.features = fresh.colormap, fresh.features
        layer.metadata[CLASSES] = list(class_names)

    def _class_chosen(self) -> None:
        layer = self.viewer.layers.selection.active
        if layer is not None and PAINTING in layer.metadata:
            layer.selected_label = self.form.classes.class_id() or BACKGROUND

    def _image_chosen(self) -> None:
        image = self.form.image.layer
        stated = None if image is None else stated_voxel_size(image)
        self.form.section_alone.setEnabled(image is not None and image.ndim > 2)
        self.form.voxel_size.setText("" if stated is None else ",".join(f"{nm:g}" for nm in stated[0]))
        missing = "" if image is None else "neither the layer nor its file states it in nm: type it in"
        self.form.size_from.setText(missing if stated is None else f"as {stated[1]} says")

    def _show_classes(self) -> None:
        """Offer the classes of the model, unless something is being painted with others."""
        if self._paintings():
            return
        try:
            file = ModelFile(self._model())
        except InputError:  # half typed; predicting tells what is wrong
            return
        self.form.classes.show_classes(file.class_names(file.record["network"]["n_classes"]))

    def _image(self) -> Any:
        if self.form.image.layer is None:
            raise InputError("image", expected="an image layer", met="none", remedy="open an image first")
        return self.form.image.layer

    def _voxel_size(self) -> VoxelSize:
        text = self.form.voxel_size.text().strip()
        if not text:
            raise InputError(
                "voxel size",
                expected="three lengths in nm (z, y, x)",
                met="none in the field, the layer or its file",
                remedy="type it into the field, like 50,4.6,4.6",
            )
        return as_voxel_size(text, min(self._image().ndim, 3), "voxel size")

    def _model(self) -> str:
        return str(self.form.model.currentText()).strip()


def _adapt_and_tell(task: Task, **given: Any) -> Any:
    return adapt(task, tell=task.noted.emit, **given)


def _shape(layer: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in (layer.data[0] if layer.multiscale else layer.data).shape)


def _let_go(choices: tuple[Any, ...], _: object = None) -> None:
    for choice in choices:
        choice.let_go()
