"""A PNG image in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scsam_monai.io.png import PngFormat
from scsam_monai.io.volumes.source import Box


class PngSource:
    """One compressed stream: decoded at the first read, then kept."""

    def __init__(self, path: Path) -> None:
        self.header = PngFormat().header(path)
        self.chunk = self.header.shape
        self._pixels: np.ndarray | None = None

    def read(self, box: Box) -> np.ndarray:
        """The values in ``box``."""
        if self._pixels is None:
            self._pixels = PngFormat().array(self.header)
        return self._pixels[box]

    def close(self) -> None:
        """Forget the pixels."""
        self._pixels = None
