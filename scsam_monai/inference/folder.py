"""Several volumes, one after the other, each streamed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from scsam_monai.errors import InputError
from scsam_monai.inference.job import progress_folder, stem_of
from scsam_monai.inference.model import Model, ModelFile
from scsam_monai.inference.planning import plan_job
from scsam_monai.inference.run import run_job
from scsam_monai.inference.windows import Windows
from scsam_monai.io.formats import place_and_dataset
from scsam_monai.io.inventory import Inventory
from scsam_monai.io.ome_zarr_volume import LabelVolume
from scsam_monai.io.volume import VolumeReader, open_volume
from scsam_monai.progress import StageProgress

logger = logging.getLogger(__name__)


def stream_volumes(
    volumes: Sequence[str | Path],
    output_dir: str | Path,
    model: str | Path,
    colours: Callable[[Sequence[str]], np.ndarray],
    bars: Callable[[], AbstractContextManager[StageProgress]],
    *,
    postfix: str = "_labels",
    voxel_size_nm: Sequence[float] | None = None,
    axes: str | None = None,
    windows: Windows | None = None,
    device: str | torch.device | None = None,
) -> list[Path]:
    """Segment volumes into ``output_dir/NAME<postfix>.ome.zarr``.

    Runs that were stopped are gone on with, and finished ones of the same job are passed over.

    Args:
        volumes: anything that :func:`scsam_monai.io.open_volume` reads.
        output_dir: made if missing.
        model: a trained ``model.pt``.
        colours: returns the colours (K', 3) uint8 of classes by their names.
        bars: shows progress.
        postfix: behind the name of each volume.
        voxel_size_nm: (z, y, x), goes before what the files state.
        axes: letters of the stored axes where the files do not say.
        windows: how the network looks at a volume.
        device: where to compute; None takes a GPU where there is one.

    Returns:
        the outputs.

    Raises:
        InputError: if a volume, the model or the voxel size does not fit, or an output of another job exists.
    """
    windows, outputs = windows or Windows(), []
    file = ModelFile(model)
    opened: Model | None = None
    for volume in volumes:
        output = Path(output_dir) / f"{stem_of(volume)}{postfix}.ome.zarr"
        outputs.append(output)
        with open_volume(volume, axes=axes) as reader, bars() as progress:
            if _is_finished(output, reader, file, windows, voxel_size_nm, axes):
                logger.info("%s is finished", output)
                continue
            job, opened = plan_job(
                reader,
                output,
                opened or file,
                axes=axes,
                voxel_size_nm=voxel_size_nm,
                windows=windows,
                device=device,
                progress=progress,
            )
            run_job(
                job,
                colours(job.class_names),
                resume=True,
                device=device,
                model=opened,
                volume=reader,
                progress=progress,
            )
        logger.info("%s -> %s", Path(volume).name, output)
    return outputs


def _is_finished(
    output: Path,
    volume: VolumeReader,
    model: ModelFile,
    windows: Windows,
    voxel_size_nm: Sequence[float] | None,
    axes: str | None,
) -> bool:
    """Say whether an output is there whole and was made of the same things: every class, nothing inverted."""
    if not output.exists() or progress_folder(output).exists():
        return False
    try:
        made = LabelVolume(output).attributes
    except InputError:  # somebody else's
        return False
    source, (black, white) = made.get("source", {}), made.get("intensity", (0, 1))
    place, dataset = place_and_dataset(volume.path)
    return (
        (source.get("path"), source.get("dataset")) == (place.name, dataset)
        and source.get("modified") == Inventory(volume).digest
        and made.get("model_sha256") == model.sha256
        and source.get("axes") == axes
        and source.get("sections") is None
        and made.get("windows") == asdict(windows)
        and made.get("selection") is None
        and made.get("empty_label", 0) == 0
        and black < white
        and (
            voxel_size_nm is None or made.get("voxel_size_nm", [])[-len(voxel_size_nm) :] == [*voxel_size_nm]
        )
    )
