"""An evaluation as text, JSON and CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsam_monai.filesystem.atomic import atomic_folder, write_errors, write_json
from scsam_monai.metrics.evaluation import Evaluation, Score

MISSING = "-"


def evaluation_rows(evaluation: Evaluation) -> list[list[str]]:
    """A table to print: classes down, scores across, intervals in brackets."""
    names = list(next(iter(evaluation.scores.values())))
    rows = [["class", *names]]
    for class_name, scores in evaluation.scores.items():
        rows.append([class_name, *(_cell(name, scores[name]) for name in names)])
    return rows


def _cell(name: str, score: Score) -> str:
    digits = 0 if name.endswith("_nm") else 3
    if math.isnan(score.value):
        return MISSING
    if math.isnan(score.low):
        return f"{score.value:.{digits}f}"
    return f"{score.value:.{digits}f} [{score.low:.{digits}f}, {score.high:.{digits}f}]"


def write_evaluation(
    folder: str | Path, evaluation: Evaluation, stated: Mapping[str, Any] | None = None
) -> Path:
    """Write ``scores.csv``, ``sizes.csv`` and ``evaluation.json`` into a new folder; all of them or none.

    Args:
        folder: to make.
        evaluation: what to write. Figures that do not exist are empty or null; infinite ones are ``inf`` in CSV and
            null in JSON.
        stated: JSON on how it was scored, for ``evaluation.json``.

    Raises:
        InputError: the folder exists or cannot be written to.
    """
    scores = [
        {"class": class_name, "score": name, "value": score.value, "low": score.low, "high": score.high}
        for class_name, each in evaluation.scores.items()
        for name, score in each.items()
    ]
    with write_errors(folder), atomic_folder(folder) as temporary:
        _write_csv(temporary / "scores.csv", scores, ["class", "score", "value", "low", "high"])
        sizes = [
            "class",
            "low_nm",
            "high_nm",
            "objects",
            "found",
            "recall",
            "predicted",
            "right",
            "precision",
        ]
        _write_csv(temporary / "sizes.csv", evaluation.sizes, sizes)
        document = {
            **(stated or {}),
            "parts": evaluation.parts,
            "classes": {
                class_name: {
                    name: {
                        "value": _finite(score.value),
                        "low": _finite(score.low),
                        "high": _finite(score.high),
                    }
                    for name, score in each.items()
                }
                for class_name, each in evaluation.scores.items()
            },
            "sizes": [{key: _finite(value) for key, value in row.items()} for row in evaluation.sizes],
            "confusion": evaluation.confusion.tolist(),
        }
        write_json(temporary / "evaluation.json", document)
    return Path(folder)


def _write_csv(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({key: "" if value != value else value for key, value in row.items()})


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
