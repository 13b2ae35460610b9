"""The report on a training: scores, how it went, pictures of what it draws, and what it takes to do it again."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from scsam_monai.data.doubts import FEW_VOXELS
from scsam_monai.errors import InputError
from scsam_monai.report.charts import curves
from scsam_monai.report.kept_sections import kept_sheets
from scsam_monai.report.layers import png_uri, svg_uri
from scsam_monai.report.page import LegendEntry, Page, Picture, Sheet, Table
from scsam_monai.report.palette import colours_of
from scsam_monai.report.provenance import train_command

PICTURES = 4
"""Pictures of each kind that are shown."""
SHEETS = 2
"""Items of each kind that are shown with switches."""
LOSS = "loss_epoch/"
GO_ON = "The command that started it goes on with `--resume`, of `monai.bundle run` with `--resume auto`."


def is_run(folder: Path) -> bool:
    """Whether a folder holds a training run."""
    return (folder / "run.json").is_file()


def run_page(folder: str | Path) -> Page:
    """Gather what a run left.

    Args:
        folder: of the run.

    Raises:
        InputError: it holds no run, or a file in it is damaged.
    """
    folder = Path(folder)
    if not is_run(folder):
        remedy = "name the folder of a run, or a label file"
        raise InputError(folder, expected="a run.json", met="none", remedy=remedy)
    record, model = _json(folder / "run.json"), _json(folder / "model.json")
    rows = _rows(folder / "metrics.csv")
    test = _rows(folder / "test" / "metrics.csv")
    page = Page(f"{folder.resolve().name}: how the training went", _subtitle(record, model, rows))
    if test:
        page.tables.append(_scores("Scores on the test part", test))
    if rows:
        page.tables.append(_best_epoch(rows, model, record))
        page.pictures.append(_score_curves(rows, record))
    if losses := _losses(folder / "events"):
        page.pictures.append(
            Picture("Loss of each epoch, in all and by term", svg_uri(curves(losses, "loss")), wide=True)
        )
    kept = _kept(folder, record.get("class_names", []), model.get("epoch"))
    page.sheets = [sheet for sheets in kept.values() for sheet in sheets]
    page.legend = _legend(record.get("class_names", [])) if kept else []
    page.pictures += _panels(folder, model.get("epoch"), set(kept))
    page.warnings = _warnings(folder, model, rows, test, _loads(record.get("config")))
    page.provenance = _facts(record, model)
    page.commands = [train_command(_loads(record.get("config")), folder.resolve())]
    page.details = {
        "configuration, as it ran (paths cut to their last name)": _indented(record.get("config"))
    }
    page.next_steps = [
        (
            "Segment an image with this model (leave out --voxel-size-nm if the file states it):",
            f"scsam predict IMAGE.tif LABELS.ome.zarr --model {shlex.quote(str(folder))} --voxel-size-nm Z,Y,X",
        )
    ]
    return page


def _subtitle(record: Mapping[str, Any], model: Mapping[str, Any], rows: list[dict[str, str]]) -> str:
    names = ", ".join(record.get("class_names", [])[1:])
    validated = f"{len(rows)} validation{'' if len(rows) == 1 else 's'}"
    pixel = model.get("pixel_size_nm")
    return f"{names}; {validated}" + (f"; {pixel:g} nm per pixel" if pixel else "")


def _scores(title: str, rows: list[dict[str, str]]) -> Table:
    cells = [
        [
            row["name"],
            *(_score(row[key]) for key in row if key not in ("name", "voxels")),
            _count(row["voxels"]),
        ]
        for row in rows
    ]
    header = ["class", *(_word(key) for key in rows[0] if key not in ("name", "voxels")), "voxels"]
    note = "Of all voxels of the test part together. 1 is perfect; a dash means that the class is not there."
    return Table(title, header, cells, note, numeric=len(header) - 1)


def _best_epoch(rows: list[dict[str, str]], model: Mapping[str, Any], record: Mapping[str, Any]) -> Table:
    epoch = model.get("epoch")
    best = next((row for row in rows if row["epoch"] == str(epoch)), rows[-1])
    cells = [
        [name, _score(best.get(f"iou_{name}", "")), _score(best.get(f"dice_{name}", ""))]
        for name in record["class_names"]
    ]
    cells.append(["mean foreground", _score(best.get("mean_iou", "")), _score(best.get("mean_dice", ""))])
    note = f"After epoch {best['epoch']}, whose weights are in model.pt."
    return Table("Scores on the validation part", ["class", "IoU", "Dice"], cells, note, numeric=2)


def _score_curves(rows: list[dict[str, str]], record: Mapping[str, Any]) -> Picture:
    series: dict[str, tuple[list[float], list[float]]] = {}
    names = record["class_names"][1:]
    mean = [("mean_iou", "mean")] if len(names) > 1 else []  # of one class it is that class
    for key, name in [*mean, *((f"iou_{name}", name) for name in names)]:
        points = [(float(row["epoch"]), float(row[key])) for row in rows if row.get(key)]
        if points:
            series[name] = [x for x, _ in points], [y for _, y in points]
    colours = dict(zip(record["class_names"], colours_of(record["class_names"]).tolist(), strict=True))
    drawn = curves(series, "IoU", {"mean": (0, 0, 0)} | colours, (0.0, 1.0))
    return Picture("IoU on the validation part", svg_uri(drawn), wide=True)


def _losses(events: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Return the loss terms by epoch from TensorBoard's files; empty where there are none."""
    if not events.is_dir():
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(events), size_guidance={"scalars": 0})
    read.Reload()
    names = [name for name in read.Tags()["scalars"] if name.startswith(LOSS) and "rank_" not in name]
    return {
        name.removeprefix(LOSS): (
            [float(event.step) for event in read.Scalars(name)],
            [event.value for event in read.Scalars(name)],
        )
        for name in names
    }


def _kept(folder: Path, class_names: list[str], epoch: int | None) -> dict[str, list[Sheet]]:
    """Return sheets with switches, of the test and of the validation after the epoch that was kept."""
    shown = kept_sheets(folder / "test", "Test", class_names, None, SHEETS)
    if epoch is not None:
        shown |= kept_sheets(folder / "validation", "Validation", class_names, epoch, SHEETS)
    return shown


def _legend(class_names: list[str]) -> list[LegendEntry]:
    colours = colours_of(class_names).tolist()
    return [
        LegendEntry(index, name, "#{:02x}{:02x}{:02x}".format(*colour))
        for index, (name, colour) in enumerate(zip(class_names, colours, strict=True))
        if index
    ]


def _panels(folder: Path, kept: int | None, sheets: Collection[str]) -> list[Picture]:
    """Return pictures of items that have no sheet."""
    shown = [(path, f"Test: {path.stem}") for path in sorted((folder / "test").glob("*.png"))[:PICTURES]]
    validation = sorted((folder / "validation").glob("*.png"))
    epochs = sorted({path.stem.rpartition("_epoch")[2] for path in validation})
    epoch = f"{kept:03d}" if kept is not None and f"{kept:03d}" in epochs else (epochs or [""])[-1]
    latest = [path for path in validation if path.stem.endswith(f"_epoch{epoch}")]
    shown += [(path, f"Validation: {path.stem.replace('_', ' ')}") for path in latest[:PICTURES]]
    if (folder / "first_batch.png").is_file():
        shown.append((folder / "first_batch.png", "What the network saw first: crops and their labels"))
    shown = [each for each in shown if re.sub(r"_epoch\d+$", "", each[0].stem) not in sheets]
    return [Picture(caption, png_uri(path.read_bytes()), wide=True) for path, caption in shown]


def _warnings(
    folder: Path,
    model: Mapping[str, Any],
    rows: list[dict[str, str]],
    test: list[dict[str, str]],
    config: Mapping[str, Any],
) -> list[str]:
    found = []
    if unfinished := _unfinished(rows, config):
        found.append(unfinished)
    if not model:
        found.append("The run has no model.pt yet: it was stopped before the first weights were kept.")
    elif model.get("metric", {}).get("value") is None:
        found.append(
            "Nothing was validated: model.pt holds the last weights, not the best, and their score is unknown."
        )
    elif model.get("epoch") == 0:
        found.append(
            "No epoch was better than the weights that the run started from: model.pt holds these, unchanged."
        )
    elif rows and len(rows) > 1 and str(model.get("epoch")) == rows[-1]["epoch"]:
        found.append("The last epoch was the best: a longer run may be better still.")
    if model and not test:
        found.append(
            "Nothing was kept for a test: the validation part has chosen the weights, so its scores flatter."
        )
    few = [row["name"] for row in test if row["voxels"] and 0 < int(row["voxels"]) < FEW_VOXELS]
    if few:
        found.append(
            f"Fewer than {FEW_VOXELS} voxels of {', '.join(few)} in the test part: their scores say little."
        )
    zero = [row["name"] for row in test if _number(row.get("iou", "")) == 0]
    if zero:
        found.append(f"Nothing of {', '.join(zero)} was found in the test part.")
    if (folder / "last.pt").exists() and not model:
        found.append(GO_ON)
    return found


def _unfinished(rows: list[dict[str, str]], config: Mapping[str, Any]) -> str:
    """Say that a run of a fixed length did not come to its end; empty if it did, or nobody knows."""
    epochs, interval = config.get("epochs"), config.get("val_interval")
    if not rows or not isinstance(epochs, int) or not isinstance(interval, int) or config.get("budget"):
        return ""
    last = int(rows[-1]["epoch"])
    if last + interval > epochs:
        return ""
    return (
        f"The run was validated last after epoch {last} of {epochs}: it still runs, or was stopped. {GO_ON}"
    )


def _facts(record: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, str]:
    facts = {
        "model.pt, SHA-256": str(model.get("model_sha256", "none yet")),
        "data set, SHA-256": str(record.get("data_sha256")),
        "configuration, SHA-256": str(record.get("config_sha256")),
        "classes": ", ".join(record.get("class_names", [])),
        "network": ", ".join(f"{key} {value}" for key, value in record.get("network", {}).items()),
    }
    facts |= dict(record.get("versions", {}).items())
    facts |= {key: str(value) for key, value in record.get("platform", {}).items() if value is not None}
    return facts


def _indented(config: str | None) -> str:
    return json.dumps(_loads(config), indent=1, sort_keys=True)


def _loads(config: str | None) -> dict[str, Any]:
    loaded = json.loads(config) if config else {}
    return loaded if isinstance(loaded, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(path, expected="JSON", met=str(error), remedy="restore it or remove it") from error
    return content


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _score(text: str) -> str:
    value = _number(text)
    return "-" if math.isnan(value) else f"{value:.3f}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _count(text: str) -> str:
    return f"{int(text):,}" if text.isdigit() else text


def _word(key: str) -> str:
    return {"iou": "IoU", "dice": "Dice"}.get(key, key)
