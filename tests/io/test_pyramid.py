from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scsam_monai.errors import InputError
from scsam_monai.inference.blocks import BlockPlan
from scsam_monai.io import (
    ImageVolume,
    LabelLegend,
    LabelVolume,
    build_pyramid,
    create_image,
    create_labels,
    export_labels,
    write_block,
)
from scsam_monai.io.ome_zarr import pyramid_levels
from scsam_monai.io.pyramid import mean_cells, mode_cells

SHAPE, CHUNK = (9, 70, 530), (4, 32, 64)
WHOLE = ((0, 9), (0, 70), (0, 530))
LEGEND = LabelLegend(("background", "a", "b"), np.zeros((3, 3), dtype=np.uint8))


def make(
    path: Path, version: str = "0.5", size_nm: tuple[float, float, float] = (8.0, 8.0, 8.0)
) -> LabelVolume:
    create_labels(path, SHAPE, size_nm, LEGEND, version=version, chunk=CHUNK)
    volume = LabelVolume(path)
    coarse = np.random.default_rng(1).integers(0, 3, (3, 12, 67), dtype=np.uint8)
    volume.write(WHOLE, coarse.repeat(3, 0).repeat(6, 1).repeat(8, 2)[:9, :70, :530])
    return volume


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def whole(volume: LabelVolume | ImageVolume, level: int) -> np.ndarray:
    return volume.read([(0, length) for length in volume.levels[level].shape[-3:]], level)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(("size_nm", "depths"), [((8.0, 8.0, 8.0), (9, 5, 3)), ((30.0, 8.0, 8.0), (9, 9, 9))])
def test_levels_equal_the_mode_of_the_whole(
    tmp_path: Path, version: str, size_nm: tuple[float, float, float], depths: tuple[int, ...]
) -> None:
    volume = make(tmp_path / "a.zarr", version, size_nm)
    assert build_pyramid(volume.path)
    assert tuple(level.shape[0] for level in volume.levels) == depths
    z_factor = 1 if depths[1] == 9 else 2
    for level in (1, 2):
        expected = mode_cells(whole(volume, level - 1), (z_factor, 2, 2))
        np.testing.assert_array_equal(whole(volume, level), expected)
        assert expected.any()


def test_images_are_averaged_channel_by_channel(tmp_path: Path) -> None:
    create_image(tmp_path / "a.zarr", (2, *SHAPE), (8.0, 8.0, 8.0), ("a", "b"), chunk=CHUNK)
    volume = ImageVolume(tmp_path / "a.zarr")
    volume.write(WHOLE, np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8))
    assert build_pyramid(volume.path)
    for level in (1, 2):
        np.testing.assert_array_equal(
            whole(volume, level), mean_cells(whole(volume, level - 1), (1, 2, 2, 2))
        )


@pytest.mark.parametrize("size_nm", [(8.0, 8.0, 8.0), (30.0, 8.0, 8.0)], ids=["halved", "thick"])
@pytest.mark.parametrize("block", [(4, 32, 64), (4, 64, 192), (8, 96, 576)], ids=str)
@pytest.mark.parametrize("kind", ["labels", "image"])
def test_blocks_bring_what_they_cover_of_the_next_level(
    tmp_path: Path, block: tuple[int, int, int], size_nm: tuple[float, float, float], kind: str
) -> None:
    paths = [tmp_path / name / "a.zarr" for name in ("by block", "at once")]
    values = np.random.default_rng(1).integers(0, 3, (2, *SHAPE), dtype=np.uint8)
    volumes: list[LabelVolume | ImageVolume] = []
    for path in paths:
        if kind == "labels":
            create_labels(path, SHAPE, size_nm, LEGEND, chunk=CHUNK)
            volumes.append(LabelVolume(path))
        else:
            create_image(path, values.shape, size_nm, ("a", "b"), chunk=CHUNK)
            volumes.append(ImageVolume(path))
    values = values[0] if kind == "labels" else values
    plan = BlockPlan(SHAPE, block)
    for part in plan:
        z, y, x = (slice(*bounds) for bounds in part)
        write_block(volumes[0], part, values[..., z, y, x])
    assert any((paths[0] / "1" / "c").rglob("*"))
    volumes[1].write(WHOLE, values)
    counts: list[list[int]] = [[], []]
    assert build_pyramid(paths[0], block=block, progress=lambda _, total: counts[0].append(total))
    assert build_pyramid(paths[1], progress=lambda _, total: counts[1].append(total))
    assert len(counts[0]) < len(counts[1])
    assert files(paths[0]) == files(paths[1])


def test_flat_chunks_get_flatter_with_the_volume(tmp_path: Path) -> None:
    assert [array.chunks for array in make(tmp_path / "a.zarr").levels] == [
        (4, 32, 64),
        (2, 32, 64),
        (2, 18, 64),
    ]
    thick = make(tmp_path / "b.zarr", size_nm=(30.0, 8.0, 8.0))
    assert [array.chunks[0] for array in thick.levels] == [4, 4, 4]


KILLED = """
import os, sys
from scsam_monai.io import build_pyramid
build_pyramid(sys.argv[1], progress=lambda done, total: done == 7 and os._exit(9))
"""


def test_killed_and_repeated_ends_with_the_same_bytes(tmp_path: Path) -> None:
    volume, other = make(tmp_path / "killed" / "a.zarr"), make(tmp_path / "whole" / "a.zarr")
    assert build_pyramid(other.path)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(volume.path)], check=False)
    assert killed.returncode == 9
    assert files(volume.path) != files(other.path)
    (volume.path / "1" / "c" / "0" / "0" / "0.0123abcd.partial").write_bytes(b"half")
    assert build_pyramid(volume.path)
    assert files(volume.path) == files(other.path)


def test_reports_progress_and_can_be_cancelled(tmp_path: Path) -> None:
    volume, calls = make(tmp_path / "a.zarr"), list[tuple[int, int]]()
    assert not build_pyramid(
        volume.path, progress=lambda *call: calls.append(call), cancel=lambda: len(calls) == 3
    )
    assert [done for done, _ in calls] == [1, 2, 3]
    calls.clear()
    assert build_pyramid(volume.path, progress=lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1] == len(calls)


def test_a_damaged_chunk_stops_it(tmp_path: Path) -> None:
    volume = make(tmp_path / "a.zarr")
    (volume.path / "0" / "c" / "1" / "0" / "2").write_bytes(b"")
    with pytest.raises(InputError, match="0/c/1/0/2: expected a readable chunk"):
        build_pyramid(volume.path)


def peak_bytes(path: Path, work: Callable[[], object], depth: int) -> int:
    create_labels(path, (depth, 128, 520), (8.0, 8.0, 8.0), LEGEND, chunk=(8, 64, 128))
    volume = LabelVolume(path)
    for z in range(0, depth, 8):
        labels = np.random.default_rng(z).integers(0, 3, (8, 128, 520), dtype=np.uint8)
        volume.write(((z, z + 8), (0, 128), (0, 520)), labels)
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("work", ["pyramid", "tif", "nii"])
def test_memory_does_not_grow_with_the_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    monkeypatch.setattr("scsam_monai.io.pyramid.AT_ONCE", 1)  # how far two chunks' work overlaps is chance

    def measure(depth: int) -> int:
        path, target = tmp_path / f"{depth}.zarr", tmp_path / f"{depth}.{work}"
        job = partial(build_pyramid, path) if work == "pyramid" else partial(export_labels, path, target)
        return peak_bytes(path, job, depth)

    measure(16)  # what is loaded once
    small, large = measure(32), measure(256)
    assert large < 1.3 * small
    assert large < 256 * 128 * 520 / 4


def test_thick_sections_are_halved_late() -> None:
    levels = pyramid_levels((2000, 4000, 4000), (40.0, 10.0, 10.0))
    assert [level.shape for level in levels] == [
        (2000, 4000, 4000),
        (2000, 2000, 2000),
        (2000, 1000, 1000),
        (1000, 500, 500),
        (500, 250, 250),
        (250, 125, 125),
    ]
    assert levels[-1].voxel_size_nm == (320.0, 320.0, 320.0)
    assert levels[-1].offset_nm == (140.0, 155.0, 155.0)


def test_a_small_volume_has_one_level() -> None:
    assert len(pyramid_levels((1, 256, 256), (8.0, 8.0, 8.0))) == 1
