"""Generate a volume: draw a block of tissue, then image it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scsam_monai.data.synthetic.canvas import Canvas, Grid
from scsam_monai.data.synthetic.imaging import Style, draw_style, image, integrate_sections, quantise
from scsam_monai.data.synthetic.scene import draw_scene
from scsam_monai.errors import InputError

Progress = Callable[[float, str], None]
_FINEST_STEPS = 6


@dataclass(frozen=True)
class SyntheticVolume:
    """A generated image with its ground truth.

    Attributes:
        image: grey values ``(z, y, x)``, uint8 or uint16.
        labels: class of each voxel ``(z, y, x)``, uint8; see ``CLASSES``.
        instances: object of each voxel ``(z, y, x)``, int32, numbered from 1; 0 exactly where the label is 0.
        voxel_size_nm: voxel size along z, y, x.
        style: appearance the image was made with.
    """

    image: NDArray[np.uint8] | NDArray[np.uint16]
    labels: NDArray[np.uint8]
    instances: NDArray[np.int32]
    voxel_size_nm: tuple[float, float, float]
    style: Style


def generate_volume(
    shape: tuple[int, int, int] = (24, 320, 320),
    voxel_size_nm: tuple[float, float, float] = (16.0, 16.0, 16.0),
    seed: int = 0,
    style: str | Style = "fib-sem",
    dtype: str = "uint8",
    progress: Progress | None = None,
) -> SyntheticVolume:
    """Generate an EM-like volume of islet cells with labels; the same arguments give the same bits.

    A field of at least 4 um shows every class; a smaller one shows what fits. Where sections are thicker than
    pixels are wide, each is drawn in several steps and the image integrates over them.

    Args:
        shape: voxels along z, y, x.
        voxel_size_nm: voxel size along z, y, x.
        seed: seed of the only random generator used.
        style: name of a style to draw the appearance from, or an appearance.
        dtype: ``"uint8"`` or ``"uint16"``.
        progress: called with the share done and what is being done.

    Raises:
        InputError: if an argument does not fit.
    """
    _check(shape, voxel_size_nm, dtype)
    rng = np.random.default_rng(seed)
    look = draw_style(style, rng) if isinstance(style, str) else style
    steps = int(np.clip(round(voxel_size_nm[0] / max(voxel_size_nm[1:])), 1, _FINEST_STEPS))
    fine = (voxel_size_nm[0] / steps, voxel_size_nm[1], voxel_size_nm[2])
    canvas = Canvas(Grid((shape[0] * steps, shape[1], shape[2]), fine), look, rng)
    report = progress or (lambda share, what: None)
    draw_scene(canvas, report)
    grey = integrate_sections(canvas.grey, steps, look.imaged_fraction)
    acquired = image(grey, look, voxel_size_nm, rng)
    report(1.0, "done")
    middle = slice(steps // 2, None, steps)
    return SyntheticVolume(
        image=quantise(acquired, dtype),
        labels=np.ascontiguousarray(canvas.labels[middle]),
        instances=renumber(canvas.instances[middle]),
        voxel_size_nm=voxel_size_nm,
        style=look,
    )


def renumber(instances: NDArray[np.int32]) -> NDArray[np.int32]:
    """Close the gaps that objects between two sections leave in the numbering."""
    present = np.bincount(instances.ravel()) > 0
    present[0] = False
    return np.where(present, np.cumsum(present), 0).astype(np.int32)[instances]


def _check(shape: tuple[int, int, int], voxel_size_nm: tuple[float, float, float], dtype: str) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(
            "shape",
            expected="three positive numbers z, y, x",
            met=str(shape),
            remedy="use (1, y, x) for an image",
        )
    if len(voxel_size_nm) != 3 or min(voxel_size_nm) < 2 or max(voxel_size_nm) > 200:
        raise InputError(
            "voxel_size_nm",
            expected="three numbers z, y, x from 2 to 200 nm",
            met=str(voxel_size_nm),
            remedy="name the voxel size in nm",
        )
    if dtype not in ("uint8", "uint16"):
        raise InputError("dtype", expected="uint8 or uint16", met=repr(dtype), remedy="choose one of the two")
