"""Generate a volume of any tissue: draw a look and a block, then take its picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.data.synthetic.acquisition import acquire
from scsam_monai.data.synthetic.canvas import Canvas, Grid
from scsam_monai.data.synthetic.imaging import integrate_sections
from scsam_monai.data.synthetic.looks import Look, draw_look
from scsam_monai.data.synthetic.tissues import TISSUES, chosen_tissues
from scsam_monai.data.synthetic.volume import SyntheticVolume, renumber

_STEP_NM = 13.0
_MOST_STEPS = 4


def generate_tissue(
    tissue: str,
    seed: int = 0,
    look: Look | str | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> SyntheticVolume:
    """Generate a volume of a tissue with labels in the common vocabulary; the same arguments give the same bits.

    Args:
        tissue: a key of ``TISSUES``.
        seed: seed of the only random generator used.
        look: how it is looked at, or the name of a microscope to draw that for; None draws the microscope, too.
        progress: called with the share done and what is being done.

    Returns:
        The volume. What a fold hides is 255 in ``labels`` and 0 in ``instances``.

    Raises:
        InputError: if no tissue or microscope has this name.
    """
    kind = TISSUES[chosen_tissues(tissue)[0]]
    rng = np.random.default_rng(seed)
    if look is None or isinstance(look, str):
        look = draw_look(look, rng, kind.finest_nm, kind.coarsest_nm)
    z, y, x = look.shape
    depth, pixel = look.voxel_size_nm[0], max(look.voxel_size_nm[1:])
    shifts = _jitter(look, rng)
    margin = int(np.abs(shifts).max())
    steps = int(np.clip(round(depth / max(pixel, _STEP_NM)), 1, _MOST_STEPS))
    grid = Grid((z * steps, y + 2 * margin, x + 2 * margin), (depth / steps, *look.voxel_size_nm[1:]))
    canvas = Canvas(grid, look.style, rng, kind.coarse_nm)
    report = progress or (lambda share, what: None)
    kind.draw(canvas, report)
    grey = integrate_sections(canvas.grey, steps, look.style.imaged_fraction)
    middle = slice(steps // 2, None, steps)
    grey, labels, instances = (
        _displaced(volume, shifts, margin)
        for volume in (grey, canvas.labels[middle], canvas.instances[middle])
    )
    image, hidden, missing = acquire(grey, look, rng)
    labels[missing], instances[missing | hidden] = 0, 0
    labels[hidden & ~missing] = IGNORE_LABEL
    report(1.0, "done")
    return SyntheticVolume(image, labels, renumber(instances), look.voxel_size_nm, look.style)


def _jitter(look: Look, rng: np.random.Generator) -> NDArray[np.int64]:
    """Displacement of each section along y and x, in pixels."""
    sigma = look.jitter_nm / np.array(look.voxel_size_nm[1:])
    return np.rint(np.clip(rng.standard_normal((look.shape[0], 2)), -2.5, 2.5) * sigma).astype(int)


def _displaced(volume: NDArray, shifts: NDArray[np.int64], margin: int) -> NDArray:
    _, y, x = volume.shape
    y, x = y - 2 * margin, x - 2 * margin
    starts = shifts + margin
    return np.stack([section[a : a + y, b : b + x] for section, (a, b) in zip(volume, starts, strict=True)])
