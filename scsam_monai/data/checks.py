"""Check every voxel of a data set before a training starts, and open the data set that a run uses."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np

from scsam_monai.data.dataset import DatasetDescription, load_dataset
from scsam_monai.data.doubts import misfits, rare_classes, unequal_voxels
from scsam_monai.data.items import IGNORE_LABEL, as_uint8, item_shape
from scsam_monai.errors import InputError
from scsam_monai.io import crop, intensity_range, read_header, read_image, read_labels
from scsam_monai.io.checks import check_values
from scsam_monai.io.voxel_size import REFUSE_BEYOND, SAME

logger = logging.getLogger(__name__)


@dataclass
class ItemReport:
    """What was found in one item.

    Attributes:
        section: "training", "validation" or "test".
        item: as in the description.
        shape: (z, y, x) of the part used, one section for images.
        voxels: by label value, where the label was read.
        problems: why the item cannot be used.
    """

    section: str
    item: Mapping[str, Any]
    shape: tuple[int, ...]
    voxels: Counter[int] = field(default_factory=Counter)
    problems: list[InputError] = field(default_factory=list)


@dataclass
class DatasetReport:
    """What was found in a data set.

    Attributes:
        items: one report per item, in the order of the description.
        warnings: what is allowed but seldom meant.
    """

    items: list[ItemReport]
    warnings: list[str]

    @property
    def problems(self) -> list[InputError]:
        """The problems of all items."""
        return [problem for report in self.items for problem in report.problems]


def check_dataset(description: DatasetDescription, deep: bool = True) -> DatasetReport:
    """Refuse a data set that cannot be trained on.

    Args:
        description: whose files' headers were checked when it was loaded.
        deep: also read every image and label.

    Raises:
        InputError: the first problem found.
    """
    report = inspect_dataset(description, deep=deep)
    if report.problems:
        raise report.problems[0]
    return report


def inspect_dataset(
    description: DatasetDescription, deep: bool = True, compare: bool = False
) -> DatasetReport:
    """Count the classes of every item of a data set, and collect problems and warnings.

    Args:
        description: whose files' headers were checked when it was loaded.
        deep: read every image and label.
        compare: also see whether labels lie on their images, a second or so for each of a dozen items, and which
            classes have too few voxels.
    """
    read = _Files()
    reports = [
        _inspect(section, item, description.labels, read if deep else None)
        for section, items in description.sections.items()
        for item in items
    ]
    warnings = _contradictions(reports) + _overlaps(description)
    items = [report.item for report in reports if not report.problems]
    warnings += unequal_voxels(items) + _pixel_sizes(description.training)
    if deep:
        warnings += _never_seen(description, reports)
    if deep and compare:
        warnings += rare_classes(voxels_by_section(reports), description.class_names)
        warnings += misfits(items, read.item)
    return DatasetReport(reports, warnings)


class _Files:
    """Reads files, keeping the last image and label: items of one stack follow one another."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, np.ndarray]] = {}

    def image(self, path: str) -> np.ndarray:
        return self._read("image", path, lambda: _with_contrast(path))

    def label(self, path: str) -> np.ndarray:
        return self._read("label", path, lambda: as_uint8(read_labels(path).array, where=path))

    def item(self, item: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Image and label (z, y, x) of the part that is used."""
        paths = (item["image"], item["label"])
        image, label = (
            crop(array, item["region"], where=path)
            for array, path in zip((self.image(paths[0]), self.label(paths[1])), paths, strict=True)
        )
        return (image, label) if image.ndim == 3 else (image[None], label[None])

    def _read(self, kind: str, path: str, read: Callable[[], np.ndarray]) -> np.ndarray:
        if kind not in self._kept or self._kept[kind][0] != path:
            self._kept[kind] = (path, read())
        return self._kept[kind][1]


def _with_contrast(path: str) -> np.ndarray:
    array = read_image(path).array
    intensity_range(array, where=path)  # training and scoring will ask for it, some of them hours later
    return array


def _inspect(
    section: str, item: Mapping[str, Any], labels: Mapping[int, str], read: _Files | None
) -> ItemReport:
    report = ItemReport(section, item, item_shape(item))
    if read is None:
        return report
    try:
        image = crop(read.image(item["image"]), item["region"], where=item["image"])
        check_values(item["image"], image, whole=True)  # a region may be empty where the image is not
        label = crop(read.label(item["label"]), item["region"], where=item["label"])
    except InputError as problem:
        report.problems.append(problem)
        return report
    report.voxels = _count(label)
    report.problems += _label_problems(item, labels, report.voxels)
    return report


def _label_problems(
    item: Mapping[str, Any], labels: Mapping[int, str], voxels: Counter[int]
) -> list[InputError]:
    met = set(voxels) - {IGNORE_LABEL}
    problems = []
    if unknown := sorted(met - set(labels)):
        problems.append(
            InputError(
                item["label"],
                expected=f"label values 0 to {len(labels) - 1} and {IGNORE_LABEL} (unknown)",
                met=f"{unknown[:8]} in {sum(voxels[value] for value in unknown)} voxels",
                remedy="map values to classes with `scsam import files`",
            )
        )
    if silent := sorted((met & set(labels)) - set(item["annotated"])):
        problems.append(
            InputError(
                item["label"],
                expected=f"only annotated classes ({[labels[index] for index in item['annotated']]})",
                met=f"voxels of {[labels[index] for index in silent]}",
                remedy="add the class to annotated, or remap it",
            )
        )
    if not met:
        problems.append(
            InputError(
                item["label"],
                expected="some known voxels",
                met=f"{IGNORE_LABEL} everywhere",
                remedy="drop the item",
            )
        )
    return problems


def voxels_by_section(reports: Sequence[ItemReport]) -> dict[str, Counter[int]]:
    """Return how many voxels each class has in each part of the data set that has items."""
    total: dict[str, Counter[int]] = {}
    for report in reports:
        total.setdefault(report.section, Counter()).update(report.voxels)
    return total


def _count(label: np.ndarray) -> Counter[int]:
    counts = np.bincount(label.reshape(-1), minlength=IGNORE_LABEL + 1)
    return Counter({int(value): int(counts[value]) for value in np.flatnonzero(counts)})


def _contradictions(reports: list[ItemReport]) -> list[str]:
    used = {report.item["image"]: report.item["voxel_size_nm"] for report in reports}
    stated = {image: read_header(image).voxel_size_nm for image in used}
    return [
        f"{image} states voxels of {_nm(file)} nm, the description {_nm(used[image])} nm, which is used"
        for image, file in stated.items()
        if file is not None and not np.allclose(file[1:], used[image][1:], rtol=0.01)
    ]


def _nm(size: Sequence[float]) -> str:
    return " x ".join(f"{length:g}" for length in size)


def _pixel_sizes(items: Sequence[Mapping[str, Any]]) -> list[str]:
    edges = [edge for item in items for edge in item["voxel_size_nm"][1:]]
    fine, coarse = min(edges, default=1.0), max(edges, default=1.0)
    if coarse <= fine * (1 + SAME):
        return []
    told = (
        f"training: pixels of {fine:g} to {coarse:g} nm; all are resampled to {coarse:g} nm, or to the size of a "
        f"model that training goes on from; scsam train --set pixel_size_nm={fine:g} takes the finest"
    )
    far = f"; more than a factor of {REFUSE_BEYOND:g} is refused"
    return [told + (far if coarse > REFUSE_BEYOND * fine else "")]


def _never_seen(description: DatasetDescription, reports: list[ItemReport]) -> list[str]:
    training: Counter[int] = Counter()
    for report in reports:
        if report.section == "training":
            training.update(report.voxels)
    missing = [name for index, name in description.labels.items() if training[index] == 0]
    return [f"training: no voxel of class {name}" for name in missing]


def _overlaps(description: DatasetDescription) -> list[str]:
    parts = [(section, item) for section, items in description.sections.items() for item in items]
    return [
        f"{first} and {second} share voxels of {one['image']}: scores will flatter"
        for index, (first, one) in enumerate(parts)
        for second, other in parts[index + 1 :]
        if first != second and one["image"] == other["image"] and _overlap(one["region"], other["region"])
    ]


def _overlap(one: list[list[int]] | None, other: list[list[int]] | None) -> bool:
    if one is None or other is None:
        return True
    return all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one, other, strict=True))


def open_dataset(dataset_dir: str | Path, sample_dir: str | Path | None = None) -> DatasetDescription:
    """Read and check a data set before a training.

    Args:
        dataset_dir: folder with a ``dataset.json``.
        sample_dir: where the generated sample data set stands; when ``dataset_dir`` is this folder, the data set
            is generated if it is not there yet.

    Returns:
        The description; every image and label that it names was read once and found sound.

    Raises:
        InputError: for the first thing that is wrong.
    """
    if sample_dir is not None and Path(dataset_dir).resolve() == Path(sample_dir).resolve():
        _generate(Path(sample_dir))
        if idist.get_world_size() > 1:
            idist.barrier()  # the others read what the first process writes
    description = load_dataset(dataset_dir)
    report = check_dataset(description, deep=True)
    for warning in report.warnings:
        logger.warning(warning)
    counts = ", ".join(f"{len(items)} {name}" for name, items in description.sections.items())
    logger.info("data set %s: %s; classes %s", dataset_dir, counts, ", ".join(description.class_names))
    return description


def _generate(folder: Path) -> None:
    from scsam_monai.data.synthetic import write_sample_dataset  # only this path needs it

    if idist.get_rank():
        return
    logger.info("no data set named: using generated sample data in %s", folder)
    write_sample_dataset(folder)
