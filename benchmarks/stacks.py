"""The data sets of the accuracy benchmarks: real stacks where they lie on disk, generated cells anywhere."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scsam_monai.data.importers.files import import_files
from scsam_monai.data.synthetic import write_sample_dataset
from scsam_monai.filesystem.atomic import write_json
from scsam_monai.io import read_header

GENERATED = "generated"
SECTIONS = {"all": None, "three": 3, "one": 1}
"""How many labelled sections there are to learn from."""


@dataclass(frozen=True)
class Stack:
    """A real data set: files of one folder, which sections train and test, and at what pixel size it is learned."""

    images: str
    labels: str
    classes: tuple[str, ...]
    voxel_size_nm: tuple[float, float, float]
    training: tuple[int, int]
    test: tuple[int, int]
    pixel_size_nm: float | None = None


STACKS = {
    "vnc": Stack(
        images="stack1_raw*.tif",
        labels="stack1_label_z*.tif",
        classes=("background", "membrane", "mitochondrion", "synapse", "glia"),
        voxel_size_nm=(50, 4.6, 4.6),
        training=(0, 13),
        test=(14, 17),
        pixel_size_nm=9.2,
    ),
    # The source states no voxel size: this one is an estimate.
    "cdeep3m": Stack(
        images="raw_z*.tif",
        labels="label_z*.tif",
        classes=("background", "mitochondrion"),
        voxel_size_nm=(30, 10, 10),
        training=(0, 15),
        test=(16, 20),
    ),
}
FOLDERS = {"vnc": "vnc", "cdeep3m": "cdeep3m_mito"}
"""In the folder of ``SCSAM_TEST_DATA``."""
TUNING = {
    "vnc-tuning": replace(STACKS["vnc"], training=(0, 10), test=(11, 13)),
    "cdeep3m-tuning": replace(STACKS["cdeep3m"], training=(0, 10), test=(11, 15)),
}
"""The stacks without their test sections: what settings are chosen on."""


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where each data set lies."""
    kept = os.environ.get("SCSAM_TEST_DATA")
    for name, stack in STACKS.items():
        default = Path(kept) / FOLDERS[name] if kept and (Path(kept) / FOLDERS[name]).is_dir() else None
        parser.add_argument(
            f"--{name}", type=Path, default=default, metavar="FOLDER", help=f"with {stack.images}"
        )
    parser.add_argument(
        "--generated", type=Path, metavar="FOLDER", help="data set to take for generated cells"
    )


def there(options: argparse.Namespace) -> list[str]:
    """The data sets whose files are known, without those to tune on."""
    return [name for name in STACKS if getattr(options, name)] + [GENERATED]


def check_there(parser: argparse.ArgumentParser, options: argparse.Namespace, names: list[str]) -> None:
    """Refuse data sets whose files are not known."""
    known = there(options)
    absent = [folder for folder in map(folder_option, names) if folder not in known]
    if absent:
        parser.error(f"--{absent[0]}: give the folder of its files, or set SCSAM_TEST_DATA")


def stack_of(data: str) -> Stack | None:
    """What is known of a real data set, one to tune on too; None for generated cells."""
    return {**STACKS, **TUNING}.get(data)


def folder_option(data: str) -> str:
    """The option that names a data set's folder."""
    return data.removesuffix("-tuning")


def prepare(options: argparse.Namespace, data: str, labels: str) -> Path:
    """Return the folder of a data set with as many labelled sections as asked for."""
    whole = options.output / "data" / data
    if data == GENERATED:
        whole = options.generated or whole
        if options.generated is None:
            write_sample_dataset(whole)
    elif (stack := stack_of(data)) and not (whole / "dataset.json").is_file():
        import_files(
            getattr(options, folder_option(data)),
            whole,
            images=[stack.images],
            labels=[stack.labels],
            classes={str(value): name for value, name in enumerate(stack.classes)},
            voxel_size_nm=stack.voxel_size_nm,
            z_ranges={"training": stack.training, "test": stack.test},
        )
    count = SECTIONS[labels]
    return (
        whole if count is None else with_sections(whole, options.output / "data" / f"{data}-{labels}", count)
    )


def with_sections(source: Path, target: Path, count: int) -> Path:
    """Write a data set whose training list is ``count`` sections of another's, evenly spread over it."""
    content = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    default = content.get("voxel_size_nm")
    for items in (content.get(section, []) for section in ("training", "validation", "test")):
        for item in items:
            item |= {key: str((source / item[key]).resolve()) for key in ("image", "label")}
            if default is not None:
                item.setdefault("voxel_size_nm", default)
    places = [(item, z) for item in content["training"] for z in range(*z_range(item))]
    chosen = [places[(2 * part + 1) * len(places) // (2 * count)] for part in range(count)]
    content["training"] = [
        {**item, "region": [[z, z + 1], *(item.get("region") or [None] * 3)[1:]]} for item, z in chosen
    ]
    write_json(target / "dataset.json", content)
    return target


def z_range(item: Mapping[str, Any]) -> tuple[int, int]:
    """First section of an item, and the one after its last."""
    bounds = (item.get("region") or [None])[0]
    return (bounds[0], bounds[1]) if bounds else (0, read_header(item["image"]).shape[0])
