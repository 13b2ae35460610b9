"""Fill a data store with generated images of every format, and put their true labels beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image

from scsam_monai.data.synthetic import UNSEEN_STYLES, generate_volume
from scsam_monai.io import write_stack

VOXEL_NM = (16.0, 16.0, 16.0)
SHAPE = (4, 256, 256)


def write_sample_images(folder: Path) -> None:
    """Write ``images`` and ``truth`` of ``folder``; ``images`` appears last, once all is there.

    ``stack.tif``, ``volume.nii.gz`` and ``plane.tif`` state their voxel size, ``picture.png`` does not.
    """
    new, truth = folder / "images.new", folder / "truth"
    for path in (new, truth):
        path.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("stack", "volume", "plane", "picture")):
        cells = generate_volume(SHAPE, VOXEL_NM, 500 + seed, next(iter(UNSEEN_STYLES)))
        if name == "stack":
            write_stack(new / "stack.tif", cells.image, VOXEL_NM)
            write_stack(truth / "stack.tif", cells.labels, VOXEL_NM)
        elif name == "volume":
            for path, array in ((new, cells.image), (truth, cells.labels)):
                nib.save(_nifti(array), path / "volume.nii.gz")
        elif name == "plane":
            tifffile.imwrite(new / "plane.tif", cells.image[0], **_resolution())
            tifffile.imwrite(truth / "plane.tif", cells.labels[0])
        else:
            Image.fromarray(cells.image[0]).save(new / "picture.png")
            Image.fromarray(cells.labels[0]).save(truth / "picture.png")
    new.rename(folder / "images")


def _nifti(array: np.ndarray) -> nib.Nifti1Image:
    """A volume (z, y, x) as NIfTI in mm, the unit that viewers expect."""
    z, y, x = (nm / 1e6 for nm in VOXEL_NM)
    image = nib.Nifti1Image(array.T, np.diag([x, y, z, 1.0]))
    image.header.set_xyzt_units("mm")
    return image


def _resolution() -> dict[str, object]:
    per_cm = 1e7 / VOXEL_NM[2]
    return {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}


if __name__ == "__main__":
    write_sample_images(Path(sys.argv[1]))
