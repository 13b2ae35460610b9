"""The stages of an adaptation: score a model on the held-back part, train, each by the bundle's own configs."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from scsam_monai.command_line import input_error_in
from scsam_monai.errors import InputError
from scsam_monai.filesystem.bundle_folder import bundle_folder
from scsam_monai.inference.model import open_model
from scsam_monai.networks.renamed import Renamed
from scsam_monai.progress import Progress
from scsam_monai.training.handlers.adapting import Watch
from scsam_monai.training.run import release_run_dir
from scsam_monai.weights.model_file import ModelFile

CONFIGS = ("train.json", "cpu_budget.json", "adapt.json")


def score_model(model: ModelFile, dataset: Path, names: Sequence[str]) -> dict[str, float]:
    """Score a model of whatever classes on the validation part of a data set.

    Args:
        model: whose classes are told by their names.
        dataset: ``dataset.json``.
        names: its classes, background first.

    Returns:
        ``mean_iou`` and the IoU of each class by its name; NaN where there is nothing to score.
    """
    opened = open_model(model)
    workflow = _workflow({"dataset_dir": dataset, "validate::handlers": []})
    workflow.parser["network"] = Renamed(opened.network, opened.class_names, names)
    workflow.parser.parse(reset=True)
    evaluator = workflow.parser.get_parsed_content("validate::evaluator")
    evaluator.run()
    return _scores(evaluator.state.metrics, names)


def train_stage(
    dataset: Path,
    run_dir: Path,
    minutes: float,
    settings: Mapping[str, Any],
    names: Sequence[str],
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, float]:
    """Train for a time, or go on with a training that was stopped; weights go to ``model.pt`` in its folder.

    Args:
        dataset: ``dataset.json``; what it has to validate on is scored at the end.
        run_dir: of the run.
        minutes: of processor time, of the whole training.
        settings: keys of the bundle's ``train.json`` and their values.
        names: classes of the data set.
        progress: called with the share of the time that is spent, and 1.
        stop: asked after each step.

    Returns:
        as :func:`score_model`; empty where there is nothing to validate on.

    Raises:
        InterruptedError: if ``stop`` asked for it.
    """
    own = {"dataset_dir": dataset, "run_dir": run_dir, "cpu_minutes": minutes, "resume": "auto"}
    workflow = _workflow({**settings, **own})
    workflow.parser["watch"] = watch = Watch(progress, stop)
    try:
        workflow.initialize()
        workflow.run()
        parser = workflow.parser
        if not parser.get_parsed_content("description").validation:
            return {}
        return _scores(parser.get_parsed_content("validate::evaluator").state.metrics, names)
    except Exception as error:
        if watch.stopped is not None:
            raise watch.stopped from None
        if (cause := input_error_in(error)) is not None:
            raise cause from None
        raise
    finally:
        release_run_dir(run_dir)


def _workflow(overrides: Mapping[str, Any]) -> ConfigWorkflow:
    given = {key: _plain(key, value) for key, value in overrides.items()}
    configs = bundle_folder() / "configs"
    remarks = logging.getLogger("monai.bundle.workflows")
    level = remarks.level
    remarks.setLevel(logging.ERROR)  # it would print that logging stays as it is
    with warnings.catch_warnings():
        # It warns of configs from strangers; these are the bundle's own.
        warnings.filterwarnings("ignore", message="parsing config_file")
        try:
            return ConfigWorkflow(
                config_file=[str(configs / name) for name in CONFIGS],
                meta_file=str(configs / "metadata.json"),
                logging_file=False,
                workflow_type="train",
                **given,
            )
        finally:
            remarks.setLevel(level)


def _plain(key: str, value: Any) -> Any:
    """Return a setting as the config reads it word for word: a path may look like an expression or a reference."""
    if isinstance(value, Path):
        path = str(value.absolute())
        if "#" not in path:
            return path
        # MONAI has # for a separator of keys in any text; spelt as its number it is none.
        return "$" + "".join(f"\\x{ord(sign):02x}" if sign in "#@%" else sign for sign in repr(path))
    if isinstance(value, str) and value.startswith(("$", "@", "%")):
        remedy = "restore the model.json that training wrote beside the model"
        raise InputError(key, expected="a plain word", met=value, remedy=remedy)
    return value


def _scores(metrics: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    found = {"mean_iou": float(metrics["mean_iou"])}
    return found | {name: float(metrics.get(f"iou_{name}", math.nan)) for name in names[1:]}
