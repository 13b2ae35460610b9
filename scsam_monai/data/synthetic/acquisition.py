"""From clean grey values to what a microscope delivers: noise, charging, scratches, folds, margins, compression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from scsam_monai.data.synthetic.canvas import Mask
from scsam_monai.data.synthetic.imaging import quantise
from scsam_monai.data.synthetic.looks import FULL_RANGE_16_BITS, Look
from scsam_monai.data.synthetic.noise import Field, smooth_noise

# JPEG's table for luminance (ITU-T T.81, annex K).
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)


def acquire(
    grey: Field, look: Look, rng: np.random.Generator
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], Mask, Mask]:
    """Take the picture.

    Args:
        grey: clean grey values ``(z, y, x)`` in [0, 1].
        look: how.
        rng: source of randomness.

    Returns:
        The image, the voxels that a fold hides, and those that no picture was taken of.
    """
    style, voxel = look.style, look.voxel_size_nm
    picture = ndimage.gaussian_filter(grey, [0.0, style.blur_nm / voxel[1], style.blur_nm / voxel[2]])
    picture = (picture - picture.mean()) / max(float(picture.std()), 1e-3)
    picture *= 1 + style.drift * _per_section(picture.shape, rng)
    picture += style.drift * _per_section(picture.shape, rng)
    if look.charging:
        picture += _charging(picture, rng)
    picture += style.shading * _shading(picture.shape, rng)
    picture += style.curtaining * _stripes(picture.shape, rng)
    if look.knife_marks:
        picture += _knife_marks(picture.shape, rng)
    folded = _fold(picture, rng, voxel[1]) if look.folds else np.zeros(picture.shape, bool)
    picture += _noise(picture, look, rng)
    seams, missing = (
        _tiles(picture.shape, rng) if look.tiles else (np.float32(0), np.zeros(picture.shape, bool))
    )
    picture += seams
    shown = np.clip(look.brightness + look.contrast * picture, 0, 1) ** np.float32(look.gamma)
    if look.inverted:
        shown = 1 - shown
    if look.margin:
        missing = missing | _margin(picture.shape, rng)
    shown[missing] = 0
    if look.compression:
        shown = compress(shown, look.compression)
    if look.dtype == "uint16":
        shown = shown * np.float32(rng.uniform(*FULL_RANGE_16_BITS))
    return quantise(shown, look.dtype), folded, missing


def _per_section(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    return rng.standard_normal((shape[0], 1, 1), dtype=np.float32)


def _shading(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    z, y, x = shape
    return smooth_noise((z, y, x), (1 / 10, 1 / y, 1 / x), float(rng.uniform(1.0, 2.5)), rng)


def _stripes(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """Stripes along y, which change slowly from section to section."""
    fine, broad = (rng.standard_normal((shape[0], shape[2])) for _ in range(2))
    stripes = ndimage.gaussian_filter(fine, [1.5, 1.0]) + 2 * ndimage.gaussian_filter(broad, [2, 6])
    return (stripes / max(float(stripes.std()), 1e-6)).astype(np.float32)[:, None, :]


def _charging(picture: Field, rng: np.random.Generator) -> Field:
    """Pale resin charges up: it glows, and leaves a streak along the scan."""
    glow = np.clip(ndimage.gaussian_filter(picture, [0, 6, 6]) - 0.8, 0, None)
    streak = ndimage.gaussian_filter1d(glow, float(rng.uniform(25, 60)), axis=2, mode="nearest")
    sections = rng.uniform(0, 1, (picture.shape[0], 1, 1)).astype(np.float32)
    return np.float32(rng.uniform(0.2, 0.9)) * sections * (glow + 2.5 * streak)


def _knife_marks(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """Straight scratches, nearly along y, the same in neighbouring sections."""
    z, y, x = shape
    marks = np.zeros(shape, np.float32)
    rows, columns = np.arange(y, dtype=np.float32)[:, None], np.arange(x, dtype=np.float32)
    slope = rng.normal(0, 0.06)
    for _ in range(int(rng.integers(1, 6))):
        away = columns - rng.uniform(0, x) - slope * rows
        strength = rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 0.9)
        mark = strength * np.exp(-((away / rng.uniform(0.8, 3.0)) ** 2))
        first = int(rng.integers(z))
        marks[first : first + int(rng.integers(1, z + 1))] += mark.astype(np.float32)
    return marks


def _fold(picture: Field, rng: np.random.Generator, pixel_nm: float) -> Mask:
    """Draw a wrinkle into one or two sections, in place; returns what it hides."""
    z, y, x = picture.shape
    hidden = np.zeros(picture.shape, bool)
    rows, columns = np.arange(y, dtype=np.float32)[:, None], np.arange(x, dtype=np.float32)
    for section in rng.choice(z, min(z, int(rng.integers(1, 3))), replace=False):
        angle = rng.uniform(0, np.pi)
        across = (rows - rng.uniform(0, y)) * np.cos(angle) + (columns - rng.uniform(0, x)) * np.sin(angle)
        bent = across + 12 * smooth_noise((1, y, x), (1, 1 / y, 1 / x), 0.8, rng)[0]
        width = rng.uniform(25, 90) / pixel_nm * (1 + 0.4 * np.sin(rows / y * 3 + rng.uniform(0, 6)))
        dark = np.clip((width - np.abs(bent)) / 2.5, 0, 1)
        picture[section] += dark * (-2.2 - 0.6 * picture[section])
        hidden[section] = dark > 0.3
    return hidden


def _noise(picture: Field, look: Look, rng: np.random.Generator) -> Field:
    """Shot noise with the grain of scan and interpolation, and a little jitter of whole lines."""
    grain_px = look.style.grain_px
    grain = ndimage.gaussian_filter(
        rng.standard_normal(picture.shape, dtype=np.float32), [0, grain_px, grain_px], mode="wrap"
    )
    grain /= max(float(grain.std()), 1e-6)
    lines = rng.standard_normal((*picture.shape[:2], 1), dtype=np.float32)
    level = 1 + 0.12 * np.clip(picture, -2, 2)
    return np.float32(look.style.noise) * (level * grain + np.float32(0.05) * lines)


def _tiles(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Field, Mask]:
    """Four pictures of unequal brightness beside each other; in a third of the volumes one is lacking somewhere."""
    z, y, x = shape
    seams, missing = np.zeros(shape, np.float32), np.zeros(shape, bool)
    row, column = int(rng.uniform(0.2, 0.8) * y), int(rng.uniform(0.2, 0.8) * x)
    parts = [(slice(0, row), slice(row, y)), (slice(0, column), slice(column, x))]
    quarters = [(a, b) for a in parts[0] for b in parts[1]]
    for a, b in quarters:
        seams[:, a, b] = rng.normal(0, 0.18)
    if rng.random() < 0.33:
        a, b = quarters[int(rng.integers(4))]
        missing[int(rng.integers(z)), a, b] = True
    return seams, missing


def _margin(shape: tuple[int, ...], rng: np.random.Generator) -> Mask:
    """Black wedges along the edges, a little different in each section."""
    _, y, x = shape
    missing = np.zeros(shape, bool)
    rows, columns = np.arange(y)[:, None], np.arange(x)
    for distance, length in (
        (rows + 0 * columns, y),
        (y - 1 - rows + 0 * columns, y),
        (columns + 0 * rows, x),
    ):
        if rng.random() < 0.6:
            width, slope = rng.uniform(0.01, 0.12) * length, rng.normal(0, 0.03)
            along = columns if length == y and distance[0, 0] == distance[0, -1] else rows
            for section in missing:
                section |= distance < width + slope * along + rng.normal(0, 2)
    return missing


def compress(shown: Field, quality: float) -> Field:
    """Lose what JPEG loses at a quality in per cent; grey values ``(z, y, x)`` in [0, 1]."""
    scale = (5000 / quality if quality < 50 else 200 - 2 * quality) / 100
    table = np.clip(_LUMINANCE * np.float32(scale), 1, 255)
    z, y, x = shown.shape
    padded = np.pad(
        shown * np.float32(255) - np.float32(128), ((0, 0), (0, -y % 8), (0, -x % 8)), mode="edge"
    )
    blocks = padded.reshape(z, padded.shape[1] // 8, 8, padded.shape[2] // 8, 8).transpose(0, 1, 3, 2, 4)
    coarse = np.rint(fft.dctn(blocks, axes=(3, 4), norm="ortho") / table) * table
    back = fft.idctn(coarse, axes=(3, 4), norm="ortho").transpose(0, 1, 3, 2, 4).reshape(padded.shape)
    return np.clip((back[:, :y, :x] + 128) / 255, 0, 1).astype(np.float32)
