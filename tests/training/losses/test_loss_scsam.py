from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scsam_monai.networks.scsam import ScSAMOutput
from scsam_monai.training.losses import ScSAMLoss, SegmentationLoss


def output(**changes: Tensor | None) -> ScSAMOutput:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).requires_grad_()

    parts = {
        "logits": draw(2, 3, 16, 16),
        "similarity": draw(2, 3, 4, 4).tanh(),
        "aligned": {name: draw(2, 8, 4, 4) for name in ("sam", "mae", "pyramid")},
        "fused": draw(2, 8, 4, 4),
        "prototypes": draw(3, 2, 8),
    }
    return ScSAMOutput(**(parts | changes))  # type: ignore[arg-type]


@pytest.fixture
def target() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    label = torch.randint(0, 3, (2, 1, 16, 16), generator=generator, dtype=torch.uint8)
    label[0, :, :4] = 255
    return {"label": label, "annotated": torch.tensor([[True, True, True], [True, True, True]])}


def test_total_is_the_sum_of_the_named_terms(target: dict[str, Tensor]) -> None:
    loss = ScSAMLoss()
    total = loss(output(), target)
    terms = {
        name: value for name, value in loss.terms.items() if name != "total" and not name.startswith("rank")
    }
    assert set(terms) == {"cross_entropy", "dice", "similarity", "contrast", "alignment"}
    assert sum(value.item() for value in terms.values()) == pytest.approx(total.item(), rel=1e-6)
    assert loss.terms["total"].item() == total.item()
    assert not any(value.requires_grad for value in loss.terms.values())


def test_weights_scale_their_terms(target: dict[str, Tensor]) -> None:
    one = ScSAMLoss(similarity_weight=1, contrast_weight=1, alignment_weight=1)
    two = ScSAMLoss(similarity_weight=2, contrast_weight=3, alignment_weight=4)
    one(output(), target)
    two(output(), target)
    for name, factor in (("similarity", 2), ("contrast", 3), ("alignment", 4), ("dice", 1)):
        assert two.terms[name].item() == pytest.approx(factor * one.terms[name].item(), rel=1e-5)


def test_plain_logits_get_the_segmentation_loss(target: dict[str, Tensor]) -> None:
    logits = output().logits
    expected = SegmentationLoss()(logits, target["label"], target["annotated"])
    loss = ScSAMLoss()
    assert loss(logits, target).item() == pytest.approx(expected.item())
    assert set(loss.terms) == {"cross_entropy", "dice", "total"}


def test_parts_the_network_lacks_are_left_out(target: dict[str, Tensor]) -> None:
    loss = ScSAMLoss()
    loss(output(aligned={}), target)
    assert "alignment" not in loss.terms
    assert "similarity" in loss.terms
    switched_off = ScSAMLoss(similarity_weight=0, contrast_weight=0, alignment_weight=0)
    switched_off(output(), target)
    assert not {"similarity", "contrast", "alignment"} & set(switched_off.terms)


def test_effective_ranks_are_measured_now_and_then_and_kept(target: dict[str, Tensor]) -> None:
    loss = ScSAMLoss(rank_interval=2)
    loss(output(), target)
    first = loss.terms["rank_mae"].item()
    assert first > 3
    collapsed = output(aligned=output().aligned | {"mae": torch.ones(2, 8, 4, 4)})
    loss(collapsed, target)
    assert loss.terms["rank_mae"].item() == first
    loss(collapsed, target)
    assert loss.terms["rank_mae"].item() == 0


def test_an_unknown_batch_stays_finite(target: dict[str, Tensor]) -> None:
    prediction = output()
    target["label"] = torch.full_like(target["label"], 255)
    loss = ScSAMLoss()
    loss(prediction, target).backward()
    assert all(value.isfinite() for value in loss.terms.values())
    assert prediction.prototypes.grad is not None
    assert prediction.prototypes.grad.isfinite().all()


def test_everything_is_float32_under_autocast(target: dict[str, Tensor]) -> None:
    plain = ScSAMLoss()(output(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = ScSAMLoss()(output(), target)
    assert cast.dtype == torch.float32
    assert cast.item() == plain.item()
