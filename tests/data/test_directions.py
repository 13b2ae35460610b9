"""Images and labels whose NIfTI headers contradict each other are paired as stored, and that is said."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from scsam_monai.data.annotations import read_annotations
from scsam_monai.data.directions import logger
from scsam_monai.data.importers.files import import_files

RAS, LPS = np.diag([16e-6, 16e-6, 16e-6, 1.0]), np.diag([-16e-6, -16e-6, 16e-6, 1.0])


def save(path: Path, array: np.ndarray, affine: np.ndarray | None) -> Path:
    nibabel.Nifti1Image(array.T, affine).to_filename(path)
    return path


@pytest.mark.parametrize(("affine", "said"), [(RAS, True), (LPS, False), (None, False)])
def test_axes_that_run_opposite_ways_are_said(
    tmp_path: Path, affine: np.ndarray | None, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (3, 30, 40)).astype(np.uint8)
    label = (grey > 99).astype(np.uint8)
    image = save(tmp_path / "raw.nii.gz", grey, LPS)
    labels = save(tmp_path / "labels.nii.gz", label, affine)
    classes = {"0": "background", "1": "nucleus"}
    import_files(
        tmp_path,
        tmp_path / "set",
        images=["raw.nii.gz"],
        labels=["labels.nii.gz"],
        classes=classes,
        voxel_size_nm=(16, 16, 16),
    )
    met = [record for record in caplog.records if record.name == logger.name]
    assert len(met) == said
    if said:
        assert "raw.nii.gz runs to LPS and" in met[0].getMessage()
        assert "labels.nii.gz to RAS by their headers" in met[0].getMessage()
    found = read_annotations(image, labels, class_names=classes, voxel_size_nm=(16, 16, 16), folder=tmp_path)
    np.testing.assert_array_equal(found.learn[0].label, label)
