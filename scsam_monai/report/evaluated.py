"""Tables of a report from the folder that ``scsam evaluate --output`` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError
from scsam_monai.io.formats import place_of
from scsam_monai.io.inventory import digest_of
from scsam_monai.report.page import Table
from scsam_monai.report.same_labels import check_labels, read_told

FILE = "evaluation.json"
KEY = "prediction"
"""Of the name of what was scored; see :func:`~scsam_monai.report.same_labels.check_labels`."""
DIGITS = {"hd95_nm": 0}
"""Decimals of a score; others have three."""


def find_evaluation(labels: Path, axes: str | None = None) -> Path | None:
    """Return the newest evaluation of these very labels beside them or in the working directory, one folder deep.

    Labels of the same name in another place, and labels that were written anew since, are others.

    Args:
        labels: a file or folder.
        axes: letters of its axes, if it does not say.
    """
    found, files = [], None
    for folder in dict.fromkeys((place_of(labels).absolute().parent, Path.cwd())):
        for file in folder.glob(f"*/{FILE}"):
            try:
                told = _read(file)
            except InputError:  # some other program's
                continue
            if told.get(f"{KEY}_path") != str(labels.resolve()):
                continue
            files = files or digest_of(labels, axes)
            if told.get(f"{KEY}_files") == files:
                found.append(file)
    return max(found, key=lambda file: file.stat().st_mtime).parent if found else None


def evaluated_tables(folder: str | Path, labels: Path, axes: str | None = None) -> list[Table]:
    """Return the table of scores, with how they came about in a note.

    Labels may have been moved since they were scored, but neither written anew nor copied.

    Args:
        folder: as ``scsam evaluate`` wrote it.
        labels: that were scored.
        axes: letters of their axes, if the file does not say.

    Raises:
        InputError: it holds no evaluation, or one of other labels.
    """
    file = Path(folder) / FILE
    told = _read(file)
    remedy = f"make one: scsam evaluate {labels} TRUTH --output SCORES"
    check_labels(file, told, KEY, labels, axes, f"an evaluation of {labels}", remedy)
    classes: Mapping[str, Mapping[str, Any]] = told["classes"]
    names = list(dict.fromkeys(name for scores in classes.values() for name in scores))
    rows = [[title, *(_cell(name, scores.get(name)) for name in names)] for title, scores in classes.items()]
    return [
        Table(
            "Scores against the ground truth",
            ["class", *(name.replace("_", " ") for name in names)],
            rows,
            _note(told),
            numeric=len(names),
        )
    ]


def _note(told: Mapping[str, Any]) -> str:
    parts = [f"By scsam evaluate against {told['truth']}"]
    parts += [f"sections {told['z']} alone"] if told.get("z") else []
    if unknown := told.get("unknown_share_of_truth"):
        parts.append(f"{unknown:.2%} of the truth is unknown and counts nowhere")
    text = "; ".join(parts) + "."
    if told.get("samples"):
        text += f" In brackets: 95 % intervals over {told['parts']} {told['resample']} of this volume."
    return text


def _cell(name: str, score: Mapping[str, Any] | None) -> str:
    if score is None or score["value"] is None:
        return "-"
    digits = DIGITS.get(name, 3)
    text = f"{score['value']:.{digits}f}"
    if score["low"] is None or score["high"] is None:
        return text
    return f"{text} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"


def _read(file: Path) -> dict[str, Any]:
    remedy = "name a folder that `scsam evaluate --output` wrote"
    return read_told(file, "an evaluation", {"prediction", "truth", "classes"}, remedy)
