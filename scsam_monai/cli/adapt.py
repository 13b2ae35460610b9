"""``scsam adapt``: from a few annotated images to a model for the user's tissue."""

from __future__ import annotations

import logging
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsam_monai.cli.options import parse_classes, print_table, voxel_size
from scsam_monai.cli.quiet import logging_from

if TYPE_CHECKING:
    from scsam_monai.training.adapt import AdaptResult

ERRORS_ALONE = {"scsam_monai": logging.ERROR, "monai": logging.ERROR, "ignite": logging.CRITICAL}
"""Ignite tells an error that is raised, too."""
MOST_MINUTES = 15.0
"""Beyond which more of them help little."""


def adapt(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="Image, or a folder of images, or a data set.")
    ],
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="[LABELS]", help="Label image, or a folder of as many, paired by names."),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="To start from: scsam, a model.pt or its folder.")
    ] = "scsam",
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For the model; default: IMAGE_model here.")
    ] = None,
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="VALUE=NAME",
            help="Class name of a label value or a range of them; also background, unknown. May be repeated.",
        ),
    ] = None,
    unlabelled: Annotated[
        int | None,
        typer.Option(metavar="VALUE", help="Label value where nobody looked, often 0; 255 and -1 always."),
    ] = None,
    voxel_size_nm: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="Voxel size in nm, if the image does not state it.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Time to take, in minutes of one processor core.")
    ] = 5.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after a stop; the same command without it does so, too.")
    ] = False,
) -> None:
    """Adapt a model to a few annotated images, or to one of which a part is annotated."""
    from scsam_monai.io.formats import name_of_image
    from scsam_monai.progress import stage_bars
    from scsam_monai.training.adapt import adapt as run

    del resume
    target = output or Path(f"{name_of_image(image.resolve())}_model")
    try:
        with logging_from(ERRORS_ALONE), stage_bars() as progress:
            result = run(
                image,
                labels,
                target,
                model=model,
                class_names=parse_classes(class_) if class_ else None,
                voxel_size_nm=voxel_size(voxel_size_nm),
                minutes=minutes,
                unlabelled=unlabelled,
                progress=progress,
                tell=typer.echo,
            )
    except KeyboardInterrupt:
        again = shlex.join(["scsam", *sys.argv[1:]])
        typer.echo(f"stopped; nothing is lost, this goes on with it: {again}", err=True)
        raise typer.Exit(130) from None
    _tell(result, minutes)


def _tell(result: AdaptResult, minutes: float) -> None:
    rows = [[name, _score(result.before, name), _score(result.after, name)] for name in result.after]
    mean = ["mean", *(_shown(value) for value in (result.mean_before, result.mean_after))]
    typer.echo("IoU on the held-back part:")
    print_table([["class", "before", "after"], *rows, mean])
    typer.echo(f"model: {result.model}")
    typer.echo("next:")
    if result.adapted:
        typer.echo(f"  {result.next_command}")
        return
    typer.echo(f"  {_again(sys.argv[1:], minutes)}   # after more labels, in several places")
    typer.echo(f"  {result.next_command}   # meanwhile, with the model that stays")


def _again(words: Sequence[str], minutes: float) -> str:
    """Return the command as it was typed, with twice the minutes, but no more of them than are known to help."""
    kept, skipped = [], False
    for word in words:
        if not skipped and word != "--minutes" and not word.startswith("--minutes="):
            kept.append(word)
        skipped = word == "--minutes"
    more = max(minutes, min(2 * minutes, MOST_MINUTES))
    return shlex.join(["scsam", *kept, "--minutes", f"{more:g}"])


def _score(scores: Mapping[str, float], name: str) -> str:
    return _shown(scores[name])


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
