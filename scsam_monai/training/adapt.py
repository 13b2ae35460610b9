"""From a few annotated images to a model for the user's tissue, in minutes.

A part of the labels is held back first, in blocks, and scores the start model and the adapted one alike. Only a
model that is better there takes the place of one, after it has learned from all labels.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy.typing as npt

from scsam_monai.data.annotations import Annotations, read_annotations
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import check_writable
from scsam_monai.filesystem.locks import holder, lease
from scsam_monai.io import read_header
from scsam_monai.io.formats import name_of_image
from scsam_monai.progress import StageProgress
from scsam_monai.weights.model_file import ModelFile
from scsam_monai.weights.registry import MODEL_FILE, SHIPPED_MODEL, check_model

LOCK = ".adapt.lock"
WORK = "work"
"""In the output folder while an adaptation is under way."""

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

    It may be called in a thread, and prints nothing. A call that was stopped, by whatever, goes on where it was
    when it is made again with the same labels and settings.

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
        unlabelled: a further label value of voxels that nobody looked at, usually 0. None takes 0 for background if
            ``class_names`` says so or the labels have other unknown voxels, and asks otherwise.
        progress: called with the stage, what of it is done, and how much there is.
        stop: asked after each step; True ends the work with :class:`InterruptedError`.
        tell: called with each note of the result as soon as it is known, rare classes first.

    Returns:
        scores before and after, and the model to use.

    Raises:
        InputError: if files, labels, classes or voxel sizes do not fit, or nothing can be learned.
        InterruptedError: if ``stop`` asked for it.
    """
    if not 0 < minutes < math.inf:
        raise InputError("minutes", expected="more than 0", met=f"{minutes:g}", remedy="give minutes, like 5")
    output, say = Path(output_dir), tell or _silent
    start = _start_model(model, output)
    with _alone(output):
        found = read_annotations(
            images,
            labels,
            class_names=class_names,
            model_names=None if is_shipped(start) else start.record.get("class_names"),
            voxel_size_nm=voxel_size_nm,
            unlabelled=unlabelled,
            folder=output / WORK / "images",
        )
        for note in found.notes:
            say(note)
        if progress is not None:
            progress("starting", 0, 1)
        from scsam_monai.training.adaptation import Adaptation  # brings torch

        result = Adaptation(output, output / WORK, start, found, minutes, say, progress, stop).run()
    return replace(result, next_command=_next_command(found, result.model, output))


def is_shipped(model: ModelFile) -> bool:
    """Whether a model is the one that comes with the package."""
    return model.path == check_model(SHIPPED_MODEL)


def told_name(model: ModelFile) -> str:
    """Return how a command names a model: by its folder, where its file has the usual name."""
    if is_shipped(model):
        return SHIPPED_MODEL
    return str(model.path.parent if model.path.name == MODEL_FILE else model.path)


def _silent(_note: str) -> None:
    pass


def _start_model(model: str | Path, output: Path) -> ModelFile:
    """Return the model to start from: by default the one that an earlier adaptation has left in the folder."""
    own = output / MODEL_FILE
    if not own.is_file():
        return ModelFile(model)
    named = None if str(model) == SHIPPED_MODEL else check_model(model)
    if named is not None and not named.samefile(own):
        raise InputError(
            output,
            expected="a folder without a model, or that model as the start",
            met=f"{own.name} in it, and another start, {named}",
            remedy=f"name another --output, or go on from it: --model {shlex.quote(str(output))}",
        )
    return ModelFile(own)


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the folder, which is made if there is none, and goes again if nothing came to be in it."""
    check_writable(output)
    lock = output / LOCK
    with lease(lock) as mine:
        if not mine:
            met = f"one that {holder(lock)} adapts in"
            remedy = "wait until that has ended, or name another --output"
            raise InputError(output, expected="a folder of its own", met=met, remedy=remedy)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # which it raises for a folder that holds something
                output.rmdir()


def _next_command(found: Annotations, model: Path, output: Path) -> str:
    """Return how to segment with a model: the first image where there is a file of it."""
    first = found.learn[0]
    image, target = Path("IMAGE"), Path("LABELS.ome.zarr")
    if output.absolute() not in first.image.absolute().parents:  # as an array's file is
        image = Path(os.path.relpath(first.image))
        stem = name_of_image(image)
        names = (f"{stem}_labels{f'_{number}' if number else ''}.ome.zarr" for number in count())
        target = next(path for path in map(Path, names) if not path.exists())
    words = ["scsam", "predict", str(image), str(target), "--model", told_name(ModelFile(model))]
    stated = read_header(image).voxel_size_nm if image.name != "IMAGE" else None
    if stated is None or list(stated) != first.voxel_size_nm:
        words += ["--voxel-size-nm", ",".join(f"{edge:g}" for edge in first.voxel_size_nm)]
    return shlex.join(words)
