"""A small annotated volume on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile


@pytest.fixture
def items(tmp_path: Path) -> list[dict[str, Any]]:
    """Two volumes; class 2 is one voxel of the first, and not annotated in the second."""
    rng = np.random.default_rng(0)
    data = []
    for index, shape in enumerate([(4, 40, 48), (2, 36, 36)]):
        label = np.zeros(shape, dtype=np.uint8)
        label[:, 8:20, 8:20] = 1
        label[:, -4:] = 255
        if index == 0:
            label[2, 30, 40] = 2
        image = (60 + 80 * (label == 1) + rng.normal(0, 10, shape)).clip(0, 255).astype(np.uint8)
        paths = {name: tmp_path / f"{name}_{index}.tif" for name in ("image", "label")}
        tifffile.imwrite(paths["image"], image, photometric="minisblack")
        tifffile.imwrite(paths["label"], label, photometric="minisblack")
        data.append(
            {
                "image": str(paths["image"]),
                "label": str(paths["label"]),
                "voxel_size_nm": [20, 10, 10],
                "region": None,
                "annotated": [0, 1, 2] if index == 0 else [0, 1],
            }
        )
    return data
