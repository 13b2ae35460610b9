"""Measurements as tables in napari's window, to sort and to save."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QTableView, QTabWidget, QVBoxLayout, QWidget

from scsam_monai.errors import InputError
from scsam_monai.measure.measuring import Measurements
from scsam_monai.measure.output import TABLES, write_measurements
from scsam_monai.napari.fields import ask_for_folder


class MeasuredTables(QWidget):
    """Objects, classes and contacts of one measurement.

    Args:
        measured: the figures.
        name: of the labels.
    """

    def __init__(self, measured: Measurements, name: str) -> None:
        super().__init__()
        self.measured, self.name = measured, name
        self.tabs = QTabWidget()
        for table in TABLES:
            rows = getattr(measured, table)
            self.tabs.addTab(_view(rows), f"{len(rows)} {table}")
        self.told = QLabel()
        self.told.setWordWrap(True)
        save = QPushButton("Save as CSV…")
        save.clicked.connect(self._ask)
        row = QHBoxLayout()
        row.addWidget(save)
        row.addWidget(self.told, 1)
        column = QVBoxLayout(self)
        column.addWidget(self.tabs)
        column.addLayout(row)

    def save(self, folder: str) -> None:
        """Write all tables into a new folder, as ``scsam measure`` does, and tell so."""
        try:
            write_measurements(folder, self.measured, stated={"labels": self.name})
        except InputError as error:
            self.told.setText(str(error))
        else:
            self.told.setText(f"saved: {', '.join(f'{table}.csv' for table in TABLES)} in {folder}")

    def _ask(self) -> None:
        folder = ask_for_folder(self)
        if folder:
            self.save(folder)


class _Rows(QAbstractTableModel):
    """Rows of the same keys."""

    def __init__(self, rows: Sequence[dict[str, Any]], parent: QWidget) -> None:
        super().__init__(parent)
        self.rows, self.names = rows, list(rows[0]) if rows else []

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802 - Qt's name
        """Number of rows."""
        return len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802 - Qt's name
        """Number of columns."""
        return len(self.names)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """A cell: its text, or for sorting its value."""
        value = self.rows[index.row()][self.names[index.column()]]
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(value)
        if role == Qt.ItemDataRole.UserRole:
            return -math.inf if isinstance(value, float) and math.isnan(value) else value
        return None

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """The columns' names."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return self.names[section] if orientation == Qt.Orientation.Horizontal else section + 1


def _view(rows: Sequence[dict[str, Any]]) -> QTableView:
    view = QTableView()
    ordered = QSortFilterProxyModel(view)
    ordered.setSortRole(Qt.ItemDataRole.UserRole)
    ordered.setSourceModel(_Rows(rows, view))
    view.setModel(ordered)
    view.setSortingEnabled(True)
    view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    view.resizeColumnsToContents()
    return view


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"
