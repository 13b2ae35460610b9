"""Pickled checkpoints become safetensors on first use: quicker to load, and nothing in them can run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.weights.files import read_state_dict
from scsam_monai.weights.locate import cache_dir, check_content
from scsam_monai.weights.registry import WeightsFile

logger = logging.getLogger(__name__)

SOURCE = "source_sha256"


def converted(file: WeightsFile, path: Path) -> Path:
    """Return a safetensors twin of a registered file, made and kept on first use.

    The content of ``path`` is checked once, before the twin is made; the twin records the SHA-256 of what it came
    from, and is trusted for it. It stands beside ``path``, or in the user's cache where that folder cannot be
    written to. Where neither can, ``path`` itself is returned, checked.

    Raises:
        InputError: if ``path`` is not the registered file.
    """
    if path.suffix == ".safetensors":
        check_content(file, path)
        return path
    for twin in _twins(path):
        if file.sha256 is not None and _source_of(twin) == file.sha256:
            return twin
    check_content(file, path)
    return _convert(file, path) or path


def _convert(file: WeightsFile, path: Path) -> Path | None:
    state = {key: value.contiguous() for key, value in read_state_dict(path).items()}
    for twin in _twins(path):
        try:
            with atomic_path(twin) as temporary:
                save_file(state, temporary, metadata={"format": "pt", SOURCE: str(file.sha256)})
        except (OSError, SafetensorError) as error:
            logger.info("%s was not converted to %s: %s", path.name, twin, error)
        else:
            logger.info("%s was converted to %s", path, twin)
            return twin
    return None


def _twins(path: Path) -> Iterator[Path]:
    name = path.with_suffix(".safetensors").name
    yield path.with_name(name)
    if cache_dir() != path.parent:
        yield cache_dir() / name


def _source_of(twin: Path) -> str | None:
    """The SHA-256 of what a twin was made from; None if it cannot be read."""
    if not twin.is_file():
        return None
    try:
        with safe_open(twin, framework="pt") as content:
            return (content.metadata() or {}).get(SOURCE)
    except (OSError, SafetensorError):
        return None
