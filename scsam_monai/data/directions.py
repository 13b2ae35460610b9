"""Notice images and labels whose NIfTI headers say that their axes run opposite ways."""

from __future__ import annotations

import logging
from pathlib import Path

from scsam_monai.io.checks import say_once
from scsam_monai.io.formats.nifti import is_nifti, orientation

logger = logging.getLogger(__name__)


def warn_of_directions(image: object, labels: object) -> None:
    """Warn where the headers of two NIfTI files contradict the order in which their voxels are stored.

    Voxels are paired as they are stored. A header may be wrong, as of labels that a program wrote from an array, or
    right, as of those that a viewer turned round: a person has to look.

    Args:
        image: a path; anything else passes.
        labels: those that belong to it.

    Example:
        >>> warn_of_directions("cell.tif", "cell_labels.nii")
    """
    if not all(isinstance(source, str | Path) and is_nifti(source) for source in (image, labels)):
        return
    one, other = (orientation(Path(str(source))) for source in (image, labels))
    if one is not None and other is not None and one != other:
        say_once(
            logger,
            "%s runs to %s and %s to %s by their headers: voxels are paired as they are stored; if labels then lie "
            "mirrored on the image, turn both to RAS (nibabel.as_closest_canonical in Python) and save them",
            *(image, one, labels, other),
        )
