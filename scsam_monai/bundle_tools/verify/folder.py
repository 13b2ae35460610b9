"""A bundle's folder, and small data to run it on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 96
"""Height and width of the sections that checks run on."""


class CheckError(Exception):
    """Raised by a check that fails: what is wrong, in one line."""


@dataclass(frozen=True)
class BundleFolder:
    """Where a bundle is, and where its checks may write.

    Attributes:
        root: the bundle's folder.
        scratch: a folder of the checks' own, gone afterwards.
    """

    root: Path
    scratch: Path

    def config(self, name: str) -> str:
        """Path of a config, by its name without suffix."""
        path = self.root / "configs" / f"{name}.json"
        if not path.is_file():
            raise CheckError(f"configs/{name}.json is missing")
        return str(path)

    @property
    def model(self) -> Path:
        """The trained weights."""
        return self.root / "models" / "model.pt"

    @property
    def metadata(self) -> dict[str, Any]:
        """Content of ``metadata.json``."""
        return self.read("configs/metadata.json")

    def read(self, name: str) -> dict[str, Any]:
        """Content of a JSON file.

        Raises:
            CheckError: if it is missing or no JSON object.
        """
        try:
            content = json.loads((self.root / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckError(f"{name} cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(content, dict):
            raise CheckError(f"{name} is no JSON object")
        return content

    @property
    def class_names(self) -> list[str]:
        """The classes that the model was trained for, by its record."""
        names: list[str] = self.read("models/model.json").get("class_names", [])
        return names

    @cached_property
    def dataset(self) -> Path:
        """A small data set of the model's classes: two generated sections for each part."""
        from scsam_monai.data.synthetic import generate_volume
        from scsam_monai.io import write_stack

        folder, size = self.scratch / "dataset", (16.0, 16.0, 16.0)
        folder.mkdir()
        sections: dict[str, list[dict[str, str]]] = {}
        for seed, section in enumerate(("training", "validation", "test")):
            volume = generate_volume((2, SIDE, SIDE), size, seed=seed)
            labels = (volume.labels % len(self.class_names)).astype(np.uint8)
            write_stack(folder / f"{section}.tif", volume.image, size)
            write_stack(folder / f"{section}_labels.tif", labels, size)
            sections[section] = [{"image": f"{section}.tif", "label": f"{section}_labels.tif"}]
        classes = {str(index): name for index, name in enumerate(self.class_names)}
        content = {"labels": classes, "voxel_size_nm": list(size), **sections}
        (folder / "dataset.json").write_text(json.dumps(content), "utf-8")
        return folder
