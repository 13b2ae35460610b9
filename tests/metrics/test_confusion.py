from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.metrics import MeanIoU
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.metrics import ConfusionIoU, dice_per_class, iou_per_class, mean_foreground
from scsam_monai.metrics import confusion as confusion_module

K = 4


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    size = draw(st.integers(1, 40))
    prediction = draw(st.lists(st.integers(0, K - 1), min_size=size, max_size=size))
    truth = draw(st.lists(st.sampled_from([*range(K), 255]), min_size=size, max_size=size))
    return torch.tensor(prediction)[None, None], torch.tensor(truth)[None, None]


def count(prediction: Tensor, truth: Tensor, annotated: list[int] | None = None) -> Tensor:
    metric = ConfusionIoU(K)
    metric(prediction, truth, None if annotated is None else [annotated] * len(truth))
    return metric.get_buffer()


def test_hand_made_example() -> None:
    truth = torch.tensor([[[0, 0, 1, 1, 1, 2, 255]]])
    prediction = torch.tensor([[[0, 1, 1, 1, 2, 2, 3]]])
    confusion = count(prediction, truth)
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    iou = iou_per_class(confusion)
    assert iou[:3].tolist() == pytest.approx([1 / 2, 2 / 4, 1 / 2])
    assert torch.isnan(iou[3])
    assert dice_per_class(confusion)[:3].tolist() == pytest.approx([2 / 3, 4 / 6, 2 / 3])
    assert mean_foreground(confusion, iou).item() == pytest.approx(0.5)


@settings(max_examples=50, deadline=None)
@given(label_pairs())
def test_equals_scikit_learn(pair: tuple[Tensor, Tensor]) -> None:
    prediction, truth = pair
    confusion = count(prediction, truth)
    known = truth != 255
    y, p = truth[known].numpy(), prediction[known].numpy()
    if y.size == 0:
        assert confusion.sum() == 0
        return
    classes = list(range(K))
    np.testing.assert_array_equal(confusion.numpy(), confusion_matrix(y, p, labels=classes))
    present = (confusion.sum(0) + confusion.sum(1)) > 0
    iou = jaccard_score(y, p, labels=classes, average=None, zero_division=0)
    dice = f1_score(y, p, labels=classes, average=None, zero_division=0)
    np.testing.assert_allclose(iou_per_class(confusion)[present], iou[present.numpy()])
    np.testing.assert_allclose(dice_per_class(confusion)[present], dice[present.numpy()])


def test_equals_monai_on_one_image() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, truth = torch.randint(0, K, (2, 1, 1, 16, 16), generator=generator)
    reference = MeanIoU(include_background=True, reduction="none")
    one_hot = [torch.nn.functional.one_hot(labels[:, 0], K).movedim(-1, 1) for labels in (prediction, truth)]
    reference(*one_hot)
    torch.testing.assert_close(
        iou_per_class(count(prediction, truth)), reference.aggregate()[0].double(), rtol=1e-6, atol=0
    )


@settings(max_examples=40, deadline=None)
@given(label_pairs(), st.randoms(use_true_random=False), st.sampled_from([None, [1], [0, 2, 3]]))
def test_order_of_voxels_does_not_matter(pair: tuple[Tensor, Tensor], random, annotated) -> None:
    prediction, truth = pair
    if annotated is not None:
        truth[(truth != 255) & ~torch.isin(truth, torch.tensor([0, *annotated]))] = 0
    order = list(range(truth.shape[-1]))
    random.shuffle(order)
    shuffled = count(prediction[..., order], truth[..., order], annotated)
    assert torch.equal(count(prediction, truth, annotated), shuffled)


@settings(max_examples=40, deadline=None)
@given(label_pairs(), st.integers(0, 40))
def test_parts_add_up_to_the_whole(pair: tuple[Tensor, Tensor], cut: int) -> None:
    prediction, truth = pair
    metric = ConfusionIoU(K)
    metric(prediction[..., :cut], truth[..., :cut])
    metric(prediction[..., cut:], truth[..., cut:])
    assert torch.equal(metric.get_buffer(), count(prediction, truth))


def test_chunks_of_a_large_volume_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, truth = torch.randint(0, K, (2, 1, 1, 9, 10, 11), generator=generator)
    whole = count(prediction, truth)
    monkeypatch.setattr(confusion_module, "CHUNK", 7)
    assert torch.equal(count(prediction, truth), whole)
    assert whole.sum() == truth.numel()


def test_unannotated_class_is_unknown_not_background() -> None:
    # Class 3 is not annotated. Voxels: background predicted as 3 (left out), class 1 predicted as 3 (a miss).
    truth = torch.tensor([[[0, 0, 1, 1, 2]]])
    prediction = torch.tensor([[[3, 2, 3, 1, 2]]])
    confusion = count(prediction, truth, [0, 1, 2])
    assert confusion.tolist() == [[0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert count(prediction, truth).sum() == 5


def test_annotated_may_differ_between_items_and_be_a_mask() -> None:
    truth = torch.zeros(2, 1, 4, dtype=torch.uint8)
    prediction = torch.full((2, 1, 4), 2, dtype=torch.uint8)
    mask = torch.tensor([[True, True, False, True], [True, True, True, True]])
    for annotated in (mask, [[0, 1, 3], [0, 1, 2, 3]], [mask[0], None]):
        matrices = ConfusionIoU(K)(prediction, truth, annotated)
        assert [int(matrix.sum()) for matrix in matrices] == [0, 4]


def test_mean_counts_classes_with_ground_truth_only() -> None:
    confusion = torch.tensor([[8, 0, 2], [0, 4, 0], [0, 0, 0]])
    iou = iou_per_class(confusion)
    assert iou.tolist() == pytest.approx([0.8, 1.0, 0.0])
    assert mean_foreground(confusion, iou).item() == 1.0
    assert mean_foreground(confusion, iou, include_background=True).item() == pytest.approx(0.9)


def test_nothing_to_score_is_nan() -> None:
    metric = ConfusionIoU(K)
    assert torch.isnan(metric.aggregate())
    metric(torch.zeros(1, 1, 4), torch.full((1, 1, 4), 255))
    assert torch.isnan(metric.aggregate())


def test_reset_forgets() -> None:
    metric = ConfusionIoU(2)
    labels = torch.ones(1, 1, 3, dtype=torch.int64)
    metric(1 - labels, labels)
    assert metric.aggregate() == 0
    metric.reset()
    metric(labels, labels)
    assert metric.aggregate() == 1


def test_takes_lists_of_float_meta_tensors() -> None:
    label = MetaTensor(torch.tensor([[[0.0, 1.0], [1.0, 255.0]]]))
    metric = ConfusionIoU(2)
    metric([label.clamp(max=1)], [label])
    assert metric.get_buffer().tolist() == [[1, 0], [0, 2]]
    assert type(metric.get_buffer()) is Tensor


@pytest.mark.parametrize(
    ("prediction", "truth", "says"),
    [
        (torch.zeros(1, 1, 4), torch.zeros(1, 1, 5), "shape"),
        (torch.zeros(1, 3, 4), torch.zeros(1, 3, 4), "one channel"),
        (torch.full((1, 1, 4), 4), torch.zeros(1, 1, 4), "values from 4 to 4"),
        (torch.zeros(1, 1, 4), torch.full((1, 1, 4), 9), "values from 9 to 9"),
    ],
)
def test_refuses_what_is_no_label_map(prediction: Tensor, truth: Tensor, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ConfusionIoU(K)(prediction, truth)


def test_refuses_annotated_classes_that_do_not_exist() -> None:
    labels = torch.zeros(1, 1, 4)
    for annotated in ([[0, K]], [torch.ones(K + 1, dtype=torch.bool)]):
        with pytest.raises(InputError, match="annotated"):
            ConfusionIoU(K)(labels, labels, annotated)
