"""The fields and buttons of the plugin's widget, laid out in the order of the work."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from scsam_monai.napari.fields import ClassList, LayerChoice, PathField, ask_for_folder, ask_for_model
from scsam_monai.napari.layers import CLASSES
from scsam_monai.napari.painting import PAINTING
from scsam_monai.progress import duration
from scsam_monai.weights.registry import SHIPPED_MODEL

MINUTES = 5.0


class Form(QWidget):
    """What the user sees; it does nothing by itself.

    Args:
        viewer: napari's.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.image = LayerChoice(viewer, lambda layer: layer._type_string == "image")
        self.voxel_size = QLineEdit()
        self.voxel_size.setPlaceholderText("z,y,x in nm, like 50,4.6,4.6")
        self.size_from = QLabel()
        self.size_from.setWordWrap(True)
        self.model = QComboBox()
        self.model.setEditable(True)
        self.model.addItem(SHIPPED_MODEL)
        self.section_alone = QCheckBox("only the section that is shown")
        self.confidence = QCheckBox("its confidence, too")
        self.predict = QPushButton("Predict")
        self.prediction = LayerChoice(viewer, _is_prediction)
        self.classes = ClassList()
        self.new_class = QLineEdit()
        self.new_class.setPlaceholderText("name of a further class")
        self.add_class = QPushButton("Add")
        self.paint = QPushButton("New, empty")
        self.correct = QPushButton("Correct the section shown")
        self.minutes = QDoubleSpinBox()
        self.minutes.setRange(0.1, 600.0)
        self.minutes.setValue(MINUTES)
        self.minutes.setSuffix(" processor minutes")
        self.folder = PathField(ask_for_folder)
        self.adapt = QPushButton("Adapt the model to what is painted")
        self.labels = LayerChoice(viewer, lambda layer: layer._type_string == "labels")
        self.measure = QPushButton("Measure")
        self.bar = QProgressBar()
        self.stop = QPushButton("Cancel")
        self.notes = QPlainTextEdit()
        self.notes.setReadOnly(True)
        self.notes.setFixedHeight(96)
        self._lay_out()

    @property
    def choices(self) -> tuple[LayerChoice, ...]:
        """All fields that watch the viewer's layers."""
        return self.image, self.prediction, self.labels

    def busy(self, working: bool) -> None:
        """Switch what may be clicked while something is computed, and what else."""
        for button in (self.predict, self.adapt, self.measure):
            button.setEnabled(not working)
        self.stop.setEnabled(working)
        if not working:
            self.bar.setRange(0, 1)
            self.bar.setValue(0)
            self.bar.setFormat("")

    def show_progress(self, stage: str, done: float, total: float, left: float | None) -> None:
        """Show how far a stage is.

        Args:
            stage: its name.
            done: so much.
            total: of so much; 0 if nobody knows.
            left: seconds.
        """
        self.bar.setRange(0, 1000 if total else 0)
        self.bar.setValue(round(1000 * done / total) if total else 0)
        ahead = "" if left is None else f", {duration(left)} left"
        self.bar.setFormat(f"{stage} %p %{ahead}" if total else stage)

    def use_model(self, model: str) -> None:
        """Offer a model and choose it."""
        if self.model.findText(model) < 0:
            self.model.addItem(model)
        self.model.setCurrentText(model)

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.addWidget(self._image_box())
        column.addWidget(self._prediction_box())
        column.addWidget(self._paint_box())
        column.addWidget(self._adapt_box())
        column.addWidget(self._measure_box())
        column.addStretch(1)
        scrolled = QScrollArea()
        scrolled.setWidgetResizable(True)
        scrolled.setWidget(inside)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.stop)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scrolled, 1)
        whole.addLayout(row)
        whole.addWidget(self.notes)
        self.setMinimumWidth(330)
        # Or napari fills the dock up with nothing.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _image_box(self) -> QGroupBox:
        box, form = _box("1  Image")
        form.addRow("layer", self.image)
        form.addRow("voxel size", self.voxel_size)
        form.addRow(self.size_from)
        return box

    def _prediction_box(self) -> QGroupBox:
        box, form = _box("2  Predict")
        browse = QToolButton()
        browse.setText("…")
        browse.clicked.connect(self._browse)
        form.addRow("model", _row(self.model, browse))
        form.addRow(self.section_alone)
        form.addRow(self.confidence)
        form.addRow(self.predict)
        return box

    def _paint_box(self) -> QGroupBox:
        box, form = _box("3  Paint or correct")
        form.addRow("labels", self.prediction)
        form.addRow(_row(self.correct, self.paint))
        form.addRow(self.classes)
        form.addRow(_row(self.new_class, self.add_class))
        return box

    def _adapt_box(self) -> QGroupBox:
        box, form = _box("4  Adapt")
        form.addRow("at most", self.minutes)
        form.addRow("into", self.folder)
        form.addRow(self.adapt)
        return box

    def _measure_box(self) -> QGroupBox:
        box, form = _box("5  Measure")
        form.addRow("labels", self.labels)
        form.addRow(self.measure)
        return box

    def _browse(self) -> None:
        path = ask_for_model(self)
        if path:
            self.use_model(path)


def _is_prediction(layer: Any) -> bool:
    return layer._type_string == "labels" and CLASSES in layer.metadata and PAINTING not in layer.metadata


def _box(title: str) -> tuple[QGroupBox, QFormLayout]:
    box = QGroupBox(title)
    form = QFormLayout(box)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return box, form


def _row(*widgets: QWidget) -> QWidget:
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    for place, widget in enumerate(widgets):
        row.addWidget(widget, 1 - place if len(widgets) == 2 else 0)
    return holder
