"""From a few annotated images to a model for the user's tissue, in minutes.

A part of the labels is held back first, in blocks, and scores the start model and the adapted one alike. Only an
adapted model that is better takes the place of a model; it then learns from all labels once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy.typing as npt

from scsam_monai.progress import StageProgress

Source = str | Path | npt.ArrayLike
"""An image or a label image: a path, or an array (y, x) or (z, y, x)."""


@dataclass(frozen=True)
class AdaptResult:
    """What came of an adaptation.

    Attributes:
        model: the model to use now: ``model.pt`` in the output folder, or the start model where that was better.
        adapted: whether ``model`` is a new one.
        before: IoU of each class on the held-back part, by name, of the start model; NaN where the part has none
            of the class; 0 for a class that the model does not know.
        after: the same of the adapted model, before it learned from the held-back part, too.
        mean_before: mean over the classes that the held-back part has, background left out; NaN if there are none.
        mean_after: the same of the adapted model.
        notes: what the user should know, a sentence each: rare classes, what 0 was taken for, how it started.
        next_command: what to type next, with the model in place.
    """

    model: Path
    adapted: bool
    before: dict[str, float]
    after: dict[str, float]
    mean_before: float
    mean_after: float
    notes: list[str] = field(default_factory=list)
    next_command: str = ""


def adapt(
    images: Source | Sequence[Source],
    labels: Source | Sequence[Source] | None,
    output_dir: str | Path,
    *,
    model: str | Path = "scsam",
    class_names: Mapping[int, str] | Mapping[str, str] | Sequence[str] | None = None,
    voxel_size_nm: Sequence[float] | None = None,
    minutes: float = 5.0,
    unlabelled: int | None = None,
    progress: StageProgress | None = None,
    stop: Callable[[], bool] | None = None,
    tell: Callable[[str], None] | None = None,
) -> AdaptResult:
    """Adapt a model to one or a few annotated images, or regions of them.

    It may be called in a thread, and prints nothing. A call that was stopped, by whatever, goes on where it was when
    it is made again with the same labels and settings.

    Args:
        images: one image or several: arrays, paths, a folder of images, or a data set folder with ``dataset.json``.
        labels: as many label images, paired in their order, or a folder, paired by what names have in common; None
            for a data set. Voxels of the value 255 or -1 are unknown.
        output_dir: gets ``model.pt`` and ``model.json``, ``adapt.json`` with the scores and how it was made, and
            while it works a folder ``work``.
        model: to start from: ``scsam``, which comes with the package, a ``model.pt`` or its folder.
        class_names: class name by label value, such as ``{1: "membrane", 2: "mitochondrion"}``, or by range as in
            ``scsam import``, or names in the order of the values. ``background`` and ``unknown`` are no classes of
            their own. None takes the names that the label file carries, or those of a model of the user's.
        voxel_size_nm: (z, y, x); needed for arrays and for files that state none.
        minutes: of processor time, those of all cores added up.
        unlabelled: a further label value of voxels that nobody looked at, usually 0. None takes 0 for background only
            if ``class_names`` says so or the labels have other unknown voxels, and asks otherwise.
        progress: called with the stage, what of it is done, and how much there is.
        stop: asked after each step; True ends the work with :class:`InterruptedError`.
        tell: called with each note of the result as soon as it is known, rare classes first.

    Returns:
        scores before and after, and the model to use.

    Raises:
        InputError: if files, labels, classes or voxel sizes do not fit, or nothing can be learned.
        InterruptedError: if ``stop`` asked for it.
    """
    raise NotImplementedError  # in progress
