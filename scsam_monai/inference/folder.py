"""Several volumes, one after the other, each streamed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from scsam_monai.inference.job import stem_of
from scsam_monai.inference.predict import plan_job, run_job
from scsam_monai.inference.store import Progress
from scsam_monai.inference.windows import Windows

logger = logging.getLogger(__name__)


def stream_volumes(
    volumes: Sequence[str | Path],
    output_dir: str | Path,
    model: str | Path,
    colours: Callable[[int], np.ndarray],
    bars: Callable[[], AbstractContextManager[Progress]],
    *,
    postfix: str = "_labels",
    voxel_size_nm: Sequence[float] | None = None,
    windows: Windows | None = None,
    device: str | None = None,
) -> list[Path]:
    """Segment volumes into ``output_dir/NAME<postfix>.ome.zarr``; runs that were stopped are gone on with.

    Args:
        volumes: anything that :func:`scsam_monai.io.open_volume` reads.
        output_dir: made if missing.
        model: a trained ``model.pt``.
        colours: returns the colours (K', 3) uint8 of K' classes.
        bars: shows progress.
        postfix: behind the name of each volume.
        voxel_size_nm: (z, y, x), goes before what the files state.
        windows: how the network looks at a volume.
        device: where to compute; None takes a GPU where there is one.

    Returns:
        the outputs.

    Raises:
        InputError: if a volume, the model or the voxel size does not fit, or an output exists.
    """
    outputs = []
    for volume in volumes:
        output = Path(output_dir) / f"{stem_of(volume)}{postfix}.ome.zarr"
        with bars() as progress:
            job, opened = plan_job(
                volume,
                output,
                model,
                voxel_size_nm=voxel_size_nm,
                windows=windows,
                device=device,
                progress=progress,
            )
            run_job(
                job,
                colours(len(job.class_names)),
                resume=True,
                device=device,
                model=opened,
                progress=progress,
            )
        logger.info("%s -> %s", Path(volume).name, output)
        outputs.append(output)
    return outputs
