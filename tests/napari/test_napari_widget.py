"""The plugin in a real viewer: predict, cancel, paint, adapt, predict again, measure; the window stays alive."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scsam_monai.data.synthetic import generate_volume
from scsam_monai.io import (
    LabelLegend,
    LabelVolume,
    create_image,
    create_labels,
    export_labels,
    write_stack,
)
from scsam_monai.io.palette import colours_of
from scsam_monai.measure import find_objects

SIZE_NM = (16.0, 16.0, 16.0)
TICK_MS = 20
LONGEST_S = 900.0
LONGEST_WAIT_S = 0.5


class Screen:
    """Counts the frames that the window could have drawn while something else computes."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer
        from qtpy.QtWidgets import QApplication

        self.app = QApplication.instance()
        self.ticks: list[float] = []
        self.timer = QTimer()
        self.timer.setInterval(TICK_MS)
        # In processor time: on a busy machine the whole process waits, which is not the window's fault.
        self.timer.timeout.connect(lambda: self.ticks.append(time.process_time()))
        self.timer.start()

    def until(self, met: Callable[[], object]) -> None:
        """Let the window live until something is so."""
        self.ticks.clear()
        begun = time.monotonic()
        while not met():
            assert time.monotonic() - begun < LONGEST_S, "nothing came of it"
            self.app.processEvents()
            time.sleep(0.001)

    def longest_wait(self) -> float:
        """Processor seconds between two frames, at most."""
        return float(np.max(np.diff(self.ticks)))


@pytest.fixture
def screen(viewer: Any) -> Screen:
    return Screen()


@pytest.fixture
def widget(viewer: Any, screen: Screen) -> Any:
    _, made = viewer.window.add_plugin_dock_widget("scsam-monai", "Segment organelles")
    return made


@pytest.fixture(scope="module")
def cells() -> Any:
    return generate_volume((4, 256, 256), SIZE_NM, seed=3)


def ended(widget: Any) -> Callable[[], bool]:
    return lambda: widget.task is None


def said(widget: Any) -> str:
    return str(widget.form.notes.toPlainText())


def test_from_a_stack_to_figures_and_back(
    viewer: Any, widget: Any, screen: Screen, cells: Any, tmp_path: Path
) -> None:
    write_stack(tmp_path / "cells.tif", cells.image, SIZE_NM)
    viewer.open(str(tmp_path / "cells.tif"), plugin="scsam-monai")
    form = widget.form
    assert (form.voxel_size.text(), form.size_from.text()) == ("16,16,16", "as the layer's scale says")
    assert form.classes.class_names[1:4] == ("membrane", "nucleus", "mitochondrion")
    files = sorted(tmp_path.rglob("*"))

    # Predict, and look on.
    form.confidence.setChecked(True)
    stages: list[tuple[str, float, float]] = []
    form.predict.click()
    widget.task.progressed.connect(lambda *told: stages.append(told))
    assert form.stop.isEnabled()
    assert not form.predict.isEnabled()
    screen.until(ended(widget))
    assert len(screen.ticks) > 20
    assert screen.longest_wait() < LONGEST_WAIT_S
    done = [(done, total) for stage, done, total in stages if stage == "segmenting"]
    assert done[-1] == (cells.image.size, cells.image.size)
    assert done == sorted(done)
    labels, sure = viewer.layers["cells scsam"], viewer.layers["cells scsam confidence"]
    assert labels.data.shape == sure.data.shape == cells.image.shape
    assert labels.visible
    assert set(np.unique(labels.data)) > {0, 1}
    np.testing.assert_array_equal(labels.scale, SIZE_NM)
    assert [str(unit) for unit in labels.units] == ["nanometer"] * 3
    names = form.classes.class_names
    for index, colour in enumerate(colours_of(names)[1:], start=1):
        np.testing.assert_allclose(labels.colormap.map(index), [*colour / 255, 1], atol=1e-6)
    assert labels.colormap.map(0)[3] == 0
    assert list(labels.features["class"][: len(names)]) == list(names)
    assert sorted(tmp_path.rglob("*")) == files  # nothing beside the user's image

    # Paint two organelles and what is neither on one section.
    viewer.dims.set_current_step(0, 2)
    form.paint.click()
    painted = viewer.layers["cells painted"]
    assert viewer.layers.selection.active is painted
    assert painted.mode == "paint"
    for row, (name, truth) in enumerate((("nucleus", 2), ("mitochondrion", 3), ("background", 0))):
        form.classes.setCurrentRow(list(names[1:] + names[:1]).index(name))
        for y, x in np.argwhere(cells.labels[2] == truth)[:: 3 + row]:
            painted.data[2, y, x] = painted.selected_label
    painted.brush_size = 4
    painted.paint((2, 3, 3), painted.selected_label)  # as the mouse does
    assert not painted.data[[0, 1, 3]].any()

    # Adapt, predict again with the adapted model, and measure.
    form.minutes.setValue(0.2)
    form.adapt.click()
    screen.until(ended(widget))
    assert "mean IoU on what was held back" in said(widget), said(widget)
    if "predict again with it" in said(widget):
        model = Path(form.model.currentText())
        assert model == tmp_path / "home" / "scsam_models" / "cells-1" / "model.pt"
        assert model.is_file()
        form.predict.click()
        screen.until(ended(widget))
        again = viewer.layers["cells cells-1"]
        assert again.metadata["scsam_classes"] == ["background", "nucleus", "mitochondrion"]
        assert not labels.visible
        assert again.visible
    form.labels.choose(labels)
    form.measure.click()
    screen.until(ended(widget))
    measured = widget.tables.measured
    assert {row["class"] for row in measured.classes} <= set(names[1:])
    assert sum(row["voxels"] for row in measured.classes) == np.count_nonzero(labels.data)
    assert widget.tables.tabs.widget(0).model().rowCount() == len(measured.objects)
    widget.tables.save(str(tmp_path / "figures"))
    with (tmp_path / "figures" / "objects.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(measured.objects)
    widget.tables.save(str(tmp_path / "figures"))
    assert "expected no output yet" in widget.tables.told.text()


def test_cancel_ends_a_prediction_between_groups_of_windows(
    viewer: Any, widget: Any, screen: Screen, cells: Any
) -> None:
    viewer.add_image(np.concatenate([cells.image] * 16), name="long", scale=SIZE_NM, units="nm")
    widget.form.predict.click()
    screen.until(lambda: widget.form.bar.format().startswith("segmenting"))
    widget.form.stop.click()
    screen.until(ended(widget))
    assert said(widget).splitlines()[-1] == "cancelled"
    assert [layer.name for layer in viewer.layers] == ["long"]
    assert widget.form.predict.isEnabled()


def test_a_section_alone_is_a_layer_at_its_place(
    viewer: Any, widget: Any, screen: Screen, cells: Any
) -> None:
    image = viewer.add_image(cells.image, name="cells", scale=SIZE_NM, units="nm", translate=(5, 6, 7))
    viewer.dims.set_point(0, 5 + 16)
    widget.form.section_alone.setChecked(True)
    widget.form.predict.click()
    screen.until(ended(widget))
    labels = viewer.layers["cells scsam"]
    assert labels.data.shape == (1, *cells.image.shape[1:])
    assert labels.data.max() < 255
    np.testing.assert_allclose(labels.translate, (5 + 16, 6, 7))
    np.testing.assert_allclose(labels.data_to_world((0, 2, 3)), image.data_to_world((1, 2, 3)))
    viewer.dims.set_point(0, 5 + 2 * 16)
    widget.form.correct.click()
    assert "expected labels of section 2, which is shown, met those of section 1 alone" in said(widget)
    viewer.dims.set_point(0, 5 + 16)
    widget.form.correct.click()
    painted = viewer.layers["cells painted"]
    assert not painted.data[[0, 2, 3]].any()
    np.testing.assert_array_equal(painted.data[1] == 254, labels.data[0] == 0)
    assert not labels.visible


def test_a_section_of_a_pyramid_is_taken_from_its_finest_level(
    viewer: Any, widget: Any, screen: Screen, cells: Any
) -> None:
    levels = [cells.image, cells.image[:, ::2, ::2], cells.image[:, ::4, ::4]]
    viewer.add_image(levels, name="pyramid", scale=SIZE_NM, units="nm", multiscale=True)
    viewer.add_image(cells.image, name="cells", scale=SIZE_NM, units="nm")
    viewer.dims.set_current_step(0, 2)
    widget.form.section_alone.setChecked(True)
    for name in ("pyramid", "cells"):
        widget.form.image.choose(viewer.layers[name])
        widget.form.predict.click()
        screen.until(ended(widget))
    found, expected = viewer.layers["pyramid scsam"], viewer.layers["cells scsam"]
    assert len(np.unique(expected.data)) > 1
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_allclose(found.translate, (32, 0, 0))


def test_a_section_of_colours_is_refused(viewer: Any, widget: Any, cells: Any) -> None:
    colours = np.stack([cells.image] * 3, axis=-1)
    viewer.add_image(colours, name="colours", rgb=True, scale=SIZE_NM, units="nm")
    widget.form.section_alone.setChecked(True)
    widget.form.predict.click()
    assert widget.task is None
    assert "colours: expected a grey image, met colours" in said(widget)


def test_a_missing_voxel_size_is_asked_for(viewer: Any, widget: Any, screen: Screen, cells: Any) -> None:
    viewer.add_image(cells.image[0], name="cells", scale=(0.016, 0.016))
    assert widget.form.voxel_size.text() == ""
    widget.form.predict.click()
    assert widget.task is None
    assert "type it into the field" in said(widget)
    widget.form.voxel_size.setText("1")
    widget.form.predict.click()
    screen.until(ended(widget))
    assert "within a factor of 8" in said(widget)
    widget.form.voxel_size.setText("16")
    widget.form.predict.click()
    screen.until(ended(widget))
    labels = viewer.layers["cells scsam"]
    np.testing.assert_array_equal(labels.scale, (0.016, 0.016))  # it lies on its image
    assert labels.metadata["scsam_voxel_size_nm"] == [16.0, 16.0, 16.0]


def test_what_does_not_fit_is_one_line(viewer: Any, widget: Any, cells: Any) -> None:
    form = widget.form
    for button, line in ((form.predict, "open an image first"), (form.measure, "predict first")):
        button.click()
        assert line in said(widget)
    viewer.add_image(cells.image[0], name="cells", scale=SIZE_NM[1:], units="nm")
    form.adapt.click()
    assert "add one, and paint" in said(widget)
    form.paint.click()
    form.adapt.click()
    assert "nothing painted" in said(widget)
    form.new_class.setText("crystal")
    form.add_class.click()
    painted = viewer.layers["cells painted"]
    assert painted.metadata["scsam_classes"][-1] == "crystal"
    assert painted.colormap.map(len(form.classes.class_names) - 1)[3] == 1
    form.add_class.click()
    assert "expected a new name" in said(widget)


def test_adaptation_is_cancelled_too(viewer: Any, widget: Any, screen: Screen, cells: Any) -> None:
    viewer.add_image(cells.image[0], name="cells", scale=SIZE_NM[1:], units="nm")
    widget.form.paint.click()
    viewer.layers["cells painted"].data = np.where(cells.labels[0] == 0, 254, cells.labels[0])
    widget.form.adapt.click()
    screen.until(lambda: widget.form.bar.format().startswith("learning"))
    widget.form.stop.click()
    screen.until(ended(widget))
    assert said(widget).splitlines()[-1] == "cancelled"


def test_what_scsam_wrote_opens_in_the_viewer(viewer: Any, cells: Any, tmp_path: Path) -> None:
    names, whole = ("background", "membrane", "nucleus"), [(0, length) for length in cells.labels.shape]
    values = np.where(cells.labels > 2, 0, cells.labels)
    labels = tmp_path / "labels.ome.zarr"
    create_labels(labels, values.shape, SIZE_NM, LabelLegend(names, colours_of(names)))
    LabelVolume(labels).write(whole, values)
    export_labels(labels, tmp_path / "exported.tif")
    find_objects(labels, tmp_path / "objects.ome.zarr")
    create_image(tmp_path / "sure.ome.zarr", values.shape, SIZE_NM, ("confidence",), attributes={"made": 1})
    for name in ("labels.ome.zarr", "exported.tif", "objects.ome.zarr", "sure.ome.zarr"):
        (layer,) = viewer.open(str(tmp_path / name), plugin="scsam-monai")
        assert layer.visible
        np.testing.assert_array_equal(layer.scale, SIZE_NM)
        assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
    for name in ("labels", "exported"):
        layer = viewer.layers[name]
        np.testing.assert_allclose(layer.colormap.map(2), [*colours_of(names)[2] / 255, 1], atol=1e-6)
        nucleus = tuple(np.argwhere(values == 2)[0] * SIZE_NM)
        assert "class: nucleus" in layer.get_status(nucleus, world=True)["coordinates"]
    assert "class: " in viewer.layers["objects"].get_status(nucleus, world=True)["coordinates"]
