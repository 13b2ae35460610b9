from __future__ import annotations

import errno
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile

from scsam_monai.errors import InputError
from scsam_monai.io import LabelLegend, LabelVolume, create_labels, export_labels, read_header, read_labels

SHAPE, SIZE_NM = (7, 40, 50), (40.0, 8.0, 4.0)
LEGEND = LabelLegend(
    ("background", "mitochondria", "nucleus"),
    np.array([[0, 0, 0], [86, 180, 233], [240, 228, 66]], dtype=np.uint8),
)
LABELS = np.random.default_rng(0).integers(0, 3, SHAPE, dtype=np.uint8)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    create_labels(tmp_path / "a.zarr", SHAPE, SIZE_NM, LEGEND, chunk=(4, 16, 32))
    LabelVolume(tmp_path / "a.zarr").write(((0, 7), (0, 40), (0, 50)), LABELS)
    return tmp_path / "a.zarr"


@pytest.mark.parametrize("slab", [1, 3 * 40 * 50, 2**28])
def test_imagej_opens_it_with_scale_and_names(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slab: int
) -> None:
    monkeypatch.setattr("scsam_monai.io.label_export.SLAB_BYTES", slab)
    calls: list[tuple[int, int]] = []
    export_labels(source, tmp_path / "a.tif", progress=lambda *call: calls.append(call))
    assert calls == [(done, 7) for done in range(1, 8)]
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert (tif.series[0].kind, tif.series[0].axes, len(tif.pages)) == ("imagej", "ZYX", 7)
        np.testing.assert_array_equal(tif.asarray(), LABELS)
        stated = tif.imagej_metadata
        assert tif.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    assert (stated["unit"], stated["spacing"], stated["min"], stated["max"]) == ("nm", 40.0, 0.0, 2.0)
    assert stated["Info"].splitlines()[1] == "1 = mitochondria #56b4e9"
    assert read_header(tmp_path / "a.tif").voxel_size_nm == SIZE_NM


def test_a_large_volume_becomes_ome_bigtiff(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scsam_monai.io.label_export.CLASSIC_TIFF_BYTES", LABELS.nbytes)
    export_labels(source, tmp_path / "a.tiff")
    with tifffile.TiffFile(tmp_path / "a.tiff") as tif:
        assert tif.is_bigtiff
        assert (tif.series[0].kind, tif.series[0].axes) == ("ome", "ZYX")
        image = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
    assert image["Description"].splitlines()[2] == "2 = nucleus #f0e442"
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tiff").array, LABELS)
    assert read_header(tmp_path / "a.tiff").voxel_size_nm == SIZE_NM


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_in_millimetres(source: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"a{suffix}"
    export_labels(source, target)
    image = nib.load(target)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), LABELS.T)
    np.testing.assert_allclose(image.affine, np.diag([4e-6, 8e-6, 40e-6, 1.0]), rtol=1e-6)
    assert (image.header.get_xyzt_units()[0], int(image.header["sform_code"])) == ("mm", 1)
    assert read_header(target).voxel_size_nm == SIZE_NM
    np.testing.assert_array_equal(read_labels(target).array, LABELS)


@pytest.mark.parametrize("suffix", [".tif", ".nii.gz"])
def test_the_same_labels_give_the_same_bytes(source: Path, tmp_path: Path, suffix: str) -> None:
    for name in ("first", "second"):
        export_labels(source, tmp_path / name / f"a{suffix}")
    first, second = (tmp_path / name / f"a{suffix}" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("shape", [(2**15, 2**8, 2**8 + 1), (1, 2**15, 1)])
def test_nifti_refuses_what_is_too_large(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    create_labels(tmp_path / "a.zarr", shape, SIZE_NM, LEGEND)
    with pytest.raises(
        InputError, match=r"a\.nii: expected at most 2147483648 voxels and 32767 along a side"
    ):
        export_labels(tmp_path / "a.zarr", tmp_path / "a.nii")


def test_an_output_that_exists_is_kept(source: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("mine")
    with pytest.raises(InputError, match="met one that exists"):
        export_labels(source, tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_text() == "mine"


def test_another_suffix_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.tif, \.tiff, \.nii, \.nii\.gz"):
        export_labels(source, tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.tif", "a.nii"])
def test_a_damaged_chunk_leaves_no_file(source: Path, tmp_path: Path, name: str) -> None:
    (source / "0" / "c" / "1" / "0" / "0").write_bytes(b"half")
    with pytest.raises(InputError, match="c/1/0/0: expected a readable chunk"):
        export_labels(source, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_a_full_disk_leaves_no_file(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tifffile.imwrite", full)
    with pytest.raises(InputError, match=r"a\.tif: expected room on the disk, met disk full"):
        export_labels(source, tmp_path / "a.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
