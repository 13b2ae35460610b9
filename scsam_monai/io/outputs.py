"""Tell outputs of an earlier run from the images that they were made of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

LABELS = "_labels"
PICTURE = "_prediction"

logger = logging.getLogger(__name__)


def leave_out_outputs(files: Sequence[Path], postfix: str = LABELS) -> list[Path]:
    """Leave out ``a_labels.tif`` and ``a_prediction.png`` where ``a.tif`` is there, and say so.

    Args:
        files: of one folder.
        postfix: behind the names of label images.

    Example:
        >>> [str(file) for file in leave_out_outputs([Path("a.tif"), Path("a_labels.tif"), Path("b_labels.tif")])]
        ['a.tif', 'b_labels.tif']
    """
    stems = {stem_of(file) for file in files}
    endings = [ending for ending in (postfix, PICTURE) if ending]
    own = [
        file
        for file in files
        if any(
            stem_of(file).endswith(ending) and stem_of(file).removesuffix(ending) in stems
            for ending in endings
        )
    ]
    if own:
        more = f" and {len(own) - 3} more" if len(own) > 3 else ""
        named = ", ".join(file.name for file in own[:3]) + more
        logger.warning(
            "%s: not taken for images, they are outputs of others beside them: %s", own[0].parent, named
        )
    return [file for file in files if file not in set(own)]


def stem_of(file: Path) -> str:
    """``a.0`` of ``a.0.tif``, ``a`` of ``a.ome.zarr`` and of ``a.nii.gz``."""
    for suffix in (".ome.zarr", ".ome.tif", ".ome.tiff", ".ome.btf", ".nii.gz"):
        if file.name.lower().endswith(suffix):
            return file.name[: -len(suffix)]
    return file.stem
