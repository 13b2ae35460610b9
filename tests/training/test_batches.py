from __future__ import annotations

import torch

from scsam_monai.training.batches import prepare_batch


def test_a_batch_becomes_image_and_target() -> None:
    batch = {
        "image": torch.rand(2, 1, 4, 4),
        "label": torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
        "annotated": torch.ones(2, 3, dtype=torch.bool),
    }
    image, target = prepare_batch(batch, torch.device("cpu"), non_blocking=True, dtype=torch.float64)
    assert image.dtype == torch.float64
    assert set(target) == {"label", "annotated"}
    assert target["label"].dtype == torch.uint8
