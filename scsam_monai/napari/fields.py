"""Fields of the plugin's widget: choose a layer, choose a class by its colour, name a file or folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from scsam_monai.io.palette import colours_of


class LayerChoice(QComboBox):
    """A layer of one kind, out of those that are open.

    Args:
        viewer: napari's.
        wanted: says which layers are offered.
    """

    chosen = Signal()

    def __init__(self, viewer: Any, wanted: Callable[[Any], bool]) -> None:
        super().__init__()
        self.viewer, self.wanted = viewer, wanted
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumContentsLength(12)
        self._layers: list[Any] = []
        events = viewer.layers.events
        self._watched = (events.inserted, events.removed, events.reordered)
        for event in self._watched:
            event.connect(self._refresh)
        self.currentIndexChanged.connect(lambda _: self.chosen.emit())
        self._refresh()

    @property
    def layer(self) -> Any:
        """The chosen layer, None where there is none to choose."""
        index = self.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def choose(self, layer: Any) -> None:
        """Choose a layer that is open."""
        self.setCurrentIndex(self._layers.index(layer))

    def let_go(self) -> None:
        """Watch the viewer no longer."""
        for event in self._watched:
            event.disconnect(self._refresh)

    def _refresh(self, _: Any = None) -> None:
        before, known = self.layer, set(map(id, self._layers))
        self._layers = [layer for layer in self.viewer.layers if self.wanted(layer)]
        for layer in self._layers:
            if id(layer) not in known:
                layer.events.name.connect(self._rename)
        self.blockSignals(True)
        self.clear()
        self.addItems([layer.name for layer in self._layers])
        if before in self._layers:
            self.setCurrentIndex(self._layers.index(before))
        self.blockSignals(False)
        if self.layer is not before:
            self.chosen.emit()

    def _rename(self, _: Any = None) -> None:
        for index, layer in enumerate(self._layers):
            self.setItemText(index, layer.name)


class ClassList(QListWidget):
    """The classes that can be painted, each with its colour; background comes last."""

    def __init__(self) -> None:
        super().__init__()
        self.class_names: tuple[str, ...] = ()
        self.setMaximumHeight(150)

    def show_classes(self, class_names: Sequence[str]) -> None:
        """Show other classes.

        Args:
            class_names: K' names, the background first.
        """
        chosen = self.currentRow()
        self.class_names = tuple(class_names)
        self.clear()
        colours = colours_of(class_names)
        for k in [*range(1, len(class_names)), 0]:
            self.addItem(class_names[k])
            picture = QPixmap(14, 14)
            picture.fill(QColor(*colours[k].tolist()))
            self.item(self.count() - 1).setIcon(QIcon(picture))
        self.setCurrentRow(max(0, min(chosen, self.count() - 1)))

    def class_id(self) -> int:
        """Id of the chosen class, 0 for the background."""
        return (self.currentRow() + 1) % max(1, len(self.class_names))


class PathField(QWidget):
    """A path to type or to choose.

    Args:
        ask: opens the dialogue and returns what was chosen, empty if nothing.
    """

    def __init__(self, ask: Callable[[QWidget], str]) -> None:
        super().__init__()
        self.line = QLineEdit()
        button = QToolButton()
        button.setText("…")
        button.clicked.connect(lambda: self._chosen(ask(self)))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line)
        row.addWidget(button)

    @property
    def text(self) -> str:
        """What stands there, without spaces around."""
        return str(self.line.text()).strip()

    def _chosen(self, path: str) -> None:
        if path:
            self.line.setText(path)


def ask_for_model(parent: QWidget) -> str:
    """Ask for the file of a trained model."""
    return str(QFileDialog.getOpenFileName(parent, "Trained model", "", "Models (*.pt)")[0])


def ask_for_folder(parent: QWidget) -> str:
    """Ask for a folder that is to be made."""
    return str(QFileDialog.getSaveFileName(parent, "Folder to make", "")[0])
