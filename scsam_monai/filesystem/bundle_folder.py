"""Where the bundle is that belongs to this package, and where what it makes may go."""

from __future__ import annotations

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a MONAI bundle."""
    return (folder / "configs" / "metadata.json").is_file()


def bundle_folder() -> Path:
    """Return the folder of the bundle that comes with this package.

    It is inside the package where that was installed, and beside it in a clone of the repository, editable
    installations included. A package that was copied without its bundle gets the latter, which is not there then.
    """
    inside = PACKAGE / "bundle"
    return inside if is_bundle(inside) else PACKAGE.parent / "bundle"


def output_root(bundle: str | Path) -> str:
    """Return the folder whose ``runs`` and ``data`` take what a bundle's workflows write.

    That is the bundle itself. Where it is part of an installed package, which an update would replace, or where it
    is read-only, it is the working directory; one line of the log says so.

    Args:
        bundle: the bundle's folder.
    """
    bundle = Path(bundle).resolve()
    if not bundle.is_relative_to(PACKAGE) and os.access(bundle, os.W_OK):
        return str(bundle)
    here = Path.cwd()
    logger.info("runs and generated data go to %s and %s", here / "runs", here / "data")
    return str(here)
