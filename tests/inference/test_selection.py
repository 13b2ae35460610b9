"""Classes, thresholds and sizes that a user asks for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.errors import InputError
from scsam_monai.filesystem.bundle_folder import bundle_folder
from scsam_monai.inference.blocks import BlockPlan
from scsam_monai.inference.job import Job, Source
from scsam_monai.inference.maps import OnePlaneDrawing, ThreePlanesDrawing
from scsam_monai.inference.products import Product
from scsam_monai.inference.selection import Selection
from scsam_monai.inference.small_profiles import remove_small
from scsam_monai.inference.store import Store
from scsam_monai.inference.windows import Windows
from scsam_monai.io import LabelLegend, LabelVolume, create_labels, write_stack
from scsam_monai.io.palette import class_colours
from scsam_monai.report.labels_page import labels_page
from scsam_monai.report.survey import profile_areas

NAMES = ["background", "er", "golgi", "granule"]
WHOLE = (slice(0, 1), slice(0, 1), slice(0, 4))


def logits() -> torch.Tensor:
    """Four pixels: golgi at 0.9, golgi at 0.6, er at 0.6, granule at 0.6 (K', 1, 1, 4)."""
    shares = [[0.05, 0.2, 0.2, 0.2], [0.03, 0.1, 0.6, 0.1], [0.9, 0.6, 0.1, 0.1], [0.02, 0.1, 0.1, 0.6]]
    return torch.tensor(shares).log()[:, None, None]


@pytest.mark.parametrize("kind", [OnePlaneDrawing, ThreePlanesDrawing])
@pytest.mark.parametrize(
    ("classes", "thresholds", "drawn", "sure"),
    [
        (None, {"golgi": 0.7}, [2, 0, 1, 3], [0.9, 0.2, 0.6, 0.6]),
        (["golgi", "er"], None, [2, 2, 1, 0], [0.9, 0.6, 0.6, 0.8]),
        (["golgi"], {"": 0.7}, [2, 0, 0, 0], [0.9, 0.4, 0.9, 0.9]),
        (None, {"": 0.7, "er": 0.5}, [2, 0, 1, 0], [0.9, 0.2, 0.6, 0.2]),
        (None, {"golgi": 0.1}, [2, 2, 1, 3], [0.9, 0.6, 0.6, 0.6]),
    ],
)
def test_the_rest_competes_but_is_not_drawn(kind, classes, thresholds, drawn, sure) -> None:
    """The confidence is that of the label: of the background, what is not drawn has together."""
    selection = Selection.of(NAMES, classes, thresholds)
    drawing = kind((1, 1, 4), [Product.LABELS, Product.CONFIDENCE], selection)
    for plane in range(3 if kind is ThreePlanesDrawing else 1):
        drawing.add(WHOLE, logits(), plane)
    maps = drawing.products()
    assert maps[Product.LABELS].reshape(-1).tolist() == drawn
    assert maps[Product.CONFIDENCE].reshape(-1).tolist() == pytest.approx(np.array(sure) * 255, abs=1)


@pytest.mark.parametrize("kind", [OnePlaneDrawing, ThreePlanesDrawing])
def test_where_a_selection_changes_no_label_the_confidence_stays(kind) -> None:
    seen = torch.randn((4, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    maps = []
    for selection in (None, Selection.of(NAMES, NAMES[1:])):
        drawing = kind((1, 16, 16), [Product.LABELS, Product.CONFIDENCE], selection)
        for plane in range(3 if kind is ThreePlanesDrawing else 1):
            drawing.add((slice(0, 1), slice(0, 16), slice(0, 16)), seen, plane)
        maps.append(drawing.products())
    np.testing.assert_array_equal(maps[0][Product.CONFIDENCE], maps[1][Product.CONFIDENCE])


@pytest.mark.parametrize("kind", [OnePlaneDrawing, ThreePlanesDrawing])
def test_the_background_of_many_classes_is_certain_at_most(kind) -> None:
    names = ["background", *map(str, range(1, 256))]
    drawing = kind((1, 1, 1), [Product.CONFIDENCE], Selection.of(names, ["1"]))
    seen = torch.full((256, 1, 1, 1), 1.0)
    seen[1] = -30.0
    for plane in range(3 if kind is ThreePlanesDrawing else 1):
        drawing.add((slice(0, 1),) * 3, seen, plane)
    assert drawing.products()[Product.CONFIDENCE].item() == 255


def test_nothing_asked_for_is_no_selection() -> None:
    assert Selection.of(NAMES) is None
    assert Selection.of(NAMES, None, {}, {}) is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"classes": ["mitochondrion"]}, "--classes: expected some of er, golgi, granule, met mitochondrion"),
        ({"classes": ["background"]}, "--classes"),
        ({"thresholds": {"golgi": 1.5}}, "--threshold golgi: expected a probability"),
        ({"smallest_nm2": {"": -1}}, "--smallest-nm2: expected an area"),
        ({"smallest_nm2": {"glia": 9}}, "--smallest-nm2: .*met glia"),
    ],
)
def test_what_the_model_does_not_know_is_refused(asked, message) -> None:
    with pytest.raises(InputError, match=message):
        Selection.of(NAMES, **asked)


def cleaned(
    folder: Path, labels: np.ndarray, smallest: list[float], block: tuple[int, int, int]
) -> np.ndarray:
    path, box = folder / "labels.ome.zarr", [(0, length) for length in labels.shape]
    legend = LabelLegend(("background", "er", "golgi"), class_colours(3))
    create_labels(path, labels.shape, (1.0, 1.0, 1.0), legend, chunk=block)
    LabelVolume(path).write(box, labels)
    assert remove_small(LabelVolume(path), BlockPlan(labels.shape, block), smallest)
    first = LabelVolume(path).read(box)
    assert remove_small(LabelVolume(path), BlockPlan(labels.shape, block), smallest)
    np.testing.assert_array_equal(LabelVolume(path).read(box), first)
    return first


def test_small_profiles_go_whatever_the_blocks(tmp_path: Path) -> None:
    from scipy import ndimage

    rng = np.random.default_rng(0)
    labels = (ndimage.gaussian_filter(rng.normal(size=(3, 50, 70)), (0, 1.5, 1.5)) > 0.1).astype(np.uint8)
    labels[:, 25:] *= 2
    expected = labels.copy()
    for section in expected:
        for index, least in ((1, 12), (2, 30)):
            profiles, _ = ndimage.label(section == index)
            areas = np.bincount(profiles.reshape(-1))
            section[(profiles > 0) & (areas[profiles] < least)] = 0
    assert (expected != labels).any()
    for number, block in enumerate(((3, 50, 70), (1, 16, 16), (2, 8, 32))):
        found = cleaned(tmp_path / str(number), labels, [0, 12, 30], block)
        np.testing.assert_array_equal(found, expected)


def test_classes_without_a_size_are_left_alone(tmp_path: Path) -> None:
    labels = np.zeros((1, 16, 16), np.uint8)
    labels[0, 3, 3], labels[0, 9, 9] = 1, 2
    found = cleaned(tmp_path, labels, [0, 0, 2], (1, 8, 8))
    assert (found[0, 3, 3], found[0, 9, 9]) == (1, 0)


def test_the_pyramid_shows_what_is_left(tmp_path: Path) -> None:
    shape, block = (4, 600, 600), (4, 768, 768)
    whole = ((0, 4), (0, 600), (0, 600))
    source = Source("/cell.npy", None, shape, "uint8", "now")
    output = str(tmp_path / "labels.ome.zarr")
    drawn = Selection((1,), (0.0, 0.0), (0.0, 100.0))
    job = Job(
        source, output, "m", "h", ("background", "er"), (8.0, 8.0, 8.0), (1.0, 1.0, 1.0), (0.0, 1.0), whole, 0.0,
        0, Windows(), (Product.LABELS,), (4, 256, 256), block, "0.5", 1, drawn,
    )  # fmt: skip
    job.folder.mkdir()
    store = Store(job)
    store.create(class_colours(2))
    labels = np.zeros(shape, np.uint8)
    labels[:, 64:400, 48:496] = 1
    store.write(whole, {Product.LABELS: labels})
    assert store.finish()
    levels = [np.asarray(level) for level in LabelVolume(output).levels]
    assert len(levels) > 1
    for fine, coarse in pairwise(levels):
        steps = tuple(slice(None, None, -(-a // b)) for a, b in zip(fine.shape, coarse.shape, strict=True))
        assert coarse.any()
        assert np.array_equal(coarse, fine[steps])  # the edges are even: a cell is of one class


def test_the_command_draws_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample's corner: two classes alone, of which small profiles go, and the command that says so again."""
    monkeypatch.chdir(tmp_path)
    section = tifffile.imread(bundle_folder() / "samples" / "islet_5nm.tif")[:512, :512]
    write_stack("cell.tif", section, (5.0, 5.0, 5.0))
    write_stack("bright.tif", 255 - section, (5.0, 5.0, 5.0))
    runner = CliRunner()

    def drawn(name: str, *words: str) -> np.ndarray:
        image = "bright.tif" if "--invert" in words else "cell.tif"
        done = runner.invoke(app, ["predict", image, f"{name}.ome.zarr", "--threads", "1", *words])
        assert done.exit_code == 0, done.output
        return LabelVolume(f"{name}.ome.zarr").read(((0, 1), (0, 512), (0, 512)))[0]

    whole = drawn("whole")
    chosen = ["--classes", "mitochondrion,granule", "--smallest-nm2", "granule=2000"]
    some = drawn("some", *chosen)
    assert set(np.unique(some)) <= {0, 3, 4}
    np.testing.assert_array_equal(some == 3, whole == 3)
    assert 0 < (some == 4).sum() <= (whole == 4).sum()
    assert min(profile_areas(some)[4]) * 25 >= 2000
    pyramid = LabelVolume("some.ome.zarr").read(((0, 1), (0, 256), (0, 256)), 1)
    assert set(np.unique(pyramid)) <= {0, 3, 4}
    np.testing.assert_array_equal(drawn("inverted", "--invert", *chosen), some)
    (command,) = labels_page("inverted.ome.zarr").commands
    for words in ("--classes mitochondrion,granule", "--smallest-nm2 granule=2000.0", "--invert"):
        assert words in command
