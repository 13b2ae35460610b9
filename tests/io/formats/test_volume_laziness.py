from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr.storage

from scsam_monai.errors import InputError
from scsam_monai.io import open_volume
from scsam_monai.io.formats.slices import TiffSource
from scsam_monai.io.formats.tiff_pages import TiffPlanes
from tests.io.formats import volume_files as files

VOLUME = np.random.default_rng(0).integers(0, 255, (6, 40, 48), np.uint8)
REGION = [(2, 4), (8, 15), (20, 30)]
EXPECTED = VOLUME[2:4, 8:15, 20:30]


@pytest.mark.parametrize(
    ("options", "segments"),
    [({"rowsperstrip": 7}, [1, 1, 2, 2]), ({"tile": (16, 16)}, [1, 1])],
    ids=["strips", "tiles"],
)
def test_only_the_strips_or_tiles_of_the_region_are_decoded(tmp_path, monkeypatch, options, segments):
    decoded: list[int] = []
    decode = TiffPlanes._decoded

    def spy(self: TiffPlanes, page: Any, index: int) -> np.ndarray:
        decoded.append(index)
        return decode(self, page, index)

    monkeypatch.setattr(TiffPlanes, "_decoded", spy)
    with open_volume(files.tiff(compression="zlib", **options)(tmp_path, VOLUME)) as reader:
        np.testing.assert_array_equal(reader.read(REGION), EXPECTED)
    assert sorted(decoded) == segments


@pytest.mark.parametrize("edge", [8, 32])
def test_pages_in_one_piece_take_no_more_memory_than_the_region(tmp_path, monkeypatch, edge):
    counting, busy, most = threading.Lock(), 0, 0
    decode = TiffPlanes._decoded

    def spy(self: TiffPlanes, page: Any, index: int) -> np.ndarray:
        nonlocal busy, most
        with counting:
            busy, most = busy + 1, max(most, busy + 1)
        time.sleep(0.05)
        with counting:
            busy -= 1
        return decode(self, page, index)

    monkeypatch.setattr(TiffPlanes, "_decoded", spy)
    monkeypatch.setattr("scsam_monai.io.formats.tiff_pages.usable_cores", lambda: 8)
    monkeypatch.setattr("scsam_monai.io.formats.tiff_pages.LITTLE_BYTES", 0)
    region = [(0, 6), (0, edge), (0, edge)]
    with open_volume(files.tiff(compression="zlib", rowsperstrip=40)(tmp_path, VOLUME)) as reader:
        np.testing.assert_array_equal(reader.read(region), VOLUME[:, :edge, :edge])
    # A page has 1920 values, and so many of them fit into the region: 0.2 and 3.2.
    assert most == max(1, 6 * edge * edge // 1920)


@pytest.mark.parametrize("name", ["tiff", "tiff-big-endian", "npy", "nifti"])
def test_only_the_sections_of_the_region_are_mapped(tmp_path, monkeypatch, name):
    mapped: list[int] = []
    memmap = np.memmap

    def spy(*args: Any) -> np.ndarray:
        array = memmap(*args)
        mapped.append(array.nbytes)
        return array

    with open_volume(files.ANY_TYPE[name](tmp_path, VOLUME)) as reader:
        monkeypatch.setattr(np, "memmap", spy)
        np.testing.assert_array_equal(reader.read(REGION), EXPECTED)
    assert 0 < sum(mapped) <= VOLUME[2:4].nbytes


def test_only_the_slices_of_the_region_are_opened(tmp_path, monkeypatch):
    opened: list[str] = []
    with open_volume(files.slices(tmp_path, VOLUME)) as reader:
        monkeypatch.setattr(
            "scsam_monai.io.formats.slices._KINDS",
            {".tif": ("TIFF", lambda path: opened.append(path.name) or TiffSource(path))},
        )
        np.testing.assert_array_equal(reader.read(REGION), EXPECTED)
    assert opened == ["slice_10.tif", "slice_11.tif"]


@pytest.mark.parametrize("name", ["zarr-2", "zarr-3", "ome-zarr-0.4", "ome-zarr-0.5-czyx"])
def test_only_the_chunks_of_the_region_are_fetched(tmp_path, monkeypatch, name):
    fetched: list[str] = []
    get = zarr.storage.LocalStore.get

    async def spy(self: Any, key: str, *args: Any, **kwargs: Any) -> Any:
        fetched.append(key)
        return await get(self, key, *args, **kwargs)

    with open_volume(files.ANY_TYPE[name](tmp_path, VOLUME)) as reader:
        monkeypatch.setattr(zarr.storage.LocalStore, "get", spy)
        np.testing.assert_array_equal(reader.read(REGION), EXPECTED)
    assert len(fetched) == 2  # of 3 x 3 x 6: one along z, one along y, two along x


def test_only_the_chunks_of_the_region_are_decoded_by_hdf5(tmp_path):
    path = files.chunked_hdf5(tmp_path, VOLUME)
    with h5py.File(path, "r+") as file:
        file["volumes/raw"].id.write_direct_chunk((4, 0, 0), b"broken")
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read(REGION), EXPECTED)
        with pytest.raises(InputError, match=r"volume\.h5 at z 3:5, y 0:4, x 0:4: expected a readable image"):
            reader.read([(3, 5), (0, 4), (0, 4)])


@pytest.mark.parametrize("name", ["npy", "tiff", "nifti"])
def test_what_was_read_does_not_stay_in_memory(tmp_path, name):
    volume = np.ones((64, 1024, 1024), np.uint8)
    path = files.ANY_TYPE[name](tmp_path, volume)
    size = volume.nbytes
    del volume
    with open_volume(path) as reader:
        before = _resident_bytes()
        total = sum(int(reader.read([(z, z + 4), (0, 1024), (0, 1024)]).sum()) for z in range(0, 64, 4))
        assert total == size
        assert _resident_bytes() - before < size // 4


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", ["tiff-zlib-strips", "slices", "hdf5-chunks", "ome-zarr-0.5", "nifti-gz"])
def test_threads_read_at_the_same_time(tmp_path, name):
    failures: list[int] = []

    def read_all(z: int) -> None:
        for _ in range(5):
            part = reader.read([(z, z + 1), (0, 40), (0, 48)])
            if not np.array_equal(part[0], VOLUME[z]):
                failures.append(z)

    with open_volume(files.ANY_TYPE[name](tmp_path, VOLUME)) as reader:
        threads = [threading.Thread(target=read_all, args=(z,)) for z in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_the_file_is_closed_with_the_reader(tmp_path):
    path = files.tiff(compression="zlib")(tmp_path, VOLUME)
    with open_volume(path) as reader:
        pass
    with pytest.raises(InputError, match=r"stack\.tif at z 0:1"):
        reader.read([(0, 1), (0, 4), (0, 4)])
    assert tifffile.imread(path).shape == VOLUME.shape
