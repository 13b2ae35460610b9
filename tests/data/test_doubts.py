"""Labels that do not lie on their image are told, and those that do are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from scsam_monai.data.checks import inspect_dataset
from scsam_monai.data.dataset import load_dataset
from scsam_monai.data.doubts import looks_like_labels
from scsam_monai.data.label_fit import ELSEWHERE, FITS, fit_of
from scsam_monai.data.synthetic import generate_volume
from scsam_monai.errors import InputError
from scsam_monai.io import read_labels

SIZE = (16.0, 16.0, 16.0)
CELLS = [generate_volume((1, 160, 160), SIZE, seed=seed) for seed in (100, 101)]
NAMES = ["background", "membrane", "nucleus", "mitochondrion", "granule", "golgi", "er", "vacuole"]


def warnings_of(folder: Path, *pairs: tuple[np.ndarray, np.ndarray], nm: Any = (16, 16, 16)) -> list[str]:
    items = []
    for index, (image, label) in enumerate(pairs):
        tifffile.imwrite(folder / f"cell{index}.tif", image)
        tifffile.imwrite(folder / f"label{index}.tif", label)
        items.append({"image": f"cell{index}.tif", "label": f"label{index}.tif"})
    labels = {str(index): name for index, name in enumerate(NAMES)}
    (folder / "dataset.json").write_text(
        json.dumps({"labels": labels, "voxel_size_nm": nm, "training": items})
    )
    return inspect_dataset(load_dataset(folder), compare=True).warnings


def about_fit(warnings: list[str]) -> list[str]:
    return [text for text in warnings if "label" in text and "voxel" not in text]


def test_right_pairs_are_left_alone(tmp_path: Path) -> None:
    assert about_fit(warnings_of(tmp_path, *((cell.image, cell.labels) for cell in CELLS))) == []


def test_swapped_labels_are_told_with_those_that_fit(tmp_path: Path) -> None:
    one, other = CELLS
    told = about_fit(warnings_of(tmp_path, (one.image, other.labels), (other.image, one.labels)))
    assert len(told) == 2
    assert "label0.tif: its edges are not those of cell0.tif; those of label1.tif are: swapped?" in told[0]


def test_labels_of_something_else_and_turned_ones_are_told(tmp_path: Path) -> None:
    (told,) = about_fit(warnings_of(tmp_path, (CELLS[0].image, CELLS[1].labels)))
    assert "no more than labels of another image" in told
    (told,) = about_fit(warnings_of(tmp_path, (CELLS[0].image, CELLS[0].labels[:, ::-1].copy())))
    assert "its edges are not where" in told


def test_moved_labels_are_told_with_the_way_back(tmp_path: Path) -> None:
    moved = np.roll(CELLS[0].labels, (-24, 15), (1, 2))
    (told,) = about_fit(warnings_of(tmp_path, (CELLS[0].image, moved)))
    assert "moved by 24 pixels in y and -15 in x" in told


def test_an_image_that_is_a_label_is_told(tmp_path: Path) -> None:
    (told,) = about_fit(warnings_of(tmp_path, (CELLS[0].labels, CELLS[0].labels)))
    assert "are image and label swapped?" in told
    assert not looks_like_labels(CELLS[0].image[0])


def test_few_voxels_and_unequal_edges_are_told(tmp_path: Path) -> None:
    label = np.zeros_like(CELLS[0].labels)
    label[0, :22, :22], label[0, 100:140, 100:140] = 3, 4
    told = " ".join(warnings_of(tmp_path, (CELLS[0].image, label), nm=(16, 16, 5)))
    assert "training: too few voxels to be learnt (below 500): mitochondrion 484" in told
    assert "voxels of 16 nm in y and 5 nm in x" in told


def test_a_few_edges_say_nothing() -> None:
    label = np.zeros((160, 160), np.uint8)
    label[20:60, 20:60] = 1
    fit = fit_of([CELLS[0].image[0]], [label])
    assert not fit.known
    strip = fit_of([CELLS[0].image[0, :100]], [CELLS[1].labels[0, :100]])
    assert strip.edges > 1000
    assert not strip.known
    assert not fit_of([np.zeros((64, 64))], [label[:64, :64]]).known


@pytest.mark.parametrize("seed", range(20))
def test_no_false_alarm_on_generated_volumes(seed: int) -> None:
    cell = generate_volume((1, 128, 128), SIZE, seed=200 + seed)
    fit = fit_of(list(cell.image), list(cell.labels))
    assert not fit.known or (fit.fits and not fit.moved), fit


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("vnc/stack1_raw_z00-16.tif", "vnc/stack1_label_z00-16.tif"),
        ("cdeep3m_mito/raw_z10-29.tif", "cdeep3m_mito/label_z10-29.tif"),
        ("isbi2012/raw.tif", "isbi2012/membrane.tif"),
    ],
)
def test_real_pairs_fit_and_wrong_ones_do_not(raw: str, label: str, real_data: Path) -> None:
    keys = [0, 7, 14]
    images, labels = (tifffile.imread(real_data / name, key=keys) for name in (raw, label))
    for image, drawn in zip(images, labels, strict=True):
        fit = fit_of([image], [drawn])
        assert fit.here > 2 * FITS
        assert not fit.moved
    wrong = fit_of([images[0]], [labels[2]])
    assert not wrong.fits
    moved = fit_of([images[0]], [np.roll(labels[0], 30, 0)])
    assert moved.moved
    assert moved.best > ELSEWHERE
    assert moved.shift[0] == pytest.approx(-30, abs=3)


def test_labels_in_colours_are_refused_with_what_helps(tmp_path: Path) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "label.png")
    tifffile.imwrite(tmp_path / "cell.tif", CELLS[0].image[0, :16, :16])
    items = [{"image": "cell.tif", "label": "label.png"}]
    content = {"labels": {"0": "background", "1": "er"}, "voxel_size_nm": [16, 16, 16], "training": items}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"label\.png: expected labels as numbers.*give each colour a number"
    ):
        load_dataset(tmp_path)
    with pytest.raises(InputError, match="give each colour a number"):
        read_labels(tmp_path / "label.png")
