"""Small pre-training corpora on disk."""

from __future__ import annotations

from pathlib import Path

from scsam_monai.data.synthetic import generate_volume
from scsam_monai.io import write_stack

CUBE = (16.0, 16.0, 16.0)


def write_cells(folder: Path, sections: int) -> Path:
    """Two generated volumes of 96 x 96 pixels with their instances, the second of them held out."""
    for seed, name in enumerate(("cells", "validation_cells")):
        volume = generate_volume((sections, 96, 96), CUBE, seed=seed)
        write_stack(folder / "images" / f"{name}.tif", volume.image, CUBE)
        write_stack(folder / "instances" / f"{name}.tif", volume.instances, CUBE)
    return folder
