"""Images whose values are spread over files that name each other: all of them are watched."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from scsam_monai.errors import InputError
from scsam_monai.io import open_volume
from scsam_monai.io.inventory import Inventory, WatchedVolume

VOLUME = np.random.default_rng(0).integers(1, 255, (4, 32, 32), dtype=np.uint8)
ALL = [(0, 4), (0, 32), (0, 32)]
FIRST = [(0, 2), (0, 32), (0, 32)]


def ome(folder: Path, number: int, sections: np.ndarray) -> Path:
    """One of two files of an OME-TIFF, two sections each."""
    data = "".join(
        f'<TiffData FirstZ="{z}" IFD="{z % 2}" PlaneCount="1">'
        f'<UUID FileName="p{z // 2}.ome.tif">urn:uuid:0000000{z // 2}-0000-0000-0000-000000000000</UUID></TiffData>'
        for z in range(4)
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
        f' UUID="urn:uuid:0000000{number}-0000-0000-0000-000000000000"><Image ID="Image:0"><Pixels ID="Pixels:0"'
        ' DimensionOrder="XYZCT" Type="uint8" SizeX="32" SizeY="32" SizeZ="4" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )
    path = folder / f"p{number}.ome.tif"
    with tifffile.TiffWriter(path) as file:
        for at, section in enumerate(sections):
            file.write(
                section, description=text if at == 0 else None, metadata=None, photometric="minisblack"
            )
    return path


def virtual(folder: Path) -> tuple[Path, Path]:
    """A virtual data set and the file it is taken from."""
    with h5py.File(folder / "source.h5", "w") as file:
        file["raw"] = VOLUME
    layout = h5py.VirtualLayout(VOLUME.shape, "u1")
    layout[:] = h5py.VirtualSource("source.h5", "raw", VOLUME.shape)
    with h5py.File(folder / "cell.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    return folder / "cell.h5", folder / "source.h5"


def outside(folder: Path) -> tuple[Path, Path]:
    """A data set and the raw file that holds its values."""
    VOLUME.tofile(folder / "cell.raw")
    external = [(str(folder / "cell.raw"), 0, VOLUME.nbytes)]
    with h5py.File(folder / "cell.h5", "w") as file:
        file.create_dataset("raw", VOLUME.shape, "u1", external=external)
    return folder / "cell.h5", folder / "cell.raw"


def test_each_file_of_an_ome_tiff_is_watched(tmp_path: Path) -> None:
    first, second = ome(tmp_path, 0, VOLUME[:2]), ome(tmp_path, 1, VOLUME[2:])
    with open_volume(first) as volume:
        before = Inventory(volume)
        assert len(before) == 2
        watched = WatchedVolume(volume, before)
        assert np.array_equal(watched.read(ALL), VOLUME)
        ome(tmp_path, 1, 255 - VOLUME[2:])
        os.utime(second, ns=(1, 2**60))
        assert np.array_equal(watched.read(FIRST), VOLUME[:2])
        for look in (lambda: watched.read(ALL), lambda: before.check_all(volume)):
            with pytest.raises(InputError, match=r"p1\.ome\.tif: expected the input as it was"):
                look()
        assert Inventory(volume).digest != before.digest
        second.unlink()
        with pytest.raises(InputError, match=r"p1\.ome\.tif: .* met no such file any more"):
            before.check_all(volume)


def test_a_file_alone_is_named_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "cell.tif", VOLUME)
    digests = []
    monkeypatch.chdir(tmp_path)
    for path in ("cell.tif", tmp_path / "cell.tif"):
        with open_volume(path) as volume:
            assert list(volume.files()) == list(volume.files(ALL)) == [Path(path)]
            digests.append(Inventory(volume).digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("write", [virtual, outside])
def test_a_data_set_taken_from_another_file(write, tmp_path: Path) -> None:
    path, held = write(tmp_path)
    with open_volume(path) as volume:
        before = Inventory(volume)
        assert len(before) == 2
        watched = WatchedVolume(volume, before)
        assert np.array_equal(watched.read(ALL), VOLUME)
        os.utime(held, ns=(1, 2**60))
        with pytest.raises(InputError, match=rf"{held.name}: expected the input as it was"):
            watched.read(ALL)
    held.unlink()
    with pytest.raises(InputError, match=rf"cell\.h5.* met no .*{held.name}; bring it back"):
        open_volume(path)


def test_a_source_without_its_data_set_is_refused(tmp_path: Path) -> None:
    path, held = virtual(tmp_path)
    with h5py.File(held, "a") as file:
        del file["raw"]
    with pytest.raises(InputError, match=r"expected raw in source\.h5"):
        open_volume(path)


def test_a_cut_raw_file_is_refused(tmp_path: Path) -> None:
    path, held = outside(tmp_path)
    held.write_bytes(held.read_bytes()[:100])
    with pytest.raises(InputError, match=r"cell\.raw: .* met a file cut off at 100 bytes"):
        open_volume(path)
