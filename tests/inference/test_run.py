from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from front_door import CLASSES, PIXEL_NM, VOXEL_NM, WINDOWS, grey, predict, tree, whole
from PIL import Image
from streamed import draw

from scsam_monai import segment
from scsam_monai.errors import InputError
from scsam_monai.inference import Model, Product, Windows
from scsam_monai.inference.blocks import BlockPlan
from scsam_monai.inference.predictor import Network
from scsam_monai.io import ArrayVolume, ImageVolume, LabelVolume, open_volume
from tests.io.formats import volume_files as files


@pytest.mark.parametrize("name", ["labels.ome.zarr", "old.ome.zarr", "labels.tif", "labels.nii.gz"])
def test_a_file_holds_what_segment_finds(
    source: Path, model_path: Path, opened: Model, tmp_path: Path, name: str
) -> None:
    version = "0.4" if name.startswith("old") else "0.5"
    assert predict(source, tmp_path / name, model_path, ome_zarr=version, block=(4, 256, 40))
    met = segment(np.load(source), opened, VOXEL_NM, windows=WINDOWS)
    assert np.array_equal(whole(tmp_path / name), met.labels)
    with open_volume(tmp_path / name) as volume:
        assert volume.voxel_size_nm == pytest.approx(VOXEL_NM)
    assert (np.bincount(met.labels.ravel(), minlength=3) > 0.02 * met.labels.size).all()
    assert {path.name for path in tmp_path.iterdir()} == {source.name, name}


def test_labels_know_their_classes_and_how_they_were_made(
    source: Path, model_path: Path, tmp_path: Path
) -> None:
    predict(source, tmp_path / "labels.ome.zarr", model_path)
    labels = LabelVolume(tmp_path / "labels.ome.zarr")
    assert list(labels.legend.class_names) == CLASSES
    assert len(labels.attributes["model_sha256"]) == 64
    assert labels.attributes["windows"]["size"] == WINDOWS.size
    assert str(tmp_path) not in str(labels.attributes)


def test_the_input_is_no_output(model_path: Path, tmp_path: Path) -> None:
    stack = tmp_path / "cell.tif"
    tifffile.imwrite(stack, grey(5, 70, 40))
    with pytest.raises(
        InputError, match=r"cell\.tif: expected an output, met the input itself; name another"
    ):
        predict(stack, stack, model_path)


def test_three_planes_and_all_maps(model_path: Path, opened: Model, tmp_path: Path) -> None:
    cube, windows = grey(12, 70, 40), Windows(64, planes=3)
    names = [product.value for product in Product]
    np.save(tmp_path / "cell.npy", cube)
    predict(
        tmp_path / "cell.npy", tmp_path / "cell.ome.zarr", model_path,
        windows=windows, products=names[1:], block=(64, 64, 64),
    )  # fmt: skip
    met = segment(cube, opened, VOXEL_NM, windows=windows, products=names[1:])
    assert np.array_equal(whole(tmp_path / "cell.ome.zarr"), met.labels)
    assert met.maps.keys() == set(Product) - {Product.LABELS}
    for product, values in met.maps.items():
        volume = ImageVolume(tmp_path / f"cell_{product.value}.ome.zarr")
        assert np.array_equal(volume.read([(0, size) for size in volume.shape[-3:]]), values)
        assert volume.channel_names == (
            tuple(CLASSES) if product == Product.PROBABILITIES else (product.value,)
        )
        shown = [channel["active"] for channel in volume.ome["omero"]["channels"]]
        assert shown == ([False, True, True] if product == Product.PROBABILITIES else [True])
    assert met.maps[Product.DISAGREEMENT].max() > 0


@pytest.mark.parametrize("nm", [8.0, 24.0])
def test_voxels_of_another_size_are_resampled(
    source: Path, model_path: Path, opened: Model, tmp_path: Path, nm: float
) -> None:
    predict(source, tmp_path / "labels.ome.zarr", model_path, voxel_size_nm=(50, nm, nm), block=(4, 256, 40))
    met = segment(np.load(source), opened, (50, nm, nm), windows=WINDOWS)
    assert np.array_equal(whole(tmp_path / "labels.ome.zarr"), met.labels)
    same = segment(np.load(source), opened, (50, PIXEL_NM, PIXEL_NM), windows=WINDOWS)
    assert not np.array_equal(met.labels, same.labels)


@pytest.mark.parametrize("name", ["section.png", "section.tif"])
def test_an_image_is_a_volume_of_one_section(
    model_path: Path, opened: Model, tmp_path: Path, name: str
) -> None:
    image = grey(90, 70)
    Image.fromarray(image).save(tmp_path / name)
    predict(tmp_path / name, tmp_path / "labels.tif", model_path, voxel_size_nm=VOXEL_NM[1:])
    met = segment(image, opened, VOXEL_NM[1:], windows=WINDOWS, products=["probabilities", "confidence"])
    assert np.array_equal(np.squeeze(tifffile.imread(tmp_path / "labels.tif")), met.labels)
    assert met.labels.shape == met.maps[Product.CONFIDENCE].shape == image.shape
    assert met.maps[Product.PROBABILITIES].shape == (len(CLASSES), *image.shape)


FORMATS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    name: files.ANY_TYPE[name]
    for name in (
        "tiff", "tiff-zlib-tiles", "slices", "nifti", "nifti-gz", "hdf5-chunks", "zarr-2", "ome-zarr-0.4",
        "ome-zarr-0.5",
    )
} | {"mrc": lambda folder, array: files.mrc(folder, array.astype(np.int16))}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_does_not_matter(model_path: Path, opened: Model, tmp_path: Path, name: str) -> None:
    volume = grey(5, 40, 72)
    (tmp_path / "in").mkdir()
    path = FORMATS[name](tmp_path / "in", volume)
    dataset = "volumes/raw" if name.startswith("hdf5") else None
    predict(path, tmp_path / "labels.ome.zarr", model_path, dataset=dataset)
    expected = segment(volume, opened, VOXEL_NM, windows=WINDOWS).labels
    assert np.array_equal(whole(tmp_path / "labels.ome.zarr"), expected)


def test_the_files_own_voxel_size_is_used(model_path: Path, opened: Model, tmp_path: Path) -> None:
    volume = grey(5, 40, 72)
    path = files.ome_zarr()(tmp_path, volume)
    predict(path, tmp_path / "labels.tif", model_path, voxel_size_nm=None)
    expected = segment(volume, opened, (50, 5, 4), windows=WINDOWS).labels
    assert np.array_equal(whole(tmp_path / "labels.tif"), expected)


def probabilities(grey_values: np.ndarray, block: tuple[int, int, int], network: Network) -> torch.Tensor:
    """Before they are rounded to bytes."""
    volume = ArrayVolume(grey_values)
    (predictor,) = WINDOWS.predictors(network, volume.shape, (1, 1, 1), (0, 255), "cpu")
    found = torch.full((len(CLASSES), *volume.shape), torch.nan)
    for bounds in BlockPlan(volume.shape, block):
        part = found[(slice(None), *(slice(*span) for span in bounds))]
        for blended in predictor.predict(predictor.read(volume, bounds), bounds):
            where, logits = predictor.logits(blended, bounds)
            part[(slice(None), *where)] = torch.softmax(logits, dim=0)
    return found


@pytest.mark.parametrize("constant", [True, False])
@torch.inference_mode()
def test_blocks_of_the_network_itself_show_no_seam(opened: Model, constant: bool) -> None:
    volume, block = np.full((2, 150, 90), 77, np.uint8) if constant else grey(2, 150, 90), (1, 40, 50)
    one = draw(volume, None, WINDOWS, net=opened.network)
    blocks = draw(volume, block, WINDOWS, net=opened.network)
    assert one.keys() == blocks.keys() == {Product.LABELS, Product.PROBABILITIES, Product.CONFIDENCE}
    for product in one:
        assert np.array_equal(one[product], blocks[product])
    difference = probabilities(volume, volume.shape, opened.network) - probabilities(
        volume, block, opened.network
    )
    assert float(difference.abs().max()) < 1e-5  # and not NaN: every voxel was drawn


def test_progress_counts_up_to_all_voxels(source: Path, model_path: Path, tmp_path: Path) -> None:
    seen: dict[str, list[tuple[float, float]]] = {}
    predict(
        source, tmp_path / "labels.tif", model_path,
        progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)),
    )  # fmt: skip
    assert list(seen) == ["segmenting", "exporting"]
    for calls in seen.values():
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)
        assert calls[-1][0] == pytest.approx(calls[-1][1])


def test_the_same_job_gives_the_same_bytes(source: Path, model_path: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        predict(source, tmp_path / name / "labels.ome.zarr", model_path, products=["confidence"])
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert len(tree(tmp_path / "one")) > 10
