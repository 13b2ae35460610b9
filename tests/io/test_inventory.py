"""What is known of the files behind a volume, and what is told when they change."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from scsam_monai.errors import InputError
from scsam_monai.io import ArrayVolume, open_volume, read_labels
from scsam_monai.io.files import read_label_header
from scsam_monai.io.formats.slice_names import number_gaps
from scsam_monai.io.inventory import Inventory, WatchedVolume
from scsam_monai.measure import measure_labels
from scsam_monai.measure.labels import LabelReader

VOLUME = np.random.default_rng(0).integers(1, 255, (4, 16, 16), dtype=np.uint8)
ALL = [(0, 4), (0, 16), (0, 16)]


def slices(folder: Path) -> Path:
    folder.mkdir()
    for z, section in enumerate(VOLUME):
        tifffile.imwrite(folder / f"s{z}.tif", section)
    return folder


def zarr_of(**options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        array = zarr.create_array(folder, shape=VOLUME.shape, dtype="u1", **options)  # type: ignore[arg-type]
        array[:] = VOLUME
        return folder

    return write


def hdf5(folder: Path) -> Path:
    with h5py.File(folder.with_suffix(".h5"), "w") as file:
        file["volumes/raw"] = VOLUME
    return Path(f"{folder.with_suffix('.h5')}:/volumes/raw")


ZARR = zarr_of(chunks=(2, 8, 8))
FOLDERS = {
    "slices": (slices, 4),
    "zarr": (ZARR, 9),
    "zarr 2": (zarr_of(chunks=(2, 8, 8), zarr_format=2), 10),
    "zarr 2, nested": (
        zarr_of(chunks=(2, 8, 8), zarr_format=2, chunk_key_encoding={"name": "v2", "separator": "/"}),
        10,
    ),
    "shards": (zarr_of(chunks=(2, 8, 8), shards=(2, 16, 16)), 3),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_file_of_a_folder_is_looked_at(kind: str, tmp_path: Path) -> None:
    write, count = FOLDERS[kind]
    folder = write(tmp_path / "in")
    (folder / "labels.ome.zarr.progress").mkdir()
    with open_volume(folder) as volume:
        before = Inventory(volume)
        assert len(before) == count
        (folder / "labels.ome.zarr.progress" / "job.json").touch()
        (folder / "notes.txt").touch()
        assert Inventory(volume).digest == before.digest
        before.check(volume.files(ALL))
        part = sorted(str(file) for file in volume.files([(0, 2), (0, 8), (0, 8)]))
        assert 0 < len(part) <= 2
        os.utime(part[0], ns=(1, 2**60))
        assert Inventory(volume).digest != before.digest
        before.check(volume.files([(2, 4), (8, 16), (8, 16)]))
        for look in (lambda: before.check(volume.files(ALL)), lambda: before.check_all(volume)):
            with pytest.raises(InputError, match=r"expected the input as it was .* met one changed at 2006"):
                look()
        Path(part[0]).unlink()
        with pytest.raises(InputError, match="met no such file any more; bring it back and add --resume"):
            before.check(volume.files(ALL))
        with pytest.raises(InputError, match=f"met 1 of {count} files gone"):
            before.check_all(volume)


@pytest.mark.parametrize("write", [hdf5, lambda path: slices(path) / "s1.tif"])
def test_a_file_is_looked_at(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "in")
    with open_volume(path) as volume:
        before = Inventory(volume)
        assert len(before) == 1
        place = volume.place
        assert place.is_file()
    os.utime(place, ns=(1, 2**60))
    with open_volume(path) as volume, pytest.raises(InputError, match="met one changed at 2006"):
        before.check_all(volume)


def test_an_array_has_no_files() -> None:
    with ArrayVolume(VOLUME) as volume:
        assert len(Inventory(volume)) == 0
        assert np.array_equal(WatchedVolume(volume, Inventory(volume)).read(ALL), VOLUME)


def test_a_chunk_that_vanished_is_not_taken_for_empty(tmp_path: Path) -> None:
    folder = ZARR(tmp_path / "in.zarr")
    with open_volume(folder) as volume:
        watched = WatchedVolume(volume, Inventory(volume))
        assert np.array_equal(watched.read(ALL), VOLUME)
        (folder / "c" / "1" / "0" / "1").unlink()
        assert np.array_equal(watched.read([(0, 2), (0, 16), (0, 16)]), VOLUME[:2])
        with pytest.raises(InputError, match="c/1/0/1: expected the input as it was"):
            watched.read(ALL)


def test_a_folder_that_vanished_is_one_line(tmp_path: Path) -> None:
    folder = ZARR(tmp_path / "in.zarr")
    with open_volume(folder) as volume:
        before = Inventory(volume)
        folder.rename(tmp_path / "away")
        with pytest.raises(InputError, match="met No such file or directory where it was"):
            before.check_all(volume)
        with pytest.raises(InputError, match="met no such file any more"):
            WatchedVolume(volume, before).read(ALL)


def test_looking_at_many_chunks_is_cheap(tmp_path: Path) -> None:
    """A million chunks take 50 times as long as these."""
    folder = ZARR(tmp_path / "in.zarr")
    for z in range(200):
        (folder / "c" / f"{z + 2}" / "0").mkdir(parents=True)
        for x in range(100):
            (folder / "c" / f"{z + 2}" / "0" / f"{x}").touch()
    with open_volume(folder) as volume:
        start = time.process_time()
        assert len(Inventory(volume)) == 20_009
        assert time.process_time() - start < 2


def test_missing_chunks_are_named(tmp_path: Path) -> None:
    folder = ZARR(tmp_path / "in.zarr")
    with open_volume(folder) as volume:
        assert volume.gaps() is None
        for z in range(2):
            (folder / "c" / f"{z}" / "1" / "0").unlink()
        assert volume.gaps() == "2 of 8 chunks are missing (c/0/1/0, c/1/1/0)"


def test_chunks_under_other_names_beside_others_are_missing(tmp_path: Path) -> None:
    nested = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    folder = zarr_of(chunks=(2, 8, 8), zarr_format=2, **nested)(tmp_path / "in.zarr")
    for y in range(2):
        for x in range(2):
            (folder / "1" / f"{y}" / f"{x}").rename(folder / f"1.{y}.{x}")
    with open_volume(folder) as volume:
        said = "4 of 8 chunks are missing (1/0/0, 1/0/1, 1/1/0, ...); 4 have other names, like 1.0.0"
        assert volume.gaps() == said


def test_chunks_that_a_smaller_shape_left_behind_make_up_for_none(tmp_path: Path) -> None:
    folder = ZARR(tmp_path / "in.zarr")
    (folder / "c" / "7" / "1").mkdir(parents=True)
    (folder / "c" / "7" / "1" / "1").touch()
    (folder / "c" / "0" / "1" / "1").unlink()
    with open_volume(folder) as volume:
        assert volume.gaps() == "1 of 8 chunks are missing (c/0/1/1)"


def test_chunks_of_hdf5_that_were_never_written_are_counted(tmp_path: Path) -> None:
    values = np.ones((5, 20, 20), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("whole", data=values, chunks=(2, 16, 16), compression="gzip")
        file["plain"] = values
        part = file.create_dataset("part", values.shape, "u1", chunks=(2, 16, 16))
        part[:4, :16] = 1
    for name, gap in (("whole", None), ("plain", None), ("part", "8 of 12 chunks were never written")):
        with open_volume(tmp_path / "a.h5", name) as volume:
            assert volume.gaps() == gap


def test_values_of_hdf5_in_one_piece_that_were_never_written_are_told(tmp_path: Path) -> None:
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_layout(h5py.h5d.COMPACT)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("never", VOLUME.shape, "u1")
        file.create_dataset("zeros", data=np.zeros_like(VOLUME))
        space = h5py.h5s.create_simple(VOLUME.shape)
        h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_UINT8, space, compact)
        file.create_dataset("outside", VOLUME.shape, "u1", external=str(tmp_path / "raw"))
    (tmp_path / "raw").write_bytes(VOLUME.tobytes())
    said = dict.fromkeys(("zeros", "compact", "outside")) | {"never": "its values were never written"}
    for name, gap in said.items():
        with open_volume(tmp_path / "a.h5", name) as volume:
            assert volume.gaps() == gap


def write_labels_with_a_gap(folder: Path, kind: str) -> Path:
    """A folder of slices that lacks one, or a data set of which one chunk was never written."""
    if kind == "slices":
        for number in (0, 1, 3, 4):
            tifffile.imwrite(folder / f"s{number}.tif", np.full((4, 5), number, np.uint8))
        return folder
    with h5py.File(folder / "labels.h5", "w") as file:
        file.create_dataset("labels", (4, 4, 5), "u1", chunks=(1, 4, 5))[1:] = 1
    return folder / "labels.h5"


@pytest.mark.parametrize("kind", ["slices", "hdf5"])
def test_gaps_of_labels_are_said_once(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write_labels_with_a_gap(tmp_path, kind)
    gap = {"slices": "nothing between s1.tif and s3.tif", "hdf5": "1 of 4 chunks were never written"}[kind]
    said = f"{path}: {gap}; a copy that has not ended looks so, too"
    for _ in range(2):
        read_label_header(path)
        read_labels(path, [[0, 2], [0, 4], [0, 5]])
        measure_labels(path, voxel_size_nm=(8, 8, 8), block=(2, 4, 4))
    assert [record.message for record in caplog.records] == [said]


@pytest.mark.parametrize("open_labels", [read_labels, lambda path: LabelReader(path, (8, 8, 8)).close()])
def test_each_door_of_labels_says_their_gaps(
    tmp_path: Path, open_labels: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    open_labels(write_labels_with_a_gap(tmp_path, "hdf5"))
    assert "never written" in caplog.text


def test_background_that_a_zarr_of_labels_leaves_out_is_no_gap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = zarr.create_array(tmp_path / "labels.zarr", shape=(4, 4, 5), chunks=(1, 4, 5), dtype="u1")
    labels[1:] = 1
    LabelReader(tmp_path / "labels.zarr", (8, 8, 8)).close()
    assert read_labels(tmp_path / "labels.zarr").array.sum() == 60
    assert not caplog.records


@pytest.mark.parametrize(
    ("names", "gap"),
    [
        (["s1.tif", "s2.tif", "s4.tif", "s5.tif"], "nothing between s2.tif and s4.tif"),
        (["a_010.png", "a_020.png", "a_030.png", "a_050.png"], "nothing between a_030.png and a_050.png"),
        (["s1.tif", "s3.tif", "s5.tif"], None),
        (["s1.tif", "s2.tif"], None),
        (["s1.tif"], None),
        (["alpha.tif", "beta.tif", "gamma.tif"], None),
        (["s1_x3.tif", "s2_x9.tif"], None),
    ],
)
def test_gaps_in_numbered_names(names: list[str], gap: str | None) -> None:
    assert number_gaps(names) == gap


def test_a_gap_is_said_when_a_volume_is_planned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from scsam_monai.inference import plan_job

    folder = slices(tmp_path / "in")
    (folder / "s2.tif").rename(folder / "s7.tif")
    with caplog.at_level(logging.WARNING):
        plan_job(folder, tmp_path / "labels.ome.zarr", _shipped(), voxel_size_nm=(16, 16, 16), device="cpu")
    assert "between s3.tif and s7.tif" in caplog.text


def _shipped() -> Path:
    return Path(__file__).resolve().parents[2] / "bundle" / "models" / "model.pt"
