from __future__ import annotations

import errno
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ome_zarr_models.v04.image_label import ImageLabel as ImageLabel04
from ome_zarr_models.v05.image_label import ImageLabel as ImageLabel05

from scsam_monai.errors import InputError
from scsam_monai.io import LabelLegend, LabelVolume, create_labels

SHAPE, CHUNK, SIZE_NM = (10, 20, 30), (4, 8, 16), (40.0, 8.0, 8.0)
WHOLE = ((0, 10), (0, 20), (0, 30))
LEGEND = LabelLegend(
    ("background", "mitochondria", "nucleus"),
    np.array([[0, 0, 0], [86, 180, 233], [240, 228, 66]], dtype=np.uint8),
)
VERSIONS = ("0.4", "0.5")


def make(path: Path, version: str = "0.5", shape: tuple[int, int, int] = SHAPE) -> LabelVolume:
    create_labels(path, shape, SIZE_NM, LEGEND, version=version, chunk=CHUNK, attributes={"model": "small"})
    return LabelVolume(path)


def random_labels(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, shape, dtype=np.uint8)


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("version", VERSIONS)
def test_opens_as_created(tmp_path: Path, version: str) -> None:
    volume = pickle.loads(pickle.dumps(make(tmp_path / "a.zarr", version)))
    assert (volume.shape, volume.chunk, volume.voxel_size_nm) == (SHAPE, CHUNK, SIZE_NM)
    assert volume.legend.class_names == LEGEND.class_names
    np.testing.assert_array_equal(volume.legend.colours, LEGEND.colours)
    assert volume.attributes == {"model": "small"}
    assert not volume.read(WHOLE).any()


def test_the_chunk_is_cut_to_a_small_volume(tmp_path: Path) -> None:
    create_labels(tmp_path / "a.zarr", (3, 20, 30), SIZE_NM, LEGEND)
    assert LabelVolume(tmp_path / "a.zarr").chunk == (3, 20, 30)


@pytest.mark.parametrize(("version", "model"), [("0.4", ImageLabel04), ("0.5", ImageLabel05)])
def test_passes_validation(tmp_path: Path, version: str, model: type) -> None:
    make(tmp_path / "a.zarr", version, (10, 600, 300))
    stated = model.from_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r")).attributes
    stated = stated if version == "0.4" else stated.ome
    assert [dataset.path for dataset in stated.multiscales[0].datasets] == ["0", "1", "2"]
    assert stated.image_label.colors[0].rgba == (0, 0, 0, 0)
    assert stated.image_label.colors[2].rgba == (240, 228, 66, 255)
    assert stated.image_label.properties[1].model_dump()["class"] == "mitochondria"


@pytest.mark.parametrize(("version", "driver"), [("0.4", "zarr"), ("0.5", "zarr3")])
def test_tensorstore_reads_the_same_values(tmp_path: Path, version: str, driver: str) -> None:
    labels = random_labels()
    make(tmp_path / "a.zarr", version).write(WHOLE, labels)
    stored = ts.open(
        {"driver": driver, "kvstore": {"driver": "file", "path": f"{tmp_path}/a.zarr/0"}}
    ).result()
    np.testing.assert_array_equal(stored.read().result(), labels)
    if version == "0.5":
        assert stored.domain.labels == ("z", "y", "x")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_writes_equal_numpy(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    volume = make(tmp_path_factory.mktemp("random") / "a.zarr", data.draw(st.sampled_from(VERSIONS)))
    expected = np.zeros(SHAPE, dtype=np.uint8)
    for value in range(1, data.draw(st.integers(1, 5)) + 1):
        region = []
        for length, step in zip(SHAPE, CHUNK, strict=True):
            edges = [*range(0, length, step), length]
            bounds = data.draw(st.lists(st.sampled_from(edges), min_size=2, max_size=2, unique=True))
            region.append(sorted(bounds))
        inside = tuple(slice(*bounds) for bounds in region)
        expected[inside] = value % 3
        volume.write(region, expected[inside])
    np.testing.assert_array_equal(volume.read(WHOLE), expected)
    part = [
        sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in SHAPE
    ]
    np.testing.assert_array_equal(volume.read(part), expected[tuple(slice(*bounds) for bounds in part)])


@pytest.mark.parametrize("version", VERSIONS)
def test_same_labels_same_bytes_whatever_stood_there(tmp_path: Path, version: str) -> None:
    labels = random_labels()
    labels[:4, :8, :16] = 0
    first, second = (
        make(tmp_path / "first" / "a.zarr", version),
        make(tmp_path / "second" / "a.zarr", version),
    )
    first.write(WHOLE, labels)
    second.write(WHOLE, np.ones_like(labels))
    second.write(WHOLE, labels)
    assert files(first.path) == files(second.path)


def test_threads_write_disjoint_chunks(tmp_path: Path) -> None:
    volume, labels = make(tmp_path / "a.zarr"), random_labels()
    regions = [((z, min(z + 4, 10)), (y, min(y + 8, 20)), (0, 30)) for z in (0, 4, 8) for y in (0, 8, 16)]
    threads = [
        threading.Thread(target=volume.write, args=(region, labels[tuple(slice(*b) for b in region)]))
        for region in regions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(volume.read(WHOLE), labels)


WRITER = """
import sys, numpy as np
from scsam_monai.io import LabelVolume
start = int(sys.argv[2])
stop = min(start + 4, 10)
LabelVolume(sys.argv[1]).write(((start, stop), (0, 20), (0, 30)), np.full((stop - start, 20, 30), 2, np.uint8))
"""


def test_processes_write_disjoint_chunks(tmp_path: Path) -> None:
    volume = make(tmp_path / "a.zarr")
    command = [sys.executable, "-c", WRITER, str(volume.path)]
    writers = [subprocess.Popen([*command, str(start)]) for start in (0, 4, 8)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert (volume.read(WHOLE) == 2).all()


KILLED = """
import os, sys, pathlib, numpy as np
from scsam_monai.io import LabelVolume
volume = LabelVolume(sys.argv[1])
pathlib.Path.replace = lambda self, target: os._exit(9)
volume.write(((0, 4), (0, 8), (0, 16)), np.full((4, 8, 16), 2, np.uint8))
"""


def test_a_kill_leaves_the_old_chunk(tmp_path: Path) -> None:
    volume = make(tmp_path / "a.zarr")
    region = ((0, 4), (0, 8), (0, 16))
    volume.write(region, np.ones((4, 8, 16), np.uint8))
    assert subprocess.run([sys.executable, "-c", KILLED, str(volume.path)], check=False).returncode == 9
    assert list(volume.path.rglob("*.partial"))
    assert (volume.read(region) == 1).all()


def test_refuses_an_output_that_exists(tmp_path: Path) -> None:
    make(tmp_path / "a.zarr")
    before = files(tmp_path)
    with pytest.raises(InputError, match=r"a\.zarr: expected a new output, met one that exists"):
        make(tmp_path / "a.zarr")
    assert files(tmp_path) == before


def test_refuses_an_unknown_version(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"version: expected one of 0\.4, 0\.5, met '0\.6'"):
        make(tmp_path / "a.zarr", "0.6")
    assert not list(tmp_path.iterdir())


def test_refuses_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="expected a place that can be written to"):
        make(tmp_path / "file" / "a.zarr")


def test_an_interrupted_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("scsam_monai.io.ome_zarr._plain_zstd", full)
    with pytest.raises(InputError, match="met disk full"):
        make(tmp_path / "a.zarr")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named_and_leaves_done_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, labels = make(tmp_path / "a.zarr"), random_labels()
    volume.write(((0, 4), (0, 20), (0, 30)), labels[:4])
    before = files(volume.path)

    def full(path: Path, *args: object, **kwargs: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("zarr.storage._local._put", full)
        with pytest.raises(InputError, match=r"a\.zarr: expected room on the disk, met disk full; free some"):
            volume.write(((4, 8), (0, 20), (0, 30)), labels[4:8])
    assert files(volume.path) == before
    volume.write(((4, 8), (0, 20), (0, 30)), labels[4:8])
    np.testing.assert_array_equal(volume.read(((0, 8), (0, 20), (0, 30))), labels[:8])


@pytest.mark.parametrize(
    "region", [((0, 4), (0, 8), (0, 15)), ((2, 4), (0, 8), (0, 16)), ((8, 10), (0, 8), (16, 29))]
)
def test_a_cut_chunk_is_refused(tmp_path: Path, region: tuple[tuple[int, int], ...]) -> None:
    values = np.zeros([stop - start for start, stop in region], dtype=np.uint8)
    with pytest.raises(ValueError, match=r"cuts chunks \(4, 8, 16\)"):
        make(tmp_path / "a.zarr").write(region, values)


@pytest.mark.parametrize("values", [np.zeros((4, 8, 15), np.uint8), np.zeros((4, 8, 16), np.int64)])
def test_values_have_to_fit(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \(4, 8, 16\)"):
        make(tmp_path / "a.zarr").write(((0, 4), (0, 8), (0, 16)), values)


def test_a_region_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="inside"):
        make(tmp_path / "a.zarr").read(((0, 11), (0, 20), (0, 30)))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kept", [0, 20])
def test_a_truncated_chunk_is_named(tmp_path: Path, version: str, kept: int) -> None:
    volume = make(tmp_path / "a.zarr", version)
    volume.write(WHOLE, random_labels())
    chunk = volume.path / "0" / ("1/0/1" if version == "0.4" else "c/1/0/1")
    chunk.write_bytes(chunk.read_bytes()[:kept])
    with pytest.raises(InputError, match=f"{chunk}: expected a readable chunk, met RuntimeError"):
        volume.read(WHOLE)
    np.testing.assert_array_equal(volume.read(((0, 4), (0, 20), (0, 30))), random_labels()[:4])


def test_a_changed_bit_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    volume = make(tmp_path / "a.zarr")
    volume.write(WHOLE, random_labels())
    chunk = volume.path / "0" / "c/1/0/1"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(InputError, match="expected a readable chunk"):
        volume.read(WHOLE)


def test_opening_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="met no such folder"):
        LabelVolume(tmp_path / "a.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected an OME-Zarr volume written by scsam"):
        LabelVolume(tmp_path / "empty")
    zarr.create_group(tmp_path / "plain.zarr")
    with pytest.raises(InputError, match="expected an OME-Zarr volume written by scsam"):
        LabelVolume(tmp_path / "plain.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_a_legend_has_a_colour_for_every_class() -> None:
    with pytest.raises(ValueError, match="met 2 names"):
        LabelLegend(("background", "nucleus"), LEGEND.colours)
