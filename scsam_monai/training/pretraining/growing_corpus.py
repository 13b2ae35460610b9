"""Volumes to pre-train on, generated in other processes while training already runs on the first ones."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scsam_monai.data.corpus import FIB25_SPLIT, FIB25_VOXEL_NM, HELD_OUT_SEEDS, KINDS
from scsam_monai.data.synthetic import TRAINING_STYLES, generate_volume
from scsam_monai.io import intensity_range, read_image, read_labels
from scsam_monai.io.intensity import eight_bits
from scsam_monai.threads import usable_cores
from scsam_monai.training.pretraining.instance_volumes import instance_volume
from scsam_monai.training.pretraining.volume_bank import BankVolume, section_parts

logger = logging.getLogger(__name__)

LEAST_SIDE = 80
"""Voxels on the shorter side of a section that is worth a look."""
FIRST_SEED = 1000


class GrowingCorpus:
    """Generated volumes and FIB-25 blocks, handed over as they become ready.

    Args:
        volumes: generated volumes to learn from.
        held_out: further ones, never learned from.
        fib25: folder with the FIB-25 blocks (CC BY) of neuroproof_examples; those that are there are used; None to
            do without.
        workers: processes; None for one a core, less one.
        shrink: divide the generated volumes' edges, for a rehearsal.

    Attributes:
        left_out: why volumes are missing, if any are.
    """

    def __init__(
        self,
        volumes: int = 64,
        held_out: int = 4,
        fib25: Path | None = None,
        workers: int | None = None,
        shrink: int = 1,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        workers = workers or max(1, usable_cores() - 1)
        self.left_out: list[str] = []
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
        blocks = (
            [] if fib25 is None else [name for name, file in FIB25_BLOCKS.items() if (fib25 / file).is_file()]
        )
        self._waiting = [self._pool.submit(fib25_block, fib25, name) for name in blocks if fib25]
        self._waiting += [
            self._pool.submit(generated_volume, index, False, shrink) for index in range(volumes)
        ]
        self._held = [self._pool.submit(generated_volume, index, True, shrink) for index in range(held_out)]
        if fib25 and "sample2" in blocks:
            self._held.append(self._pool.submit(fib25_block, fib25, "sample2", True))

    def submit(self, call: Callable[..., Any], *given: Any, **named: Any) -> Future[Any]:
        """Have the same processes do something else, after the volumes."""
        return self._pool.submit(call, *given, **named)

    def collect(self, at_least: int = 1) -> list[BankVolume]:
        """Hand over what has become ready since the last call, or nothing.

        Args:
            at_least: hand nothing over before so many are ready, or all.
        """
        ready = [future for future in self._waiting if future.done()]
        if len(ready) < min(at_least, len(self._waiting)):
            return []
        self._waiting = [future for future in self._waiting if future not in ready]
        return [volume for future in ready if (volume := self._result(future)) is not None]

    def wait(self, count: int) -> list[BankVolume]:
        """Hand over the first ``count`` to become ready, and what else is."""
        for number, _ in enumerate(as_completed(self._waiting), start=1):
            if number >= count:
                break
        return self.collect()

    def held_out(self) -> list[BankVolume]:
        """The volumes that are never learned from."""
        return [volume for future in self._held if (volume := self._result(future)) is not None]

    def _result(self, future: Future[BankVolume]) -> BankVolume | None:
        """One volume that fails must not cost a run of minutes: it is named and left out."""
        try:
            return future.result()
        except Exception as error:
            self.left_out.append(f"{type(error).__name__}: {error}")
            logger.warning("a volume was left out: %s", self.left_out[-1])
            return None

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)


FIB25_BLOCKS = {"sample2": "sample2_raw.tif", "sample1": "sample1_raw_unlabelled.tif"}


def generated_volume(index: int, held_out: bool = False, shrink: int = 1) -> BankVolume:
    """Draw the ``index``-th volume of a corpus; the same as ``scsam corpus`` draws."""
    styles = list(TRAINING_STYLES)
    kind, style = KINDS[index % len(KINDS)], styles[index % len(styles)]
    shape = tuple(max(4, edge // shrink) for edge in kind.shape)
    seed = FIRST_SEED + index + HELD_OUT_SEEDS * held_out
    drawn = generate_volume((shape[0], shape[1], shape[2]), kind.voxel_size_nm, seed, style)
    return _bank_volume(f"generated {index}", drawn.image, drawn.instances, kind.voxel_size_nm, drawn.labels)


def fib25_block(folder: Path, name: str, held_out: bool = False) -> BankVolume:
    """Read a block; of the annotated one the sections that are learned from, or the ones held out."""
    image = read_image(folder / FIB25_BLOCKS[name]).array
    if name != "sample2":
        low, high = intensity_range(image, where=name)
        return BankVolume(eight_bits(image, low, high), planes=(0, 1, 2))
    sections = slice(FIB25_SPLIT[1], None) if held_out else slice(None, FIB25_SPLIT[0])
    bodies = read_labels(folder / "sample2_neuron_bodies.tif").array
    return _bank_volume(name, image[sections], bodies[sections], FIB25_VOXEL_NM)


def _bank_volume(
    name: str,
    image: NDArray[Any],
    instances: NDArray[Any],
    voxel_size_nm: tuple[float, float, float],
    classes: NDArray[np.uint8] | None = None,
) -> BankVolume:
    volume = instance_volume(name, image, instances, voxel_size_nm)
    fits = tuple(axis for axis in volume.planes if min(np.delete(volume.image.shape, axis)) >= LEAST_SIDE)
    planes = fits or (0,)
    return BankVolume(volume.image, planes, section_parts(volume.instances, planes), volume.anchors, classes)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
