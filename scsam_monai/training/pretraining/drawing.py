"""Choose random crops: anywhere for the masked autoencoder, around objects for the promptable SAM."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.networks.mae import PATCH
from scsam_monai.training.pretraining.instance_crops import LEAST_ROUND, MAX_SHARE
from scsam_monai.training.pretraining.volume_bank import VolumeBank, Windows

OCTAVES = 24


def anywhere(
    bank: VolumeBank, batch: int, size: int, zoom_range: Sequence[float], generator: torch.Generator
) -> Windows:
    """Windows anywhere in the bank; volumes in proportion to the root of their voxels.

    Args:
        bank: volumes.
        batch: windows.
        size: pixels of the crop that a window becomes.
        zoom_range: smallest and largest number of the crop's pixels for a voxel, drawn evenly in octaves.
        generator: of the bank's device.
    """
    weights = bank.shapes.prod(dim=1).float().sqrt()
    volume = torch.multinomial(weights, batch, replacement=True, generator=generator)
    axis = torch.multinomial(bank.planes[volume].float(), 1, generator=generator)[:, 0]
    section = _below(bank.shapes[volume].gather(1, axis.view(-1, 1))[:, 0], generator)
    available = bank.available(volume, axis)
    side = _side(available.amin(dim=1), size, zoom_range, generator)
    corner = _below(available - side.unsqueeze(1) + 1, generator)
    return Windows(volume, axis, section, corner, side)


def around_objects(
    bank: VolumeBank, batch: int, size: int, zoom_range: Sequence[float], generator: torch.Generator
) -> Windows:
    """Windows that hold a voxel of an object, of a volume whose objects are known; see :func:`anywhere`."""
    pick = _below(torch.full((batch,), len(bank.labelled), device=bank.device), generator)
    counts = torch.tensor([len(anchors) for anchors in bank.anchors], device=bank.device)
    starts = counts.cumsum(0) - counts
    anchor = torch.cat(bank.anchors)[starts[pick] + _below(counts[pick], generator)]
    volume = bank.labelled[pick]
    axis = torch.multinomial(bank.planes[volume].float(), 1, generator=generator)[:, 0]
    section = anchor.gather(1, axis.view(-1, 1))[:, 0]
    place, available = bank.in_section(anchor, axis), bank.available(volume, axis)
    side = _side(available.amin(dim=1), size, zoom_range, generator).unsqueeze(1)
    first, last = (place - side + 1).clamp(min=0), torch.minimum(place, available - side)
    corner = first + _below(last - first + 1, generator)
    return Windows(volume, axis, section, corner, side[:, 0])


def choose_objects(parts: Tensor, count: int, min_area: int, generator: torch.Generator) -> Tensor:
    """Pick objects of each crop, no size preferred and thin ones seldom, and number them from 1.

    Args:
        parts: ``(B, H, W)`` numbers of connected parts, 0 for none.
        count: objects at most.
        min_area: pixels of the smallest.
        generator: of the device.

    Returns:
        ``(B, 1, H, W)`` uint8.
    """
    B, H, W = parts.shape
    above = int(parts.max()) + 1
    crops = torch.arange(B, device=parts.device).view(-1, 1, 1)
    keys, place = torch.unique(parts.long() + crops * above, return_inverse=True)
    area = torch.bincount(place.flatten(), minlength=len(keys)).float()
    border = area - torch.bincount(place[_inner(parts)], minlength=len(keys))
    crop, number = keys // above, keys % above
    fits = (number > 0) & (area >= min_area) & (area <= MAX_SHARE * H * W)
    octave = area.log2().long() + crop * OCTAVES
    crowd = torch.bincount(octave[fits], minlength=B * OCTAVES)[octave].clamp(min=1)
    roundness = (4 * math.pi * area / border.clamp(min=1).square()).clamp(LEAST_ROUND, 1.0)
    lottery = torch.rand(len(keys), generator=generator, device=parts.device).clamp(1e-12)
    # The largest u^(1/w) win: a draw without replacement with chances in proportion to w.
    score = torch.where(fits, lottery.log() / (roundness / crowd), -math.inf)
    order = score.argsort(descending=True)
    order = order[crop[order].argsort(stable=True)]
    sizes = torch.bincount(crop, minlength=B)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=parts.device) - (sizes.cumsum(0) - sizes)[crop[order]]
    chosen = torch.where(fits & (rank < count), rank + 1, 0).to(torch.uint8)
    return chosen[place].unsqueeze(1)


def outlines_and_insides(parts: Tensor) -> Tensor:
    """Where another object begins at the next pixel, and where any is: ``(B, 2, H, W)`` uint8 of ``(B, H, W)``."""
    outline = torch.zeros_like(parts, dtype=torch.bool)
    outline[:, :-1] |= parts[:, 1:] != parts[:, :-1]
    outline[:, :, :-1] |= parts[:, :, 1:] != parts[:, :, :-1]
    return torch.stack([outline, parts > 0], dim=1).to(torch.uint8)


def turned(tensors: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Show each crop of ``(B, ..., S, S)`` tensors in one of the eight flips and turns, the same in all tensors."""
    B, device = len(tensors[0]), tensors[0].device
    flips = torch.rand(3, B, generator=generator, device=device) < 0.5

    def one(tensor: Tensor) -> Tensor:
        for flip, change in zip(
            flips, (lambda t: t.flip(-1), lambda t: t.flip(-2), lambda t: t.mT), strict=True
        ):
            tensor = torch.where(flip.view(-1, *[1] * (tensor.dim() - 1)), change(tensor), tensor)
        return tensor

    return [one(tensor) for tensor in tensors]


def altered(image: Tensor, generator: torch.Generator) -> Tensor:
    """Change gamma, contrast and brightness, blur and noise of crops ``(B, 1, H, W)`` in [0, 1], each by chance."""
    B, device = len(image), image.device

    def drawn(low: float, high: float, chance: float, without: float) -> Tensor:
        values = low + (high - low) * torch.rand(B, generator=generator, device=device)
        use = torch.rand(B, generator=generator, device=device) < chance
        return torch.where(use, values, without).view(-1, 1, 1, 1)

    image = image.clamp(min=1e-4) ** drawn(0.6, 1.6, 0.5, 1.0)
    image = (image - 0.5) * drawn(0.7, 1.25, 0.5, 1.0) + 0.5 + drawn(-0.1, 0.1, 0.5, 0.0)
    image = _blurred(image, drawn(0.4, 1.5, 0.3, 0.05))
    noise = torch.randn(image.shape, generator=generator, device=device)
    return (image + noise * drawn(0.0, 0.15, 0.5, 0.0)).clamp(0, 1)


def _blurred(image: Tensor, sigma: Tensor, radius: int = 4) -> Tensor:
    """Gaussian blur, each crop with a ``sigma (B, 1, 1, 1)`` of its own."""
    B, _, H, W = image.shape
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = (-0.5 * (offsets / sigma.view(-1, 1)).square()).softmax(dim=1)
    crops = F.pad(image.view(1, B, H, W), [radius] * 4, mode="reflect")
    crops = F.conv2d(crops, kernel.view(B, 1, -1, 1), groups=B)
    return F.conv2d(crops, kernel.view(B, 1, 1, -1), groups=B).view(B, 1, H, W)


def _inner(parts: Tensor) -> Tensor:
    """Pixels ``(B, H, W)`` whose four neighbours belong to the same part."""
    inner = torch.ones_like(parts, dtype=torch.bool)
    down, across = parts[:, 1:] == parts[:, :-1], parts[:, :, 1:] == parts[:, :, :-1]
    inner[:, :-1] &= down
    inner[:, 1:] &= down
    inner[:, :, :-1] &= across
    inner[:, :, 1:] &= across
    return inner


def _side(available: Tensor, size: int, zoom_range: Sequence[float], generator: torch.Generator) -> Tensor:
    """Voxels of the windows' sides, at most what is there and at least a patch."""
    low = torch.maximum(
        torch.full_like(available, zoom_range[0], dtype=torch.float32), size / available
    ).log()
    high = torch.maximum(low, torch.tensor(math.log(zoom_range[1]), device=available.device))
    zoom = (low + (high - low) * torch.rand(low.shape, generator=generator, device=low.device)).exp()
    return (size / zoom).round().long().clamp(min=PATCH).minimum(available)


def _below(limits: Tensor, generator: torch.Generator) -> Tensor:
    """A whole number from 0 to below each limit."""
    lottery = torch.rand(limits.shape, generator=generator, device=limits.device, dtype=torch.float64)
    return (lottery * limits).long().minimum(limits - 1)
