"""Empty parts change nothing of what is drawn beside them, and are labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from front_door import CLASSES, VOXEL_NM, WINDOWS, grey, predict, whole
from streamed import K, network
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.export.description import in_single_precision
from scsam_monai.inference import Model, Windows, segment
from scsam_monai.inference.blocks import BlockPlan
from scsam_monai.inference.content import content_stream
from scsam_monai.inference.products import Product, as_products
from scsam_monai.inference.segment import MapsInMemory
from scsam_monai.io import ArrayVolume
from scsam_monai.io.empty import find_empty
from scsam_monai.io.fill_empty import MIRRORED, fill_empty

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


def draw(volume: np.ndarray, block: tuple[int, int, int], planes: int) -> dict[Product, np.ndarray]:
    """All maps of a small network, which is quick."""
    source, wanted = ArrayVolume(volume), as_products(PRODUCTS, planes)
    names = tuple(f"class {index}" for index in range(K))
    model = Model(network, names, None, torch.device("cpu"))  # type: ignore[arg-type]
    blocks, sink = BlockPlan(source.shape, block), MapsInMemory(source.shape)
    stream = content_stream(
        source,
        source.dtype,
        find_empty(source),
        model,
        Windows(32, planes=planes),
        (1.0, 0.8, 0.8) if planes == 1 else (1.0, 1.0, 1.0),
        (0.0, 255.0),
        blocks,
        sink,
        wanted,
    )
    assert sorted(stream.run(range(len(blocks)))) == list(range(len(blocks)))
    return sink.maps


@pytest.mark.parametrize(("planes", "block"), [(1, (2, 40, 56)), (3, (16, 64, 32))])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_blocks_give_the_same_bits(planes: int, block: tuple[int, int, int], dtype: str) -> None:
    volume = ragged(tissue(20, 150, 160)).astype(dtype)
    if dtype == "float32":
        volume[3, 70:75, 100:130] = np.nan
    whole_maps, parts = (draw(volume, edges, planes) for edges in (volume.shape, block))
    for product, values in whole_maps.items():
        assert np.array_equal(values, parts[product])
    assert not parts[Product.LABELS][(volume == 0) | np.isnan(volume)].any()
    assert parts[Product.LABELS].any()


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
    exact = in_single_precision(opened)  # this network was not trained: all its classes are all but equal
    labels = segment(holes, exact, VOXEL_NM, windows=WINDOWS, empty_label=255).labels
    assert np.array_equal(labels == 255, np.isnan(holes))
    known = segment(volume, exact, VOXEL_NM, windows=WINDOWS).labels
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


def test_progress_goes_on_within_a_section(model_path: Path, tmp_path: Path) -> None:
    """A large one takes minutes."""
    np.save(tmp_path / "cell.npy", tissue(1, 200, 200))
    seen: list[float] = []
    assert predict(
        tmp_path / "cell.npy",
        tmp_path / "labels.tif",
        model_path,
        progress=lambda stage, done, _: seen.append(done) if stage == "segmenting" else None,
    )
    assert len(set(seen)) > 3
    assert seen == sorted(seen)
    assert seen[-2] == pytest.approx(seen[-1]) == 200 * 200


def test_fill() -> None:
    row = np.arange(1, 101, dtype=np.uint8)[None, None]
    empty = np.zeros(row.shape, bool)
    empty[..., 50:] = True
    filled = fill_empty(row, empty, 7)[0, 0]
    assert filled[:50].tolist() == row[0, 0, :50].tolist()
    assert filled[50 : 50 + MIRRORED].tolist() == row[0, 0, 49 : 49 - MIRRORED : -1].tolist()
    assert set(filled[50 + MIRRORED :].tolist()) == {7}
