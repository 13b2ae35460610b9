"""Volumes of all shapes in one flat array on the device, and square crops of their sections cut there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label as components
from torch import Tensor
from torch.nn import functional as F

UNKNOWN_CLASS = 255
SUPERSAMPLING = 2
"""Samples on each side of a crop's pixel, so that grey values are averaged where a crop shrinks."""


@dataclass(frozen=True)
class BankVolume:
    """A volume ready for the bank.

    Attributes:
        image: (z, y, x) uint8.
        planes: axes that a section may be perpendicular to.
        parts: for each of these axes, (z, y, x) int16: what is connected within a section, numbered from 1 in each
            section; None where nobody drew objects.
        anchors: (n, 3) voxels (z, y, x) inside objects, that crops are drawn around.
        classes: (z, y, x) uint8, class of each voxel, 255 where unknown; None where all are.
    """

    image: NDArray[np.uint8]
    planes: tuple[int, ...]
    parts: dict[int, NDArray[np.int16]] | None = None
    anchors: NDArray[np.int64] | None = None
    classes: NDArray[np.uint8] | None = None


def section_parts(instances: NDArray[Any], planes: Sequence[int]) -> dict[int, NDArray[np.int16]]:
    """Number what is connected within each section, along each axis that sections are cut along."""
    parts = {}
    for axis in planes:
        sections = np.moveaxis(instances, axis, 0)
        numbered = np.stack([components(section, background=0, connectivity=1) for section in sections])
        if numbered.max() > np.iinfo(np.int16).max:
            raise ValueError(f"sections with up to {numbered.max()} objects: expected at most 32767")
        parts[axis] = np.ascontiguousarray(np.moveaxis(numbered, 0, axis), dtype=np.int16)
    return parts


class Windows(NamedTuple):
    """Where B crops lie in the bank: a square of ``side`` voxels from a corner of a section."""

    volume: Tensor
    """``(B,)`` number of the volume."""
    axis: Tensor
    """``(B,)`` axis that the section is perpendicular to."""
    section: Tensor
    """``(B,)`` number of the section."""
    corner: Tensor
    """``(B, 2)`` first voxel of the window along the section's two axes."""
    side: Tensor
    """``(B,)`` voxels along each side."""


class VolumeBank:
    """Volumes on a device, cut by index arithmetic alone: no loop over crops, the same code on a CPU and a GPU.

    Args:
        volumes: what to hold, all kept as eight bits.
        device: where.

    Example:
        >>> bank = VolumeBank([BankVolume(np.zeros((4, 64, 64), np.uint8), planes=(0,))], "cpu")
        >>> zero = torch.zeros(2, dtype=torch.int64)
        >>> bank.cut(Windows(zero, zero, zero, torch.zeros(2, 2, dtype=torch.int64), zero + 48), 32).shape
        torch.Size([2, 1, 32, 32])
    """

    def __init__(self, volumes: Sequence[BankVolume], device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.count = len(volumes)
        self.shapes = self._tensor([volume.image.shape for volume in volumes])
        self.planes = self._tensor(
            [[axis in volume.planes for axis in range(3)] for volume in volumes]
        ).bool()
        self.images = self._flat([volume.image for volume in volumes], np.uint8)
        self.parts = [
            self._flat([(volume.parts or {}).get(axis) for volume in volumes], np.int16) for axis in range(3)
        ]
        self.classes = self._flat([volume.classes for volume in volumes], np.uint8)
        self._held = self._tensor(
            [[*(axis in (v.parts or {}) for axis in range(3)), v.classes is not None] for v in volumes]
        )
        labelled = [number for number, volume in enumerate(volumes) if volume.anchors is not None]
        self.labelled = self._tensor(labelled)
        self.anchors = [self._tensor(volumes[number].anchors) for number in labelled]
        self._place()

    def extend(self, volumes: Sequence[BankVolume]) -> None:
        """Take further volumes in; those that are there stay on the device."""
        new = VolumeBank(volumes, self.device)
        self.labelled = torch.cat([self.labelled, new.labelled + self.count])
        self.anchors += new.anchors
        self.count += new.count
        self.parts = [torch.cat(pair) for pair in zip(self.parts, new.parts, strict=True)]
        for name in ("shapes", "planes", "images", "classes", "_held"):
            setattr(self, name, torch.cat([getattr(self, name), getattr(new, name)]))
        self._place()

    def _place(self) -> None:
        """Work out where each volume's values begin in each flat array; -1 in those that do not hold it."""
        sizes = self.shapes.prod(dim=1)
        _, y, x = self.shapes.unbind(1)
        self.strides = torch.stack([y * x, x, torch.ones_like(x)], dim=1)
        self.offsets = sizes.cumsum(0) - sizes
        own = sizes.unsqueeze(1) * self._held
        places = torch.where(self._held.bool(), own.cumsum(0) - own, -1)
        self.part_offsets, self.class_offsets = places[:, :3].unbind(1), places[:, 3]

    def cut(self, windows: Windows, size: int) -> Tensor:
        """Grey crops ``(B, 1, size, size)`` in [0, 1]: interpolated, and averaged where they shrink."""
        fine = size * SUPERSAMPLING
        places = windows.corner.unsqueeze(2) + self._steps(windows.side, fine) - 0.5
        strides, limit = self._section(windows)
        places = places.clamp(min=0).minimum((limit - 1).unsqueeze(2).float())
        low = places.floor()
        share = (places - low).to(torch.float16 if self.device.type == "cuda" else torch.float32)
        first = low.long()
        second = (first + 1).minimum((limit - 1).unsqueeze(2))
        base = self._base(windows, self.offsets)
        rows = [base.view(-1, 1) + row * strides[:, :1] for row in (first[:, 0], second[:, 0])]
        columns = [column * strides[:, 1:] for column in (first[:, 1], second[:, 1])]
        lines = []
        for row in rows:
            left, right = (
                self.images[row.unsqueeze(2) + column.unsqueeze(1)].to(share.dtype) for column in columns
            )
            lines.append(left + (right - left) * share[:, 1].unsqueeze(1))
        grey = lines[0] + (lines[1] - lines[0]) * share[:, 0].unsqueeze(2)
        return F.avg_pool2d(grey.unsqueeze(1), SUPERSAMPLING).float() / 255

    def cut_parts(self, windows: Windows, size: int) -> Tensor:
        """Numbers of the connected parts ``(B, size, size)``, nearest voxel; windows of labelled volumes."""
        index = self._nearest(windows, size)
        numbers = torch.zeros(index.shape, dtype=torch.int32, device=self.device)
        for axis in range(3):
            own = windows.axis == axis
            if len(self.parts[axis]):
                shifted = index + (self.part_offsets[axis] - self.offsets)[windows.volume].view(-1, 1, 1)
                found = self.parts[axis][shifted.clamp(0, len(self.parts[axis]) - 1)].int()
                numbers = torch.where(own.view(-1, 1, 1), found, numbers)
        return numbers

    def cut_classes(self, windows: Windows, size: int) -> Tensor:
        """Classes ``(B, size, size)`` uint8, nearest voxel, 255 where unknown."""
        index = self._nearest(windows, size)
        offsets = self.class_offsets[windows.volume]
        if not len(self.classes):
            return torch.full(index.shape, UNKNOWN_CLASS, dtype=torch.uint8, device=self.device)
        shifted = index + (offsets - self.offsets[windows.volume]).view(-1, 1, 1)
        found = self.classes[shifted.clamp(0, len(self.classes) - 1)]
        return torch.where((offsets >= 0).view(-1, 1, 1), found, UNKNOWN_CLASS)

    def available(self, volume: Tensor, axis: Tensor) -> Tensor:
        """Voxels ``(B, 2)`` of a section of each volume perpendicular to each axis."""
        return self.in_section(self.shapes[volume], axis)

    def _nearest(self, windows: Windows, size: int) -> Tensor:
        places = windows.corner.unsqueeze(2) + self._steps(windows.side, size)
        strides, limit = self._section(windows)
        whole = places.floor().long().clamp(min=0).minimum((limit - 1).unsqueeze(2))
        base = self._base(windows, self.offsets)
        rows = base.view(-1, 1) + whole[:, 0] * strides[:, :1]
        return rows.unsqueeze(2) + (whole[:, 1] * strides[:, 1:]).unsqueeze(1)

    def _steps(self, side: Tensor, size: int) -> Tensor:
        """Centres of ``size`` samples within ``side`` voxels, ``(B, 1, size)``."""
        middle = torch.arange(size, device=self.device, dtype=torch.float32) + 0.5
        return (middle.view(1, 1, -1) * side.view(-1, 1, 1)) / size

    def _section(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """Strides and lengths ``(B, 2)`` of the section's two axes."""
        strides = self.in_section(self.strides[windows.volume], windows.axis)
        return strides, self.available(windows.volume, windows.axis)

    def _base(self, windows: Windows, offsets: Tensor) -> Tensor:
        normal = self.strides[windows.volume].gather(1, windows.axis.view(-1, 1))[:, 0]
        return offsets[windows.volume] + windows.section * normal

    def in_section(self, triples: Tensor, axis: Tensor) -> Tensor:
        """The two numbers of each triple ``(B, 3)`` that do not belong to ``axis``."""
        others = torch.tensor([[1, 2], [0, 2], [0, 1]], device=self.device)
        return triples.gather(1, others[axis])

    def _flat(self, arrays: Sequence[NDArray[Any] | None], dtype: type[np.integer[Any]]) -> Tensor:
        held = [array.reshape(-1) for array in arrays if array is not None]
        return torch.from_numpy(np.concatenate([np.zeros(0, dtype), *held])).to(self.device)

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.int64).to(self.device)
