"""Weights that keep thin and rare organelles audible in the cross-entropy."""

from __future__ import annotations

import numpy as np

from scsam_monai.data.dataset import IGNORE_LABEL
from scsam_monai.training.crops import BalancedCropDataset, as_crops


def inverse_frequency_weights(dataset: BalancedCropDataset, power: float = 0.5) -> list[float]:
    """Return K' weights ``(1 / frequency) ** power`` from the voxels of all crops of the pool.

    Balanced crops still show mostly background: a crop around a membrane is a few per cent membrane.

    Args:
        dataset: the pool.
        power: 0 weighs all voxels alike, 1 all classes.

    Returns:
        Weights whose mean over voxels is 1; classes without a voxel weigh 1.
    """
    counts = np.zeros(dataset.n_classes)
    for _, label in as_crops(dataset):
        counts += np.bincount(label[label != IGNORE_LABEL], minlength=dataset.n_classes)
    if not counts.any():
        return [1.0] * dataset.n_classes
    weights = np.ones(dataset.n_classes)
    present = counts > 0
    weights[present] = (counts.sum() / counts[present]) ** power
    weights[present] *= counts.sum() / (weights[present] @ counts[present])
    return [float(weight) for weight in weights]
