"""List images without labels: to predict, or to pre-train on."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ignite.distributed as idist

from scsam_monai.data.corpus import HELD_OUT, write_corpus
from scsam_monai.data.dataset import DESCRIPTION_NAME, SECTIONS, load_dataset
from scsam_monai.errors import InputError, check_choice
from scsam_monai.filesystem.atomic import sha256_over
from scsam_monai.io import is_supported, only_in_parts, read_header
from scsam_monai.io.checks import check_links
from scsam_monai.io.formats import files_of
from scsam_monai.io.outputs import LABELS, leave_out_outputs

logger = logging.getLogger(__name__)


class Inputs(NamedTuple):
    """The files to predict: those that are read whole, and those that are read in parts."""

    images: list[dict[str, str]]
    """Items ``{"image": path}`` that are loaded whole."""
    volumes: list[str]
    """Volumes that are streamed: of formats made for it, or too large to load."""


def list_inputs(
    path: str | Path, stream_above_gb: float = 1.0, axes: str | None = None, output_postfix: str = LABELS
) -> Inputs:
    """List one image or volume, or all of a folder in the order of their names.

    What an earlier run has written into that folder is left out.

    Args:
        path: an image, a volume, or a folder that holds some.
        stream_above_gb: images that take more than this in memory are streamed, too.
        axes: letters of the stored axes of all, where the files do not say.
        output_postfix: behind the names of label images.

    Raises:
        InputError: if there is none, or an image cannot be read.
    """
    path = Path(path)
    if only_in_parts(path):
        return Inputs([], [str(path.absolute())])
    entries = leave_out_outputs(sorted(path.iterdir()), output_postfix) if path.is_dir() else []
    volumes = [str(entry.absolute()) for entry in entries if only_in_parts(entry)]
    if volumes and not any(entry.is_file() and is_supported(entry) for entry in entries):
        return Inputs([], volumes)
    images = _listed(path, entries if path.is_dir() else [path], axes)
    large = [item["image"] for item in images if _gigabytes(item["image"], axes) > stream_above_gb]
    return Inputs([item for item in images if item["image"] not in large], sorted([*volumes, *large]))


def list_images(path: str | Path, axes: str | None = None) -> list[dict[str, str]]:
    """List one image, or all images of a folder in the order of their names.

    Args:
        path: an image, or a folder that holds some.
        axes: letters of the stored axes of all, where the files do not say.

    Returns:
        items ``{"image": path}``.

    Raises:
        InputError: if there is none, or one of them cannot be read: better now than after the others.

    Example:
        >>> list_images("nowhere")
        Traceback (most recent call last):
        ...
        scsam_monai.errors.InputError: nowhere: expected an image or a folder of images, met no such file; ...
    """
    path = Path(path)
    return _listed(path, sorted(path.iterdir()) if path.is_dir() else [path], axes)


def _listed(path: Path, files: Sequence[Path], axes: str | None) -> list[dict[str, str]]:
    if not path.exists():
        raise InputError(
            path,
            expected="an image or a folder of images",
            met="no such file",
            remedy="name it with --dataset_dir PATH",
        )
    images = [file for file in files if is_supported(str(file))]
    check_links(image for image in images if not image.name.startswith("."))
    images = [file for file in images if file.is_file()]
    if not images:
        raise InputError(
            path,
            expected="TIFF, PNG, NIfTI or NumPy images",
            met=f"{len(files)} other files" if path.is_dir() else "another format",
            remedy="name the folder with --dataset_dir DIR",
        )
    for image in images:
        read_header(image, axes)
    return [{"image": str(image.resolve())} for image in images]


def _gigabytes(image: str, axes: str | None) -> float:
    header = read_header(image, axes)
    return math.prod(header.shape) * header.dtype.itemsize / 1e9


def list_unlabelled(
    dataset_dir: str | Path, corpus_dir: str | Path | None = None, sections: Sequence[str] = ("training",)
) -> list[dict[str, Any]]:
    """List the images that a pre-training learns from.

    Of a data set with a ``dataset.json`` only the named sections are taken: a pre-training that has seen the test
    volumes makes their scores worthless. Of a corpus the held-out images are left out.

    Args:
        dataset_dir: folder of images of any supported format, a corpus, or a data set.
        corpus_dir: where the generated corpus stands; when ``dataset_dir`` is this folder, it is generated if it
            is not there yet.
        sections: of a data set, which to take.

    Returns:
        items ``{"image": path}``, with ``region`` and ``voxel_size_nm`` where a data set names them.

    Raises:
        InputError: if there is no image to learn from.
    """
    folder = Path(dataset_dir)
    if corpus_dir is not None and folder.resolve() == Path(corpus_dir).resolve():
        _generate(folder)
    if (folder / DESCRIPTION_NAME).is_file():
        return _of_sections(folder, sections)
    found = list_images(folder / "images" if (folder / "images").is_dir() else folder)
    items = [item for item in found if not Path(item["image"]).name.startswith(HELD_OUT)]
    logger.info("pre-training on %d images of %s; %d held out", len(items), folder, len(found) - len(items))
    if not items:
        raise InputError(
            folder,
            expected=f"an image to learn from, not named {HELD_OUT}*",
            met=f"{len(found)} held-out images",
            remedy="rename those that may be learned from",
        )
    return items


def items_hash(items: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of the names, regions and contents of images, for a run's record."""
    named = ((Path(item["image"]), item.get("region")) for item in items)
    parts: list[str | Path] = []
    for path, region in named:
        parts += [json.dumps([path.name, region]), *files_of(path)]
    return sha256_over(parts)


def _of_sections(folder: Path, sections: Sequence[str]) -> list[dict[str, Any]]:
    for name in sections:
        check_choice("sections", name, SECTIONS)
    description = load_dataset(folder)
    items = [item for name in sections for item in description.sections[name]]
    logger.info("pre-training on the %s sections of %s: %d items", ", ".join(sections), folder, len(items))
    return [{key: item[key] for key in ("image", "region", "voxel_size_nm") if key in item} for item in items]


def _generate(folder: Path) -> None:
    if not idist.get_rank():
        logger.info("no images named: using generated volumes in %s", folder)
        write_corpus(folder, progress=lambda share, what: logger.info("%3.0f %%: %s", share * 100, what))
    if idist.get_world_size() > 1:
        idist.barrier()
