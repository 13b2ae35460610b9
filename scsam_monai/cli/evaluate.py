"""``scsam evaluate``: a prediction beside its ground truth, scores out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsam_monai.cli.objects import ClassNames, Ignore, VoxelSizeOption, parse_class_names
from scsam_monai.cli.options import numbers, print_table
from scsam_monai.errors import InputError

if TYPE_CHECKING:
    from scsam_monai.io.image import Region
    from scsam_monai.measure.labels import LabelReader

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
    voxel_size_nm: VoxelSizeOption = None,
    class_names: ClassNames = None,
    ignore_label: Ignore = 255,
) -> None:
    """Score a prediction against the ground truth, per class and in nm, with 95 % intervals."""
    from scsam_monai.measure.labels import LabelReader
    from scsam_monai.progress import progress_of, stage_bars

    size = numbers("--voxel-size-nm", voxel_size_nm, float, "numbers (z, y, x) like 50,4.6,4.6")
    sizes = numbers("--sizes-nm", sizes_nm, float, "sizes in nm like 100,300,1000") or []
    names = parse_class_names(class_names)
    if output is not None and output.exists():
        raise InputError(
            output, expected="no output yet", met="one that is there", remedy="remove it or name another"
        )
    with (
        LabelReader(truth, size, names, ignore_label=ignore_label) as true,
        LabelReader(prediction, size or true.voxel_size_nm, names) as predicted,
    ):
        region = _region(true, predicted, z)
        both = {**true.names, **predicted.names}
        _check_same_names(true, predicted)
        arrays = [reader.read(region) for reader in (predicted, true)]
    if (arrays[0] == ignore_label).any():
        raise InputError(
            prediction,
            expected="a class for every voxel",
            met=f"the label of unknown voxels, {ignore_label}",
            remedy="name the prediction first, the ground truth second, or set --ignore-label",
        )
    if true.ndim == 2:
        arrays = [array[0] for array in arrays]
    known_ids = arrays[1][arrays[1] != ignore_label]
    highest = max(int(arrays[0].max()), int(known_ids.max(initial=0)), *both, 0)
    titles = [both.get(k, "background" if k == 0 else f"class {k}") for k in range(highest + 1)]
    known = None if annotated is None else true.class_ids(annotated, "--annotated")

    from scsam_monai.metrics.evaluation import evaluate_labels
    from scsam_monai.metrics.evaluation_files import evaluation_rows, write_evaluation

    with stage_bars() as progress:
        found = evaluate_labels(
            arrays[0],
            arrays[1],
            titles,
            true.voxel_size_nm,
            annotated=known,
            ignore_label=ignore_label,
            tolerance_nm=tolerance_nm,
            tolerance_px=tolerance_px,
            sizes_nm=sizes,
            resample=resample.value,
            samples=samples,
            seed=seed,
            progress=progress_of("scoring", progress),
        )
    print_table(evaluation_rows(found))
    typer.echo(f"in brackets: 95 % intervals over {found.parts} {resample.value} drawn with replacement")
    if output is not None:
        stated = {
            "prediction": prediction.name,
            "truth": truth.name,
            "voxel_size_nm": list(true.voxel_size_nm),
            "z": z,
            "tolerance_nm": tolerance_nm
            if tolerance_nm is not None
            else 2 * max(true.voxel_size_nm[-true.ndim :]),
            "tolerance_px": tolerance_px,
            "resample": resample.value,
            "samples": samples,
            "seed": seed,
        }
        typer.echo(write_evaluation(output, found, stated))


def _region(true: LabelReader, predicted: LabelReader, z: str | None) -> Region:
    import math

    from scsam_monai.data.importers.splits import parse_z_range

    if true.shape != predicted.shape:
        raise InputError(
            predicted.path,
            expected=f"the shape of the ground truth, {true.shape}",
            met=f"{predicted.shape}",
            remedy="compare a prediction with the labels of the same volume",
        )
    first, last = (0, true.shape[0]) if z is None else parse_z_range(z, where="--z")
    region = ((first, last), (0, true.shape[1]), (0, true.shape[2]))
    voxels = math.prod(stop - start for start, stop in region)
    if voxels > MOST_VOXELS:
        raise InputError(
            true.path,
            expected=f"at most {MOST_VOXELS:,} voxels at a time",
            met=f"{voxels:,}",
            remedy="score a part of it with --z START:STOP",
        )
    return region


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
