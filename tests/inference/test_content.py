"""Empty parts change nothing of what is drawn beside them, and are labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from front_door import CLASSES, VOXEL_NM, WINDOWS, grey, predict, whole
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.inference import Model, Windows, segment
from scsam_monai.inference.products import Product
from scsam_monai.io.empty import MIRRORED, fill_empty

PRODUCTS = ["probabilities", "confidence"]


def tissue(*shape: int) -> np.ndarray:
    """Neither black nor white anywhere."""
    return np.clip(grey(*shape), 1, 254)


def framed(volume: np.ndarray, width: int, value: float) -> np.ndarray:
    around = ((0, 0), (width, width), (width, width))
    return np.pad(volume.astype(np.float32) if np.isnan(value) else volume, around, constant_values=value)


@pytest.mark.parametrize(("width", "value"), [(10, 0), (40, 255), (100, np.nan)])
def test_a_frame_changes_no_bit_inside(opened: Model, width: int, value: float) -> None:
    volume = tissue(2, 90, 70)
    expected = segment(volume, opened, VOXEL_NM, windows=WINDOWS, products=PRODUCTS)
    found = segment(framed(volume, width, value), opened, VOXEL_NM, windows=WINDOWS, products=PRODUCTS)
    inner = (..., slice(width, -width), slice(width, -width))
    assert np.array_equal(found.labels[inner], expected.labels)
    for product, values in found.maps.items():
        assert np.array_equal(values[inner], expected.maps[product])
    outside = np.ones(found.labels.shape, bool)
    outside[inner] = False
    probabilities, confidence = (found.maps[Product(name)] for name in PRODUCTS)
    assert not found.labels[outside].any()
    assert (confidence[outside] == 255).all()
    assert (probabilities[0][outside] == 255).all()
    assert not probabilities[1:, outside].any()


def test_what_is_empty_may_be_labelled_unknown(opened: Model) -> None:
    volume = framed(tissue(2, 90, 70), 20, 0)
    found = segment(volume, opened, VOXEL_NM, windows=WINDOWS, products=["confidence"], empty_label=255)
    (confidence,) = found.maps.values()
    assert np.array_equal(found.labels == 255, volume == 0)
    assert not confidence[volume == 0].any()


def ragged(volume: np.ndarray) -> np.ndarray:
    """Tilted sections, one missing."""
    volume = volume.copy()
    volume[:, :10] = 0
    for z, section in enumerate(volume):
        for y, row in enumerate(section):
            row[: max(0, 90 + 8 * z - y)] = 0
    volume[1] = 0
    return volume


@pytest.mark.parametrize("planes", [1, 3])
def test_blocks_give_the_same_bits(model_path: Path, tmp_path: Path, planes: int) -> None:
    volume = ragged(tissue(70, 150, 160))[: 70 if planes == 3 else 4]
    np.save(tmp_path / "cell.npy", volume)
    windows = Windows(64, planes=planes)
    for name, block in (("whole", volume.shape), ("blocks", (1, 1, 1))):
        assert predict(
            tmp_path / "cell.npy", tmp_path / f"{name}.ome.zarr", model_path,
            windows=windows, block=block, products=PRODUCTS,
        )  # fmt: skip
    labels = whole(tmp_path / "blocks.ome.zarr")
    assert np.array_equal(labels, whole(tmp_path / "whole.ome.zarr"))
    assert np.array_equal(
        whole(tmp_path / "blocks_confidence.ome.zarr"), whole(tmp_path / "whole_confidence.ome.zarr")
    )
    assert not labels[volume == 0].any()


def test_the_command_names_what_is_empty(
    model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.save(tmp_path / "cell.npy", framed(tissue(2, 90, 70), 30, np.nan))
    words = [
        "predict",
        tmp_path / "cell.npy",
        tmp_path / "labels.tif",
        "--model",
        model_path,
        "--device",
        "cpu",
    ]
    words += ["--voxel-size-nm", "16,16,16", "--window", 64, "--empty-label", 255]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert (
        "68 % of the image is empty (grey value NaN up to its border): it is labelled unknown, 255"
        in caplog.text
    )
    labels = whole(tmp_path / "labels.tif")
    assert (labels[:, :30] == 255).all()
    assert labels[:, 30:-30, 30:-30].max() < len(CLASSES)
    assert (tmp_path / "labels_prediction.png").is_file()


def test_single_nan_are_filled(opened: Model) -> None:
    """They neither stop a run nor spread."""
    volume = tissue(1, 90, 70).astype(np.float32)
    holes = volume.copy()
    holes[0, 40, 30:33] = np.nan
    labels = segment(holes, opened, VOXEL_NM, windows=WINDOWS, empty_label=255).labels
    assert np.array_equal(labels == 255, np.isnan(holes))
    known = segment(volume, opened, VOXEL_NM, windows=WINDOWS).labels
    assert (labels != known)[~np.isnan(holes)].mean() < 0.02


def test_progress_ends_with_all_of_the_content(model_path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "cell.npy", framed(tissue(2, 90, 70), 30, 0))
    seen: list[tuple[str, float, float]] = []
    assert predict(
        tmp_path / "cell.npy",
        tmp_path / "labels.tif",
        model_path,
        block=(1, 1, 1),
        progress=lambda *values: seen.append(values),
    )
    counts = [values[1:] for values in seen if values[0] == "segmenting"]
    assert counts[-1] == (2 * 90 * 70, 2 * 90 * 70)


def test_fill() -> None:
    row = np.arange(1, 101, dtype=np.uint8)[None, None]
    empty = np.zeros(row.shape, bool)
    empty[..., 50:] = True
    filled = fill_empty(row, empty, 7)[0, 0]
    assert filled[:50].tolist() == row[0, 0, :50].tolist()
    assert filled[50 : 50 + MIRRORED].tolist() == row[0, 0, 49 : 49 - MIRRORED : -1].tolist()
    assert set(filled[50 + MIRRORED :].tolist()) == {7}
