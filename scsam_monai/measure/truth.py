"""Bring the values of a prediction and of its ground truth to the same class ids, or say why they are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scsam_monai.data.importers.target import OTHERS, ValueMap, name_of
from scsam_monai.data.items import BACKGROUND, IGNORE_LABEL, UNKNOWN
from scsam_monai.errors import InputError
from scsam_monai.measure.labels import unknown_alone

SHOWN = 5
"""Label values that an error names."""
MOST_CLASSES = 256


@dataclass(frozen=True, eq=False)
class Pair:
    """A prediction and its ground truth with the same class ids.

    Attributes:
        prediction: class ids, in the shape of what was read.
        truth: class ids, or ``ignore_label`` where nobody knows.
        names: of each class id from 0 on.
        ignore_label: marks unknown voxels in ``truth``.
        unknown: share of the truth's voxels that are unknown.
        undecided: voxels that the prediction leaves unknown and the truth knows; they are background here.
    """

    prediction: np.ndarray
    truth: np.ndarray
    names: tuple[str, ...]
    ignore_label: int
    unknown: float
    undecided: int

    def class_ids(self, names: list[str], option: str) -> list[int]:
        """The ids of classes that a user names, or whose number here is given.

        Raises:
            InputError: no class has that name.
        """
        found = []
        for name in names:
            if name in self.names:
                found.append(self.names.index(name))
            elif name.isdigit() and int(name) < len(self.names):
                found.append(int(name))
            else:
                known = ", ".join(self.names[1:])
                raise InputError(
                    option, expected=f"a class: {known}", met=name, remedy="name one of them, or its number"
                )
        return found


def pair_classes(
    prediction: np.ndarray,
    truth: np.ndarray,
    known: Mapping[int, str],
    values: Mapping[str, str] | None = None,
    *,
    ignore_label: int = IGNORE_LABEL,
    where: tuple[str | Path, str | Path] = ("prediction", "truth"),
) -> Pair:
    """Give both the same class ids.

    Args:
        prediction: (z, y, x) integers.
        truth: (z, y, x) integers.
        known: names by class id as the prediction's file states them; empty if it states none.
        values: class name by value of the truth, see :meth:`~scsam_monai.data.importers.ValueMap.parse`; where the
            prediction's file names no classes, by value of either. None takes the values as class ids.
        ignore_label: unknown voxels, unless ``values`` give this value a class.
        where: the files, for errors.

    Raises:
        InputError: a name or a value of the truth that is no class of the prediction, or nothing but unknown voxels
            and background in the truth.
    """
    if values is None or known:
        _refuse_objects(where[0], prediction, known, ignore_label)
    if values is None:
        names = dict(known)
        if known:
            _refuse_strange(where[1], truth, {*known, ignore_label}, known)
        else:
            highest = int(np.max(prediction, where=prediction != ignore_label, initial=0))
            _refuse_strange(where[1], truth, {*range(highest + 1), ignore_label}, {})
            names[highest] = BACKGROUND if highest == 0 else f"class {highest}"
        predicted, true, unknown_label = prediction, truth, ignore_label
    else:
        by_others = OTHERS in values and ignore_label != 0  # which others do not hold
        named = by_others or name_of(ignore_label, values) is not None
        value_map = ValueMap.parse(values if named else {**values, str(ignore_label): UNKNOWN})
        value_map.check(truth, where[1])
        true, unknown_label = value_map.apply(truth), IGNORE_LABEL
        if known:
            names, predicted = dict(known), np.where(prediction == ignore_label, IGNORE_LABEL, prediction)
            true = _table(value_map, known)[true]
        else:
            value_map.check(prediction, where[0])
            names, predicted = value_map.labels, value_map.apply(prediction)
    is_unknown = true == unknown_label
    undecided = (predicted == unknown_label) & ~is_unknown
    predicted = np.where(predicted == unknown_label, 0, predicted)
    highest = max(int(predicted.max(initial=0)), *names, 0)
    titles = [names.get(k) or (BACKGROUND if k == 0 else f"class {k}") for k in range(highest + 1)]
    if is_unknown.any() and not ((true != 0) & ~is_unknown).any():
        values_there = np.unique(truth).tolist()
        raise unknown_alone(where[1], values_there, ignore_label, next(iter(titles[1:]), "mitochondrion"))
    return Pair(predicted, true, tuple(titles), unknown_label, float(is_unknown.mean()), int(undecided.sum()))


def _refuse_objects(
    where: str | Path, labels: np.ndarray, known: Mapping[int, str], ignore_label: int
) -> None:
    """Refuse numbers of objects in place of class ids: every one would be a class."""
    highest = int(np.max(labels, where=labels != ignore_label, initial=0))
    if highest < MOST_CLASSES:
        return
    remedy = "name the file of class ids that they were found in"
    if not known:
        remedy += ", or score all as one class, like --class others=mitochondrion"
    raise InputError(
        where,
        expected=f"class ids, up to {MOST_CLASSES - 1}",
        met=f"the value {highest}, as numbers of objects have",
        remedy=remedy,
    )


def _table(value_map: ValueMap, known: Mapping[int, str]) -> np.ndarray:
    """The prediction's class id for each class id of the map, (256,)."""
    ids = {name: class_id for class_id, name in known.items()}
    table = np.full(256, IGNORE_LABEL, np.uint8)
    table[0] = 0
    for number, name in value_map.labels.items():
        if number and name not in ids:
            raise InputError(
                "--class",
                expected=f"a class of the prediction: {', '.join(n for k, n in known.items() if k)}",
                met=name,
                remedy=f"name one of them, or {BACKGROUND} or {UNKNOWN}",
            )
        if number:
            table[number] = ids[name]
    return table


def _refuse_strange(
    where: str | Path, truth: np.ndarray, allowed: set[int], known: Mapping[int, str]
) -> None:
    values = np.unique(truth)
    strange = values[~np.isin(values, sorted(allowed))]
    if not len(strange):
        return
    classes = [f"{k} {name}".strip() for k, name in known.items()] or [
        f"0 to {max(allowed - {255}, default=0)}"
    ]
    example = next((name for k, name in known.items() if k), "mitochondrion")
    raise InputError(
        where,
        expected=f"values that are classes of the prediction: {', '.join(classes)}",
        met=_listed(strange),
        remedy="name the label file, or say what every value is, like "
        f"--class {int(strange[0])}={example} or --class {int(strange[0])}={UNKNOWN}"
        + (
            f"; numbers of objects of one class are --class {OTHERS}={example}"
            if len(strange) > SHOWN
            else ""
        ),
    )


def _listed(values: np.ndarray) -> str:
    shown = ", ".join(map(str, values[:SHOWN].tolist()))
    return shown + (f" and {len(values) - SHOWN} more values" if len(values) > SHOWN else "")
