"""Settings of the sliding windows: size, overlap, batch and planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scsam_monai.errors import InputError, check_choice
from scsam_monai.inference.planes import PLANES, XY, Plane

if TYPE_CHECKING:
    import torch

    from scsam_monai.inference.predictor import Network, PlanePredictor
    from scsam_monai.inference.tiling import SectionGrid

STEP = 32
"""Pixels: the network fills up its input to a multiple of this."""


@dataclass(frozen=True)
class Windows:
    """Sliding windows over a volume's sections.

    Attributes:
        size: edge of a window in the network's pixels.
        overlap: fraction by which windows overlap, in [0, 1).
        batch: windows that the network sees at once, at most.
        planes: 1 for xy sections; 3 averages what xy, xz and yz sections show.
    """

    size: int = 256
    overlap: float = 0.25
    batch: int = 4
    planes: int = 1

    def __post_init__(self) -> None:
        check_choice("planes", self.planes, PLANES)
        for name, valid, expected in (
            ("size", isinstance(self.size, int) and self.size >= STEP, f"{STEP} pixels or more"),
            (
                "overlap",
                isinstance(self.overlap, (int, float)) and 0 <= self.overlap < 1,
                "a fraction from 0 to below 1",
            ),
            ("batch", isinstance(self.batch, int) and self.batch >= 1, "1 or more"),
        ):
            if not valid:
                raise InputError(
                    f"window {name}", expected=expected, met=f"{getattr(self, name)}", remedy="correct it"
                )

    def predictors(
        self,
        network: Network,
        shape: Sequence[int],
        factors: Sequence[float],
        intensity: tuple[float, float],
        device: torch.device | str,
        numbering: tuple[int, int] | None = None,
    ) -> list[PlanePredictor]:
        """Return a predictor for each plane.

        Args:
            network: takes ``(B, 1, H, W)`` in [0, 1], returns logits ``(B, K', H, W)``.
            shape: of the volume, (z, y, x).
            factors: network pixels per voxel, (z, y, x).
            intensity: grey values that become 0 and 1.
            device: where the network is.
            numbering: of a range of sections, see :class:`~scsam_monai.io.empty.EmptyParts`; None for all.
        """
        from scsam_monai.inference.predictor import PlanePredictor, SectionPredictor

        return [
            PlanePredictor(
                plane,
                SectionPredictor(network, self.grid(plane, shape, factors, numbering), intensity, device),
            )
            for plane in PLANES[self.planes]
        ]

    def grid(
        self,
        plane: Plane,
        shape: Sequence[int],
        factors: Sequence[float],
        numbering: tuple[int, int] | None = None,
    ) -> SectionGrid:
        """Lay the windows over all sections along one plane.

        Args:
            plane: the sections'.
            shape: of the volume, (z, y, x).
            factors: network pixels per voxel, (z, y, x).
            numbering: of a range of sections, as :meth:`predictors` takes it.
        """
        from scsam_monai.inference.tiling import section_grid

        sections, *section_shape = plane.pick(shape)
        _, *section_factors = plane.pick(factors)
        window = [self.size, self.size]
        if plane != XY:  # a stack may be thin: what lies beyond it would be padding, and cost the same
            scaled = (size * factor for size, factor in zip(section_shape, section_factors, strict=True))
            window = [min(self.size, STEP * math.ceil(size / STEP)) for size in scaled]
        first, count = numbering or (0, sections)
        return section_grid(count, section_shape, section_factors, window, self.overlap, self.batch, first)
