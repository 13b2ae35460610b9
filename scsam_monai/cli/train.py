"""``scsam train``: the bundle's training with settings that follow from the data, told before it starts."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scsam_monai.cli.options import print_table
from scsam_monai.cli.quiet import logging_from
from scsam_monai.errors import InputError

if TYPE_CHECKING:
    from scsam_monai.data.checks import DatasetReport
    from scsam_monai.data.dataset import DatasetDescription

SPLIT = "split/dataset.json"
"""In the run's folder: the data set with the part that was set aside."""
ARGUMENTS = {
    "dataset_dir": "scsam train DATASET",
    "run_dir": "scsam train DATASET RUN",
    "start_from": "--start-from MODEL",
    "resume": "--resume",
}
"""Keys of the config that are set by the command's own words."""


def train(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with dataset.json.")],
    run_dir: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="Folder for weights, scores and pictures; default: DATASET_run here."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Length; default: by how much is labelled.")
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Go on from a model of the same classes: model.pt or its folder."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any other key of bundle/configs/train.json; may be repeated."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
) -> None:
    """Train on a data set; without a validation part, a part of the training data is set aside for it."""
    from scsam_monai.data.dataset import load_dataset

    keys = _keys(set_ or [])
    given = load_dataset(dataset)
    run = run_dir or Path(f"{given.path.parent.name}_run")
    model = None if start_from is None else _model(start_from)
    from scsam_monai.data.checks import inspect_dataset  # brings torch

    with tempfile.TemporaryDirectory() as scratch:
        description = _with_validation(given, Path(scratch) / "dataset.json")
        report = inspect_dataset(description, compare=True)
        if report.problems:
            raise report.problems[0]
        settings = _settings(report, keys, epochs, model)
        _tell(description, report, settings)
        overrides = {"dataset_dir": str(description.path), "run_dir": _path(run), **settings["told"], **keys}
        overrides |= {} if model is None else {"start_from": str(model)}
        _check(overrides)
        with _in_one_line():
            _tell_time(description, report, overrides, settings)
    if dry_run:
        return
    description, moved = _make_room(given, description, run, model, resume)
    overrides["dataset_dir"] = _as_typed(description.path, dataset)
    overrides |= {} if moved is None else {"start_from": str(moved)}
    overrides |= {"resume": "auto"} if resume else {}
    _run(overrides, _again(moved))
    _finish(run, description, dataset)


def _make_room(
    given: DatasetDescription, description: DatasetDescription, run: Path, model: Path | None, resume: bool
) -> tuple[DatasetDescription, Path | None]:
    """Claim the run's folder, after all that can be refused, and write what was set aside into it.

    Returns:
        The description, and where the model to start from is now if it lay in an earlier run that was moved.
    """
    from scsam_monai.data.hold_out import copy_description
    from scsam_monai.training.run import claim_run_dir

    home = run.resolve()
    file = None if model is None else model.parent.resolve() / model.name
    earlier, moved = claim_run_dir(run, "auto" if resume else False), None
    if earlier is not None and file is not None and file.is_relative_to(home):
        moved = earlier / file.relative_to(home)
        typer.echo(f"starts from {moved}, where that run is now")
    if description is not given:
        description = copy_description(description, run / SPLIT)
        typer.echo(f"what was set aside: {run / SPLIT}")
    return description, moved


def _again(moved: Path | None) -> str:
    """Return the command that goes on with this run, if need be from where the model is now."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    if moved is not None:
        words = [*_without(words, "--start-from"), "--start-from", str(moved)]
    return shlex.join(["scsam", *words, "--resume"])


def _without(words: Sequence[str], option: str) -> list[str]:
    pairs = pairwise(["", *words])
    return [word for before, word in pairs if option not in (before, word.partition("=")[0])]


def _path(path: Path) -> str:
    """Return a path as MONAI's command line takes it for one: ``2024`` alone would be a number."""
    return str(path) if path.is_absolute() else f"./{path}"


def _as_typed(path: Path, typed: Path) -> str:
    """Return the path from here if that is how the data set was named; absolute folders are not recorded."""
    return str(path) if typed.is_absolute() else os.path.relpath(path)


def _keys(pairs: Sequence[str]) -> dict[str, str]:
    parts = [pair.partition("=") for pair in pairs]
    for pair, (key, equals, _) in zip(pairs, parts, strict=True):
        if not equals or not key or key.startswith("-"):
            raise InputError(
                "--set", expected="KEY=VALUE like epochs=20", met=repr(pair), remedy="correct it"
            )
        if key in ARGUMENTS:
            remedy = f"type {ARGUMENTS[key]} instead"
            raise InputError("--set", expected="a key without an argument of its own", met=key, remedy=remedy)
    return {key: value for key, _, value in parts}


def _model(path: Path) -> Path:
    from scsam_monai.weights.registry import check_model

    return check_model(path)


def _with_validation(description: DatasetDescription, target: Path) -> DatasetDescription:
    """Set a part aside where nothing is to be validated on, and say which."""
    from scsam_monai.data.hold_out import hold_out

    if description.validation:
        return description
    held = hold_out(description, target)
    typer.echo(f"no validation part: set aside {held.told}")
    return held.description


def _settings(
    report: DatasetReport, keys: Mapping[str, str], epochs: int | None, model: Path | None
) -> dict[str, Any]:
    """Return the config's own values, and beside them what the data tell (``told``)."""
    import json

    from scsam_monai.filesystem.bundle_folder import bundle_folder
    from scsam_monai.training.length import length_for
    from scsam_monai.weights.record import check_pixel_size, read_record

    config = json.loads((bundle_folder() / "configs" / "train.json").read_text("utf-8"))
    names = ("crop_size", "crops_per_epoch", "batch_size")
    own = {name: _whole(name, keys[name]) if name in keys else config[name] for name in names}
    pixel = None if model is None else check_pixel_size(read_record(model).get("pixel_size_nm"))
    told: dict[str, Any] = length_for(report, own["crop_size"], own["crops_per_epoch"], pixel).keys
    if "epochs" in keys:
        epochs = _whole("epochs", keys["epochs"])
    if epochs is not None:
        told |= {"epochs": epochs, "val_interval": max(1, epochs // 8)}
    told |= {name: _whole(name, keys[name]) for name in told if name in keys and keys[name].isdigit()}
    return {**own, **told, "told": told, "pixel_size_nm": pixel}


def _whole(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"--set {name}", expected="a whole number", met=repr(text), remedy="correct it")
    return int(text)


def _tell(description: DatasetDescription, report: DatasetReport, settings: Mapping[str, Any]) -> None:
    from scsam_monai.data.checks import voxels_by_section

    counts = voxels_by_section(report.items)
    parts = list(counts)
    rows = [
        [name, *(f"{counts[part][index]:,}" for part in parts)]
        for index, name in enumerate(description.class_names)
    ]
    print_table([["voxels", *parts], *rows])
    for warning in report.warnings:
        typer.echo(f"warning: {warning}")
    scored = (
        "validated" if not description.test else "validated, and the best weights are tested once at the end"
    )
    typer.echo(
        f"{settings['epochs']} epochs of {settings['crops_per_epoch']} crops from a pool of "
        f"{settings['pool_size']}, every {settings['val_interval']} {scored}"
    )


def _tell_time(
    description: DatasetDescription,
    report: DatasetReport,
    overrides: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Build all that the run builds, time its network, and say how long the run takes."""
    from scsam_monai.command_line import default_device
    from scsam_monai.progress import duration
    from scsam_monai.training.length import expected_seconds, measure_speed, windows_of
    from scsam_monai.training.rehearsal import rehearse

    network = rehearse(_config(), {key: _literal(value) for key, value in overrides.items()})
    speed = measure_speed(network, settings["crop_size"], settings["batch_size"], default_device())
    shapes = {
        part: [item.shape for item in report.items if item.section == part] for part in description.sections
    }
    windows = [
        windows_of(description.sections[part], shapes[part], settings["crop_size"], settings["pixel_size_nm"])
        for part in ("validation", "test")
    ]
    seconds = expected_seconds(speed, settings, *windows)
    typer.echo(f"about {duration(seconds)} on {default_device()}, by {speed.step:.2g} s for a step just now")


def _literal(value: Any) -> Any:
    import ast

    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value


def _config() -> str:
    from scsam_monai.filesystem.bundle_folder import bundle_folder

    return str(bundle_folder() / "configs" / "train.json")


def _words(overrides: Mapping[str, Any]) -> list[str]:
    words = ["monai.bundle", "run", "training", "--config_file", _config()]
    return words + [word for key, value in overrides.items() for word in (f"--{key}", str(value))]


def _check(overrides: Mapping[str, Any]) -> None:
    """Refuse keys that the config does not have, before anything takes time."""
    from scsam_monai.command_line import check_overrides

    check_overrides(_words(overrides))


def _run(overrides: Mapping[str, Any], again: str) -> None:
    """Run MONAI's command in this process, as if it had been typed."""
    import runpy
    import warnings

    import monai.bundle  # noqa: F401  # sets its loggers' levels, which are changed below

    # It warns of configs from strangers; this one is the bundle's own.
    warnings.filterwarnings("ignore", message="parsing config_file")
    before, sys.argv = sys.argv, _words(overrides)
    quiet = dict.fromkeys(("monai.bundle.workflows", "monai.bundle.scripts"), logging.WARNING)
    try:
        with logging_from(quiet), _in_one_line():
            runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        typer.echo(f"stopped; this goes on with it: {again}", err=True)
        raise typer.Exit(130) from None
    finally:
        sys.argv = before


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Raise an input error as it is, however deeply MONAI wrapped it."""
    from scsam_monai.command_line import input_error_in

    try:
        yield
    except Exception as error:
        cause = input_error_in(error)
        if cause is None:
            raise
        raise cause from None


def _finish(run: Path, description: DatasetDescription, typed: Path) -> None:
    from scsam_monai.report.page import write_page
    from scsam_monai.report.run_page import run_page

    with logging_from({"tensorboard": logging.WARNING}):
        page = run_page(run)
    written = write_page(page, run / "report.html")
    for warning in page.warnings:
        typer.echo(f"note: {warning}")
    typer.echo(f"weights: {run / 'model.pt'}")
    typer.echo(f"report:  {written}")
    typer.echo("next:")
    predict = ["scsam", "predict", "STACK.tif", "LABELS.ome.zarr", "--model", str(run)]
    needed, size = _voxel_size(description)
    told = f"   # and {shlex.join(size)}, if the stack states none" if not needed else ""
    typer.echo(f"  {shlex.join([*predict, *(size if needed else [])])}{told}")
    again = ["scsam", "train", str(typed), "--start-from", str(run)]
    typer.echo(f"  {shlex.join(again)}   # after more labels")


def _voxel_size(description: DatasetDescription) -> tuple[bool, list[str]]:
    """Return whether images like those of a data set need an option, and it, with their size if they share one."""
    from scsam_monai.io import read_header

    items = [item for part in description.sections.values() for item in part]
    needed = any(read_header(path).voxel_size_nm is None for path in {item["image"] for item in items})
    sizes = {tuple(item["voxel_size_nm"]) for item in items}
    size = ",".join(f"{edge:g}" for edge in sizes.pop()) if len(sizes) == 1 else "Z,Y,X"
    return needed, ["--voxel-size-nm", size]
