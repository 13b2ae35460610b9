"""Find the images that a pre-training may look at."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from scsam_monai.data.corpus import HELD_OUT, write_corpus
from scsam_monai.data.description import DESCRIPTION_NAME, SECTIONS, load_dataset
from scsam_monai.data.listing import list_images
from scsam_monai.errors import InputError, check_choice

logger = logging.getLogger(__name__)


def list_unlabelled(
    dataset_dir: str | Path, corpus_dir: str | Path | None = None, sections: Sequence[str] = ("training",)
) -> list[dict[str, Any]]:
    """List what a pre-training learns from, without labels.

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
    total = hashlib.sha256()
    for item in items:
        path = Path(item["image"])
        total.update(json.dumps([path.name, item.get("region")]).encode())
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


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
