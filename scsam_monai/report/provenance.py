"""What a segmentation was made from and with, in words, and the commands that make it, or a training, again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsam_monai.data.dataset import DESCRIPTION_NAME
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import sha256_of
from scsam_monai.filesystem.bundle_folder import bundle_folder
from scsam_monai.inference.job import output_suffix
from scsam_monai.weights.record import read_record
from scsam_monai.weights.registry import check_model

MODEL = "MODEL"
"""Stands in a command for a model that was not found."""
FOLDERS = re.compile(r"[/\\]+(?:[^\s/\\'\"]+[/\\]+)+")
"""What a record leaves out of paths, in values that name one."""
HASHED_BYTES = 2**30
"""Images up to this size are hashed for the record; larger ones are told by size and shape."""


def is_shipped(model_sha256: str | None) -> bool:
    """Whether weights of that hash are those that come with the package."""
    return model_sha256 is not None and model_sha256 == read_record(check_model()).get("model_sha256")


def segmentation_facts(job: Mapping[str, Any], image: Path) -> dict[str, str]:
    """Tell how labels were made.

    Args:
        job: what the labels' own attributes say, see :class:`scsam_monai.inference.Job`.
        image: the file that was segmented.
    """
    windows = job.get("windows", {})
    facts = {
        "image": f"{image.name}, {' x '.join(map(str, job['source']['shape']))} voxels (z, y, x), "
        f"{job['source']['dtype']}",
        "image, SHA-256": image_hash(image),
        "voxel size": f"{', '.join(f'{edge:g}' for edge in job['voxel_size_nm'])} nm (z, y, x)",
        "grey values shown as black and white": ", ".join(f"{value:g}" for value in job["intensity"]),
        "model, SHA-256": job["model_sha256"] + (" (shipped)" if is_shipped(job["model_sha256"]) else ""),
        "classes": ", ".join(job["class_names"]),
        "windows": f"{windows.get('size')} pixels, overlap {windows.get('overlap')}, {windows.get('batch')} at a "
        f"time, {windows.get('planes')} plane(s)",
        "network pixels per voxel": ", ".join(f"{factor:g}" for factor in job["factors"]),
        "block": " x ".join(map(str, job["block"])),
        "threads": str(job.get("threads")),
    }
    return facts | {name: str(number) for name, number in job.get("versions", {}).items()}


def predict_command(job: Mapping[str, Any], image: Path, output: Path) -> str:
    """Return the line that segments an image as it was done, into a new output beside the old one.

    Labels do not record where the model was. That of one's own is looked for by its hash, see :func:`find_model`;
    where it is not found ``MODEL`` stands for it.

    Args:
        job: what the labels' own attributes say.
        image: the file.
        output: where the labels were written.
    """
    windows = job["windows"]
    words = ["scsam", "predict", str(image), str(_free_beside(output))]
    if not is_shipped(job["model_sha256"]):
        words += ["--model", str(job.get("model") or find_model(job["model_sha256"], output) or MODEL)]
    for key in ("dataset", "axes"):
        if job["source"].get(key):
            words += [f"--{key}", job["source"][key]]
    words += ["--voxel-size-nm", ",".join(f"{edge!r}" for edge in job["voxel_size_nm"])]
    if sections := job["source"].get("sections"):
        words += ["--z", ":".join(map(str, sections))]
    words += ["--window", str(windows["size"]), "--overlap", str(windows["overlap"])]
    words += ["--batch", str(windows["batch"]), "--planes", str(windows["planes"])]
    words += ["--block", ",".join(map(str, job["block"])), "--threads", str(job["threads"])]
    words += [f"--{name}" for name in ("probabilities", "confidence") if name in job["products"]]
    words += ["--ome-zarr", job["ome_zarr"]]
    words += ["--empty-label", str(job["empty_label"])] if job.get("empty_label") else []
    words += ["--invert"] if job["intensity"][0] > job["intensity"][1] else []
    return shlex.join(words + _selection(job))


def train_command(ran: Mapping[str, Any], folder: Path) -> str:
    """Return the line that starts a run once more in a new folder, with what it has other than the bundle's.

    Args:
        ran: the configuration that it recorded.
        folder: of the run.
    """
    shipped = json.loads((bundle_folder() / "configs" / "train.json").read_text("utf-8"))
    differences = dict(_differences(shipped, ran))
    run, dataset = (differences.pop(key, None) for key in ("run_dir", "dataset_dir"))
    differences.pop("resume", None)
    run = f"{str(run or folder.name).rstrip('/')}_again"
    pairs = [(key, value if isinstance(value, str) else repr(value)) for key, value in differences.items()]
    if dataset is None:  # the samples that the bundle draws
        words = ["python", "-m", "monai.bundle", "run", "training"]
        words += ["--config_file", str(Path("bundle", "configs", "train.json")), "--run_dir", run]
        return shlex.join([*words, *(word for key, value in pairs for word in (f"--{key}", value))])
    cut = str(dataset) == DESCRIPTION_NAME  # of an absolute path, which is not recorded
    words = ["scsam", "train", "DATASET" if cut else str(dataset), run]
    return shlex.join([*words, *(word for key, value in pairs for word in ("--set", f"{key}={value}"))])


def _differences(shipped: Any, ran: Any, prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in ran.items() if isinstance(ran, dict) else ():
        if key not in shipped:
            continue
        if isinstance(value, dict) and isinstance(shipped[key], dict):
            found += _differences(shipped[key], value, f"{prefix}{key}::")
        elif value != shipped[key] and value != _cut(shipped[key]):
            found.append((f"{prefix}{key}", value))
    return found


def _cut(value: Any) -> Any:
    """Return a value of the bundle's config as a record has it, without the folders of its paths."""
    return FOLDERS.sub("", value) if isinstance(value, str) else value


def find_model(sha256: str, labels: Path) -> Path | None:
    """Return the model of that hash where it lies in the working directory, beside the labels or one folder deeper.

    Its record tells the hash, so that no weights are read; a run is named by its folder.

    Args:
        sha256: as the labels record it.
        labels: made by it.
    """
    for folder in dict.fromkeys((Path(), labels.parent)):
        for record in sorted((*folder.glob("*.json"), *folder.glob("*/*.json"))):
            weights = record.with_suffix(".pt")
            if not weights.is_file():
                continue
            try:
                known = read_record(weights).get("model_sha256")
            except InputError:
                continue
            if known == sha256:
                return weights.parent if weights.name == "model.pt" and weights.parent.name else weights
    return None


def _free_beside(output: Path) -> Path:
    """Return ``NAME_again.ome.zarr`` beside ``NAME.ome.zarr``, numbered if that is there."""
    suffix = output_suffix(output)
    stem = output.name.removesuffix(suffix)
    names = (f"{stem}_again{number}{suffix}" for number in ("", *range(2, 1000)))
    return next(path for name in names if not (path := output.with_name(name)).exists())


def _selection(job: Mapping[str, Any]) -> list[str]:
    selected, names = job.get("selection"), job["class_names"]
    if not selected:
        return []
    words = []
    if len(selected["drawn"]) < len(names) - 1:
        words += ["--classes", ",".join(names[index] for index in selected["drawn"])]
    for option, key in (("--threshold", "thresholds"), ("--smallest-nm2", "smallest_nm2")):
        words += [
            word
            for name, value in zip(names, selected[key], strict=True)
            if value
            for word in (option, f"{name}={value!r}")
        ]
    return words


def image_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or why there is none."""
    if not path.is_file():
        return "not taken: it is a folder"
    return sha256_of(path) if path.stat().st_size <= HASHED_BYTES else "not taken: beyond 1 GB"
