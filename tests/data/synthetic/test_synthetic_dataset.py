"""The sample data set on disk."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from scsam_monai.data.dataset import load_dataset
from scsam_monai.data.synthetic import (
    CLASSES,
    TRAINING_STYLES,
    UNSEEN_STYLES,
    drawn_tissues,
    write_sample_dataset,
)
from scsam_monai.errors import InputError

SMALL = {"shape": (3, 72, 80), "voxel_size_nm": (32.0, 24.0, 24.0)}
SECTIONS = ("training", "validation", "test")


def read(description: Path) -> dict:
    return json.loads(description.read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def times(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def default_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    started = time.process_time()
    path = write_sample_dataset(tmp_path_factory.mktemp("sample"))
    return path, time.process_time() - started


def test_default_set_is_made_in_seconds(default_set: tuple[Path, float]) -> None:
    assert default_set[1] < 60


@pytest.mark.parametrize("section", SECTIONS)
def test_default_set_shows_every_class_in_every_volume(default_set: tuple[Path, float], section: str) -> None:
    path, _ = default_set
    for item in read(path)[section]:
        labels = tifffile.imread(path.parent / item["label"])
        counts = np.bincount(labels.ravel(), minlength=len(CLASSES))
        assert counts.size == len(CLASSES)
        assert counts.min() > 5_000, dict(zip(CLASSES, counts, strict=True))


def test_description_names_all_that_training_needs(tmp_path: Path) -> None:
    path = write_sample_dataset(tmp_path, **SMALL)
    found = read(path)
    assert path == tmp_path / "dataset.json"
    assert found["labels"] == {str(k): name for k, name in enumerate(CLASSES)}
    assert found["ignore_label"] == 255
    assert found["voxel_size_nm"] == [32.0, 24.0, 24.0]
    assert {"name", "description", "licence"} <= found.keys()
    assert all(found[section] for section in SECTIONS)
    for item in (item for section in SECTIONS for item in found[section]):
        image, label = (tifffile.imread(tmp_path / item[key]) for key in ("image", "label"))
        assert image.shape == label.shape == SMALL["shape"]
        assert image.dtype == label.dtype == np.uint8


def test_files_carry_their_voxel_size(tmp_path: Path) -> None:
    path = write_sample_dataset(tmp_path, **SMALL)
    with tifffile.TiffFile(tmp_path / read(path)["training"][0]["image"]) as file:
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert file.series[0].axes == "ZYX"
        metadata = file.ome_metadata
    for axis, size in (("X", 24.0), ("Y", 24.0), ("Z", 32.0)):
        assert f'PhysicalSize{axis}="{size}" PhysicalSize{axis}Unit="nm"' in metadata


def test_test_volumes_have_an_appearance_of_their_own(tmp_path: Path) -> None:
    found = read(write_sample_dataset(tmp_path, **SMALL))
    styles = found["generator"]["styles"]
    for section in SECTIONS:
        for item in found[section]:
            expected = UNSEEN_STYLES if section == "test" else TRAINING_STYLES
            assert styles[Path(item["image"]).stem] in expected


def test_no_two_volumes_show_the_same_tissue(tmp_path: Path) -> None:
    found = read(write_sample_dataset(tmp_path, **SMALL))
    labels = [tifffile.imread(tmp_path / i["label"]).tobytes() for s in SECTIONS for i in found[s]]
    assert len(set(labels)) == len(labels)


def test_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sample_dataset(tmp_path / name, seed, **SMALL)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert all(a[name] != c[name] for name in a)


def test_complete_set_is_left_alone(tmp_path: Path) -> None:
    first = write_sample_dataset(tmp_path, **SMALL)
    before = times(tmp_path)
    assert write_sample_dataset(tmp_path, **SMALL) == first
    assert times(tmp_path) == before


@pytest.mark.parametrize("lost", ["dataset.json", "labels/train_0.tif"])
def test_partial_folder_is_made_whole(tmp_path: Path, lost: str) -> None:
    write_sample_dataset(tmp_path, **SMALL)
    whole = contents(tmp_path)
    (tmp_path / lost).unlink()
    write_sample_dataset(tmp_path, **SMALL)
    assert contents(tmp_path) == whole


def test_interrupted_run_leaves_no_description(tmp_path: Path) -> None:
    write_sample_dataset(tmp_path, 1, **SMALL)

    def stop(share: float, what: str) -> None:
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample_dataset(tmp_path, 2, **SMALL, progress=stop)
    assert not (tmp_path / "dataset.json").exists()
    assert read(write_sample_dataset(tmp_path, 2, **SMALL))["generator"]["seed"] == 2


def test_other_parameters_replace_an_older_set(tmp_path: Path) -> None:
    write_sample_dataset(tmp_path, 1, **SMALL)
    found = read(write_sample_dataset(tmp_path, 1, **SMALL, dtype="uint16"))
    assert tifffile.imread(tmp_path / found["test"][0]["image"]).dtype == np.uint16


@pytest.mark.parametrize("text", ['{"name": "mine", "training": []}', "not json", "[]"])
def test_a_data_set_of_the_user_is_never_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="choose another folder"):
        write_sample_dataset(tmp_path, **SMALL)
    assert (tmp_path / "dataset.json").read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [tmp_path / "dataset.json"]


def test_further_training_volumes_change_no_other(tmp_path: Path) -> None:
    few, more = (write_sample_dataset(tmp_path / str(n), training=n, **SMALL) for n in (4, 6))
    names = [Path(item["image"]).stem for item in read(more)["training"]]
    assert sorted(names) == [f"train_{index}" for index in range(6)]
    assert read(more)["test"] == read(few)["test"]
    for name in ("train_0", "validation_0", "test_0"):
        old, new = (tifffile.imread(path.parent / "images" / f"{name}.tif") for path in (few, more))
        assert np.array_equal(old, new)
    with pytest.raises(InputError, match="training: expected 4 volumes or more"):
        write_sample_dataset(tmp_path, training=3)


def test_a_description_tells_which_tissues_were_drawn(tmp_path: Path) -> None:
    path = write_sample_dataset(tmp_path, **SMALL)
    assert drawn_tissues(load_dataset(path)) == ["islet"]
    told = read(path)
    told["generator"]["tissues"] = ["plant", "blood"]
    path.write_text(json.dumps(told), encoding="utf-8")
    assert drawn_tissues(load_dataset(path)) == ["plant", "blood"]
    for generator in ({"name": "another"}, None):
        path.write_text(json.dumps({**told, "generator": generator}), encoding="utf-8")
        assert drawn_tissues(load_dataset(path)) is None
