"""Which voxels can be scored, and against which classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scsam_monai.errors import InputError


def annotated_mask(annotated: Tensor | Sequence[int] | None, n_classes: int) -> Tensor:
    """Bring the two spellings of "annotated" to one.

    Args:
        annotated: class ids, or a bool mask ``(K',)``; None means all classes.
        n_classes: K', background included.

    Returns:
        Bool mask ``(K',)`` on the CPU. The background is always annotated.

    Raises:
        InputError: if an id or the mask's length does not fit ``n_classes``.
    """
    mask = torch.zeros(n_classes, dtype=torch.bool)
    named = torch.arange(n_classes) if annotated is None else torch.as_tensor(annotated).cpu()
    is_mask = named.dtype == torch.bool
    fits = named.shape == mask.shape if is_mask else bool(((named >= 0) & (named < n_classes)).all())
    if not fits:
        raise InputError(
            "annotated",
            expected=f"class ids below {n_classes}, or a mask of that length",
            met=f"{named.tolist()}",
            remedy="name the classes of this data set, background (0) included",
        )
    mask[named if is_mask else named.long()] = True
    mask[0] = True
    return mask


def scorable(prediction: Tensor, truth: Tensor, annotated: Tensor, ignore_label: int) -> Tensor:
    """Mark the voxels that can be counted.

    A class that is not annotated is unknown, not background. So a voxel labelled background may well belong
    to it: where such a class is predicted there, nobody knows whether that is right, and the voxel is left
    out. Where the truth is another class the prediction is known to be wrong, and counts. Voxels labelled
    with a class that is not annotated are left out too.

    Args:
        prediction: class ids, any shape.
        truth: class ids or ``ignore_label``, same shape.
        annotated: bool mask ``(K',)``.
        ignore_label: marks unknown voxels.

    Returns:
        Bool tensor of the same shape.

    Raises:
        InputError: if the shapes differ or a value is no class id.
    """
    if prediction.shape != truth.shape:
        raise InputError(
            "prediction",
            expected=f"the shape of the ground truth, {tuple(truth.shape)}",
            met=f"{tuple(prediction.shape)}",
            remedy="compare a prediction with the label of the same image, both as label maps",
        )
    known = truth != ignore_label
    _check_ids("prediction", prediction[known], len(annotated))
    _check_ids("ground truth", truth[known], len(annotated))
    if bool(annotated.all()):
        return known
    lookup = annotated.to(truth.device)
    seen = lookup[prediction.long().clamp(0, len(lookup) - 1)]
    labelled = lookup[truth.long().clamp(0, len(lookup) - 1)]
    return known & labelled & (seen | (truth != 0))


def _check_ids(where: str, values: Tensor, n_classes: int) -> None:
    if values.numel() == 0:
        return
    low, high = (int(value) for value in values.aminmax())
    if low < 0 or high >= n_classes:
        raise InputError(
            where,
            expected=f"class ids from 0 to {n_classes - 1}",
            met=f"values from {low} to {high}",
            remedy="hand in label maps (argmax of the logits) with the ids of dataset.json",
        )
