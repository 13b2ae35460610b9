"""What an image resembles: drawn volumes that the fit has not seen, and real ones where they are at hand."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.data.synthetic import TISSUES, draw_look, generate_tissue
from scsam_monai.errors import InputError
from scsam_monai.inference import recognition
from scsam_monai.inference.planning import plan_job
from scsam_monai.inference.recognition import Likeness, Recognition, crops_of, doubts
from scsam_monai.io.empty import find_empty
from scsam_monai.io.intensity import intensity_range_of
from scsam_monai.io.volume import ArrayVolume, open_volume
from scsam_monai.weights.model_file import ModelFile
from scsam_monai.weights.registry import check_model

FAULTLESS: dict[str, Any] = dict.fromkeys(("inverted", "margin", "tiles"), False)
REAL = {
    "vnc/stack1_raw_z00-16.tif": (4.6, "neuropil"),
    "vnc/stack2_raw_unlabelled.tif": (4.6, "neuropil"),
    "isbi2012/raw.tif": (4.0, "neuropil"),
    "cdeep3m_mito/raw_z10-29.tif": (10.0, "neuropil"),
    "fib25/sample1_raw_unlabelled.tif": (8.0, "neuropil"),
    "fib25/sample2_raw.tif": (8.0, "neuropil"),
    "islet/islet_mito_5nm.png": (5.0, "islet"),
}


@pytest.fixture(scope="module")
def recogniser() -> Recognition:
    return Recognition()


def drawn(tissue: str, seed: int) -> np.ndarray:
    """Two sections of 320 pixels at 8 nm, uint8."""
    look = replace(draw_look("sbf-sem", np.random.default_rng(seed)), shape=(2, 320, 320), **FAULTLESS)
    return generate_tissue(tissue, seed, replace(look, voxel_size_nm=(40.0, 8.0, 8.0))).image


def likeness(recogniser: Recognition, grey: np.ndarray, pixel_nm: float = 8.0) -> Likeness:
    volume = ArrayVolume(grey, path="grey")
    empty = find_empty(volume)
    crops = crops_of(volume, intensity_range_of(volume, empty=empty), pixel_nm, empty)
    assert crops is not None
    return recogniser.look(crops)


def test_drawn_tissue_is_told_and_so_is_its_negative(recogniser: Recognition) -> None:
    images = {(name, seed): drawn(name, seed) for name in TISSUES for seed in (901, 902)}
    found = {key: likeness(recogniser, image) for key, image in images.items()}
    assert sum(look.tissue == name for (name, _), look in found.items()) >= 9, found
    assert not any(look.turned_round for look in found.values()), found
    negatives = {key: likeness(recogniser, 255 - image) for key, image in images.items()}
    assert sum(look.turned_round for look in negatives.values()) >= 8, negatives
    assert all(
        look.negative == pytest.approx(-found[key].negative, abs=0.05) for key, look in negatives.items()
    )


def test_what_is_no_micrograph_resembles_none(recogniser: Recognition) -> None:
    y, x = np.mgrid[:400, :400]
    board = np.where((y // 40 + x // 40) % 2, 30, 220).astype(np.uint8)[None]
    noise = np.random.default_rng(0).integers(0, 255, (1, 400, 400)).astype(np.uint8)
    slope = (x * 255 / 400).astype(np.uint8)[None]
    for picture in (board, noise, slope):
        found = likeness(recogniser, picture)
        assert found.tissue is None
        assert not found.turned_round
        (line,) = doubts(Path("a.tif"), found, ["islet"], inverted=False)
        assert "resembles no tissue" in line


def test_the_tables_know_the_tissues_of_the_generator() -> None:
    """In their order: a new tissue asks for a new fit."""
    assert tuple(TISSUES) == recognition.TISSUES


def test_padding_is_not_looked_at() -> None:
    """Of a section that stands on its corner in a black frame."""
    grey, steps = np.zeros((3, 800, 800), np.uint8), np.abs(np.arange(800) - 400)
    inside = np.add.outer(steps, steps) < 390
    grey[:, inside] = np.random.default_rng(0).integers(60, 250, (3, int(inside.sum())))
    volume = ArrayVolume(grey, path="grey")
    empty = find_empty(volume)
    assert empty.share > 0.4
    crops = crops_of(volume, (0, 255), 8.0, empty)
    assert crops is not None
    assert (crops == 0).mean() < 0.1


def test_without_its_tables_the_rest_works(
    negative: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Path) -> Recognition:
        raise InputError("recognition", expected="its file", met="none", remedy="install the package anew")

    monkeypatch.setattr(recognition, "recognition", missing)
    assert "nothing tells what tissue this is" in plan(negative, caplog)


def test_small_content_is_not_judged() -> None:
    volume = ArrayVolume(
        np.random.default_rng(0).integers(0, 255, (1, 60, 300)).astype(np.uint8), path="grey"
    )
    assert crops_of(volume, (0, 255), 8.0, find_empty(volume)) is None


def test_fine_pixels_are_averaged() -> None:
    volume = ArrayVolume(
        np.random.default_rng(0).integers(0, 255, (3, 900, 900)).astype(np.uint8), path="grey"
    )
    crops = crops_of(volume, (0, 255), 1.0, find_empty(volume))
    assert crops is not None
    assert crops.shape == (recognition.CROPS, 192, 192)
    assert crops.std() < 0.15  # noise of 0.29 before


@pytest.fixture
def negative(tmp_path: Path) -> Path:
    path = tmp_path / "raw.tif"
    tifffile.imwrite(path, 255 - drawn("neuropil", 901))
    return path


def plan(path: Path, caplog: pytest.LogCaptureFixture, **options: Any) -> str:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        plan_job(
            path,
            path.with_suffix(".ome.zarr"),
            options.pop("model", check_model()),
            voxel_size_nm=(40, 8, 8),
            device="cpu",
            **options,
        )
    return caplog.text


def test_a_plan_tells_inverted_contrast_and_its_remedy_works(
    negative: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = plan(negative, caplog)
    assert "membranes look bright" in text
    assert "--invert" in text
    assert "resembles neuropil" in text
    assert "membranes look bright" not in plan(negative, caplog, invert=True)
    tifffile.imwrite(negative, drawn("neuropil", 901))
    assert "membranes look bright" not in plan(negative, caplog)
    assert "leave out --invert" in plan(negative, caplog, invert=True)


def test_the_command_says_what_tissue_it_is(negative: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a shell
    tifffile.imwrite(negative, drawn("neuropil", 901))
    words = ["predict", str(negative), str(negative.with_name("l.ome.zarr")), "--dry-run"]
    done = CliRunner().invoke(app, [*words, "--voxel-size-nm", "40,8,8", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "resembles neuropil, which the model knows as drawn" in done.stderr


def test_nothing_is_told_where_a_model_learned_from_a_microscope(
    negative: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelFile(check_model())
    model.record = {key: value for key, value in model.record.items() if key != "tissues"}
    text = plan(negative, caplog, model=model)
    assert "resembles" not in text
    assert "bright" not in text


@pytest.mark.parametrize(("file", "expected"), REAL.items(), ids=REAL)
def test_real_tissue_is_told(
    real_data: Path, recogniser: Recognition, file: str, expected: tuple[float, str]
) -> None:
    pixel_nm, tissue = expected
    with open_volume(real_data / file) as volume:
        grey = volume.read([(0, size) for size in volume.shape])
    found, opposite = (likeness(recogniser, image, pixel_nm) for image in (grey, grey.max() - grey))
    assert found.tissue == tissue, found
    assert not found.turned_round, found
    if "islet" not in file and "cdeep3m" not in file:  # these two look much the same either way
        assert opposite.turned_round, opposite
