"""``scsam evaluate``: a prediction beside its ground truth, scores out."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsam_monai.cli.objects import Ignore, VoxelSizeOption
from scsam_monai.cli.options import Axes, as_typed, numbers, parse_classes, print_table, voxel_size
from scsam_monai.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from scsam_monai.io.image import Region
    from scsam_monai.io.volume import VolumeReader
    from scsam_monai.measure.labels import LabelReader
    from scsam_monai.measure.truth import Pair

MOST_VOXELS = 400_000_000
"""Both volumes are held in memory, with some 40 bytes for each voxel."""


class Parts(StrEnum):
    """What the intervals are drawn from."""

    BLOCKS = "blocks"
    SECTIONS = "sections"


def evaluate(
    prediction: Annotated[Path, typer.Argument(metavar="PREDICTION", help="Predicted class ids.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="True class ids of the same volume.")],
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="New folder for CSV and JSON; default: print alone.")
    ] = None,
    annotated: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A class that is annotated, if not all are; repeat."),
    ] = None,
    z: Annotated[
        str | None, typer.Option(metavar="START:STOP", help="Score these sections alone, the end excluded.")
    ] = None,
    tolerance_nm: Annotated[
        float | None,
        typer.Option(min=0, help="Of the surface Dice; default: two of the longest voxel edges."),
    ] = None,
    tolerance_px: Annotated[float, typer.Option(min=0, help="Of the boundary F1, in a section.")] = 2.0,
    sizes_nm: Annotated[
        str, typer.Option(metavar="NM,...", help="Edges between ranges of object size (diameter).")
    ] = "100,300,1000",
    resample: Annotated[
        Parts, typer.Option(help="Draw intervals from blocks of the volume, or from sections.")
    ] = Parts.BLOCKS,
    samples: Annotated[int, typer.Option(min=0, help="Draws for the intervals; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    axes: Axes = None,
    voxel_size_nm: VoxelSizeOption = None,
    class_names: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="VALUE=NAME",
            help="Class of a value of the truth, of 2-28, of others; of both files if the prediction names none.",
        ),
    ] = None,
    ignore_label: Ignore = 255,
) -> None:
    """Score a prediction against the ground truth, per class and in nm, with 95 % intervals."""
    from scsam_monai.io.inventory import Inventory
    from scsam_monai.io.volume import open_volume
    from scsam_monai.measure.labels import LabelReader
    from scsam_monai.measure.truth import pair_classes
    from scsam_monai.progress import progress_of, stage_bars

    size = voxel_size(voxel_size_nm)
    sizes = _sizes(sizes_nm)
    values = parse_classes(class_names) if class_names else None
    if output is not None and output.exists():
        raise InputError(
            output, expected="no output yet", met="one that is there", remedy="remove it or name another"
        )
    with _opened(prediction, axes) as predicted_volume, open_volume(truth, axes=axes) as true_volume:
        size = _voxel_size(predicted_volume, true_volume, size)
        true = LabelReader(true_volume, size, ignore_label=ignore_label)
        predicted = LabelReader(predicted_volume, size)
        regions, sections = _regions(true, predicted, z)
        if values is None:
            _check_same_names(true, predicted)
        files = None if output is None else Inventory(predicted_volume).digest
        arrays = [reader.read(region) for reader, region in zip((predicted, true), regions, strict=True)]
    ndim = min(true.ndim, predicted.ndim)
    if ndim == 2:
        arrays = [array[0] for array in arrays]
    pair = pair_classes(
        arrays[0],
        arrays[1],
        predicted.names or (true.names if values is None else {}),
        values,
        ignore_label=ignore_label,
        where=(prediction, truth),
    )
    known = None if annotated is None else pair.class_ids(annotated, "--annotated")

    from scsam_monai.metrics.evaluation import evaluate_labels
    from scsam_monai.metrics.evaluation_files import evaluation_rows, write_evaluation

    with stage_bars() as progress:
        found = evaluate_labels(
            pair.prediction,
            pair.truth,
            pair.names,
            true.voxel_size_nm,
            annotated=known,
            ignore_label=pair.ignore_label,
            tolerance_nm=tolerance_nm,
            tolerance_px=tolerance_px,
            sizes_nm=sizes,
            resample=resample.value,
            samples=samples,
            seed=seed,
            progress=progress_of("scoring", progress),
        )
    print_table(evaluation_rows(found))
    if samples:
        typer.echo(f"in brackets: 95 % intervals over {found.parts} {resample.value} drawn with replacement")
    if values is None and predicted.names and not true.names:
        _tell_meaning(pair, truth)
    if known is None:
        _tell_absent(pair, truth, found.confusion)
    _tell(pair, truth)
    if output is not None:
        stated = {
            "prediction": prediction.name,
            "prediction_path": str(prediction.resolve()),
            "prediction_files": files,
            "truth": truth.name,
            "voxel_size_nm": list(true.voxel_size_nm),
            "z": sections,
            "classes": values,
            "unknown_share_of_truth": pair.unknown,
            "tolerance_nm": tolerance_nm if tolerance_nm is not None else 2 * max(true.voxel_size_nm[-ndim:]),
            "tolerance_px": tolerance_px,
            "resample": resample.value,
            "samples": samples,
            "seed": seed,
        }
        typer.echo(write_evaluation(output, found, stated))


def _sizes(text: str) -> list[float]:
    expected = "ascending sizes above 0 in nm like 100,300,1000"
    sizes = numbers("--sizes-nm", text, float, expected) or []
    if not all(one < other for one, other in pairwise([0.0, *sizes])):
        raise InputError("--sizes-nm", expected=expected, met=repr(text), remedy="correct it")
    return sizes


def _opened(prediction: Path, axes: str | None) -> VolumeReader:
    """Open a prediction; one that this package wrote says itself what its axes are."""
    from scsam_monai.io.label_legend import read_legend
    from scsam_monai.io.volume import open_volume

    return open_volume(prediction, axes=None if prediction.exists() and read_legend(prediction) else axes)


def _voxel_size(predicted: VolumeReader, true: VolumeReader, given: list[float] | None) -> list[float] | None:
    """Return the size that was given, else the one that a file states, and tell where these differ."""
    stated = {volume.path: volume.voxel_size_nm for volume in (true, predicted) if volume.voxel_size_nm}
    if given is None and true.voxel_size_nm is None and predicted.voxel_size_nm is not None:
        typer.echo(
            f"{true.path.name} states no voxel size: that of {predicted.path.name} is taken, "
            f"{_nm(predicted.voxel_size_nm)}",
            err=True,
        )
    taken = given or next(iter(stated.values()), None)
    if taken is None or len(taken) not in (2, 3):
        return given
    for path, size in stated.items():
        edges = range(-min(len(taken), true.ndim), 0)
        if any(not math.isclose(taken[axis], size[axis], rel_tol=0.01) for axis in edges):
            typer.echo(f"warning: {path.name} states {_nm(size)}, scored with {_nm(taken)}", err=True)
    return [*taken]


def _nm(size: Sequence[float]) -> str:
    return f"{', '.join(f'{edge:g}' for edge in size)} nm"


def _tell_meaning(pair: Pair, truth: Path) -> None:
    """Say which class each value of the truth was taken for, as its file states none."""
    import numpy as np

    there = [index for index in np.unique(pair.truth).tolist() if index not in (0, pair.ignore_label)]
    if there:
        taken = ", ".join(f"{index} for {pair.names[index]}" for index in there)
        typer.echo(
            f"values of {truth.name} were taken by the prediction's numbers: {taken}; --class VALUE=NAME says "
            "otherwise",
            err=True,
        )


def _tell_absent(pair: Pair, truth: Path, confusion: np.ndarray) -> None:
    """Name the classes that the prediction has where the truth is known, and the truth has not."""
    _, *rows = zip(pair.names, confusion.sum(axis=1), confusion.sum(axis=0), strict=True)
    there = [name for name, true, _ in rows if true]
    absent = [name for name, true, drawn in rows if drawn and not true]
    if absent and there:
        words = shlex.join(as_typed(annotated=there))
        typer.echo(
            f"{truth.name} has no {', '.join(absent)}, which the prediction has: they score 0; if nobody "
            f"looked for them, {words}",
            err=True,
        )


def _tell(pair: Pair, truth: Path) -> None:
    """Say what does not show in the scores."""
    if pair.unknown:
        typer.echo(
            f"unknown in {truth.name}: {pair.unknown:.2%} of the voxels, which count nowhere", err=True
        )
    if pair.undecided:
        typer.echo(
            f"note: {pair.undecided:,} voxels that the prediction leaves unknown count as background",
            err=True,
        )
    if not ((pair.truth != 0) & (pair.truth != pair.ignore_label)).any():
        typer.echo(f"warning: no voxel of {truth.name} is of any class", err=True)


def _regions(
    true: LabelReader, predicted: LabelReader, z: str | None
) -> tuple[tuple[Region, Region], str | None]:
    """What to read of the prediction and of the truth, and which sections of the truth these are, None for all."""
    from scsam_monai.data.directions import warn_of_directions
    from scsam_monai.data.importers.splits import parse_z_range

    warn_of_directions(true.path, predicted.path)
    depth, height, width = true.shape
    first, last = 0, depth
    if predicted.shape != true.shape:
        first, last = _sections_of(true, predicted)
        typer.echo(f"{predicted.path.name} is of sections {first}:{last} of {true.path.name}", err=True)
    start, stop = (first, last) if z is None else parse_z_range(z, where="--z")
    if not first <= start < stop <= last:
        raise InputError(
            "--z",
            expected=f"sections from {first} to {last}, the end excluded",
            met=f"{z}",
            remedy=f"like --z {first}:{last}",
        )
    plane = ((0, height), (0, width))
    voxels = (stop - start) * height * width
    if voxels > MOST_VOXELS:
        raise InputError(
            true.path,
            expected=f"at most {MOST_VOXELS:,} voxels at a time",
            met=f"{voxels:,}",
            remedy="score a part of it with --z START:STOP",
        )
    regions = ((start - first, stop - first), *plane), ((start, stop), *plane)
    return regions, None if stop - start == depth else f"{start}:{stop}"


def _sections_of(true: LabelReader, predicted: LabelReader) -> tuple[int, int]:
    """Which sections of the truth a prediction is of, by what both record of the whole stack."""
    from scsam_monai.io.stated_offset import stated_offset
    from scsam_monai.measure.recorded import recorded_sections

    whole, part = recorded_sections(true.path), recorded_sections(predicted.path)
    place = round(stated_offset(predicted.path)[0] - stated_offset(true.path)[0])
    known = part is not None or place > 0
    first = (place if part is None else part[0]) - (0 if whole is None else whole[0])
    last = first + predicted.shape[0]
    if not known or predicted.shape[1:] != true.shape[1:] or not 0 <= first < last <= true.shape[0]:
        raise InputError(
            predicted.path,
            expected=f"the shape of the ground truth, {true.shape}",
            met=f"{predicted.shape}" + (f" from section {first} on" if known else ""),
            remedy="compare a prediction with the labels of the same volume",
        )
    return first, last


def _check_same_names(true: LabelReader, predicted: LabelReader) -> None:
    for class_id, name in true.names.items():
        other = predicted.names.get(class_id, name)
        if other != name:
            raise InputError(
                predicted.path,
                expected=f"class {class_id} to be {name}, as in the ground truth",
                met=other,
                remedy="bring both to the same class ids, or name the classes with --class",
            )
