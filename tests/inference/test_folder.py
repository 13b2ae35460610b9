"""Several volumes one after the other, as the bundle streams them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import zarr
from front_door import VOXEL_NM, WINDOWS, grey, predict, whole

from scsam_monai.errors import InputError
from scsam_monai.inference import Model, Windows, segment
from scsam_monai.inference.folder import stream_volumes
from scsam_monai.io import LabelVolume
from scsam_monai.progress import stage_bars
from scsam_monai.report.palette import colours_of


@pytest.fixture
def volumes(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "in" / name for name in ("a.zarr", "b.zarr")]
    for seed, path in enumerate(paths):
        zarr.save_array(path, grey(2, 40, 50, seed=seed))
    return paths


def stream(volumes: list[Path], output: Path, model: Path, **options: Any) -> list[Path]:
    named = {"voxel_size_nm": VOXEL_NM, "windows": WINDOWS, "device": "cpu"} | options
    return stream_volumes(volumes, output, model, colours_of, stage_bars, **named)


def test_a_folder_goes_on_where_it_was_stopped(
    volumes: list[Path], model_path: Path, opened: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    (first,) = stream(volumes[:1], output, model_path)
    made = first.stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        both = stream(volumes, output, model_path)
    assert [path.name for path in both] == ["a_labels.ome.zarr", "b_labels.ome.zarr"]
    assert first.stat().st_mtime_ns == made
    assert f"{first} is finished" in caplog.text
    for seed, path in enumerate(both):
        expected = segment(grey(2, 40, 50, seed=seed), opened, VOXEL_NM, windows=WINDOWS).labels
        assert np.array_equal(whole(path), expected)


@pytest.mark.parametrize(
    "change",
    [{"windows": Windows(96)}, {"voxel_size_nm": (16, 20, 20)}, {"volumes": 1}],
    ids=["windows", "voxel size", "volume"],
)
def test_an_output_of_another_job_is_not_taken_for_it(
    volumes: list[Path], model_path: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    options = dict(change)
    stream(volumes[:1], tmp_path / "out", model_path)
    if options.pop("volumes", None):
        shutil.rmtree(volumes[0])
        zarr.save_array(volumes[0], grey(2, 40, 50, seed=7))
    with pytest.raises(InputError, match=r"a_labels\.ome\.zarr: expected no output yet"):
        stream(volumes, tmp_path / "out", model_path, **options)


@pytest.mark.parametrize(
    "option",
    [{"classes": ["nucleus"]}, {"thresholds": {"": 0.1}}, {"invert": True}, {"empty_label": 255}],
    ids=lambda option: next(iter(option)),
)
def test_an_output_drawn_in_another_way_is_not_taken_for_it(
    volumes: list[Path], model_path: Path, tmp_path: Path, option: dict[str, Any]
) -> None:
    (tmp_path / "out").mkdir()
    threads = torch.get_num_threads()
    predict(volumes[0], tmp_path / "out" / "a_labels.ome.zarr", model_path, threads=threads, **option)
    with pytest.raises(InputError, match=r"a_labels\.ome\.zarr: expected no output yet"):
        stream(volumes[:1], tmp_path / "out", model_path)


def test_a_data_set_is_recorded_with_its_file(
    model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with h5py.File(tmp_path / "cell.h5", "w") as file:
        file["raw"], file["other"] = grey(1, 40, 50), grey(1, 40, 50, seed=1)
    (output,) = stream([Path(f"{tmp_path / 'cell.h5'}:/raw")], tmp_path / "out", model_path)
    source = LabelVolume(output).attributes["source"]
    assert (source["path"], source["dataset"]) == ("cell.h5", "/raw")
    with caplog.at_level(logging.INFO):
        stream([Path(f"{tmp_path / 'cell.h5'}:/raw")], tmp_path / "out", model_path)
    assert f"{output} is finished" in caplog.text
    with pytest.raises(InputError, match=r"cell_labels\.ome\.zarr: expected no output yet"):
        stream([Path(f"{tmp_path / 'cell.h5'}:/other")], tmp_path / "out", model_path)


def test_an_output_of_somebody_else_is_refused(volumes: list[Path], model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "a_labels.ome.zarr").mkdir(parents=True)
    with pytest.raises(InputError, match=r"a_labels\.ome\.zarr: expected no output yet"):
        stream(volumes, tmp_path / "out", model_path)
