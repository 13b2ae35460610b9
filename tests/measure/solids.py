"""Solids whose volume and surface are known, drawn into voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MARGIN = 6


def ellipsoid(radii_nm: Sequence[float], size_nm: Sequence[float]) -> tuple[np.ndarray, float, float]:
    """Mask, volume and surface. The centre lies between voxels, at no special place."""
    radii, size = np.asarray(radii_nm, float), np.asarray(size_nm, float)
    reach = np.ceil(radii / size).astype(int) + MARGIN
    shift = np.array([0.21, 0.37, 0.43])
    axes = [(np.arange(-n, n + 1) + by) * edge for n, by, edge in zip(reach, shift, size, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    inside = sum((along / radius) ** 2 for along, radius in zip(grid, radii, strict=True)) <= 1
    return np.asarray(inside), float(4 / 3 * np.pi * np.prod(radii)), _ellipsoid_surface(radii)


def _ellipsoid_surface(radii: np.ndarray) -> float:
    """By the integral over both angles, midpoints."""
    a, b, c = radii
    steps = 1000
    polar = (np.arange(steps) + 0.5) / steps * np.pi
    turn = (np.arange(steps) + 0.5) / steps * 2 * np.pi
    p, t = np.meshgrid(polar, turn, indexing="ij")
    element = np.sin(p) * np.sqrt(
        (b * c * np.sin(p) * np.cos(t)) ** 2 + (a * c * np.sin(p) * np.sin(t)) ** 2 + (a * b * np.cos(p)) ** 2
    )
    return float(element.sum() * np.pi / steps * 2 * np.pi / steps)


def torus(tube_nm: float, size_nm: Sequence[float]) -> tuple[np.ndarray, float, float]:
    """Mask, volume and surface of a ring in the plane, two and a half tubes wide."""
    ring, size = 2.5 * tube_nm, np.asarray(size_nm, float)
    reach = np.ceil(np.array([tube_nm, ring + tube_nm, ring + tube_nm]) / size).astype(int) + MARGIN
    axes = [(np.arange(-n, n + 1) + 0.3) * edge for n, edge in zip(reach, size, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside = (np.hypot(y, x) - ring) ** 2 + z**2 <= tube_nm**2
    return inside, float(2 * np.pi**2 * ring * tube_nm**2), float(4 * np.pi**2 * ring * tube_nm)


def blobs(shape: Sequence[int] = (24, 50, 60), seed: int = 0, sigma: float = 2.0) -> np.ndarray:
    """Three classes of winding shapes that touch one another and the edges, and an unknown corner."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    labels = np.digitize(noise, np.quantile(noise, [0.6, 0.75, 0.9])).astype(np.uint8)
    labels[..., 4:9, 5:9] = 255
    return labels
