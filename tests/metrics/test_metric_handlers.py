from __future__ import annotations

import math

import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, from_engine
from torch import Tensor, nn

from scsam_monai.metrics import ConfusionIoU, VolumeIoUHandler, iou_per_class

NAMES = ["background", "nucleus", "golgi"]
IMAGES = torch.tensor([[0, 1, 1, 2], [0, 1, 2, 2]])[:, None, None].float()
LABELS = torch.tensor([[0, 1, 0, 0], [0, 1, 1, 1]])[:, None, None]


def items(annotated: list[Tensor] | None = None) -> list[dict[str, Tensor]]:
    data = [{"image": image, "label": label} for image, label in zip(IMAGES, LABELS, strict=True)]
    for index, mask in enumerate(annotated or []):
        data[index]["annotated"] = mask
    return data


def evaluator(data: list[dict[str, Tensor]], **kwargs) -> SupervisedEvaluator:
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    return SupervisedEvaluator(device="cpu", val_data_loader=loader, network=nn.Identity(), **kwargs)


def test_writes_scalars_for_every_class() -> None:
    engine = evaluator(items(), val_handlers=[VolumeIoUHandler(NAMES)])
    engine.run()
    expected = ConfusionIoU(3)
    expected(IMAGES, LABELS)
    iou = iou_per_class(expected.get_buffer())
    metrics = engine.state.metrics
    assert metrics["mean_iou"] == pytest.approx(expected.aggregate().item()) == pytest.approx(2 / 5)
    assert metrics["mean_dice"] == pytest.approx(2 * 2 / (3 + 4))
    assert [metrics[f"iou_{name}"] for name in NAMES] == pytest.approx(iou.tolist())
    assert metrics["iou_golgi"] == 0
    assert all(isinstance(value, float) for value in metrics.values())
    assert torch.equal(engine.state.metric_details["mean_iou"], expected.get_buffer())


def test_serves_as_key_metric() -> None:
    engine = evaluator(items(), key_val_metric={"mean_iou": VolumeIoUHandler(NAMES)})
    engine.run()
    assert engine.state.best_metric == pytest.approx(0.4)
    assert "dice_nucleus" in engine.state.metrics


def test_starts_afresh_each_epoch() -> None:
    engine = evaluator(items(), val_handlers=[VolumeIoUHandler(NAMES)])
    engine.run()
    first = engine.state.metric_details["mean_iou"].clone()
    engine.run(global_epoch=2)
    assert torch.equal(engine.state.metric_details["mean_iou"], first)
    assert first.sum() == LABELS.numel()


def test_annotated_classes_come_with_the_batch() -> None:
    without_golgi = torch.tensor([True, True, False])
    engine = evaluator(
        items([without_golgi, torch.ones(3, dtype=torch.bool)]), val_handlers=[VolumeIoUHandler(NAMES)]
    )
    engine.run()
    # The first item's background predicted as Golgi cannot be scored.
    assert engine.state.metric_details["mean_iou"].sum() == LABELS.numel() - 1


def test_output_transform_may_name_the_annotated_classes() -> None:
    def transform(output: list[dict[str, Tensor]]) -> tuple:
        return (*from_engine(["pred", "label"])(output), [[0, 1]] * len(output))

    engine = evaluator(items(), val_handlers=[VolumeIoUHandler(NAMES, output_transform=transform)])
    engine.run()
    assert engine.state.metric_details["mean_iou"].sum() == LABELS.numel() - 1


def test_scores_that_do_not_exist_are_nan() -> None:
    data = [{"image": torch.zeros(1, 2, 2), "label": torch.zeros(1, 2, 2)}]
    engine = evaluator(data, val_handlers=[VolumeIoUHandler(NAMES)])
    engine.run()
    assert math.isnan(engine.state.metrics["mean_iou"])
    assert math.isnan(engine.state.metrics["iou_nucleus"])
    assert engine.state.metrics["mean_iou_with_background"] == 1


def test_metric_works_inside_monais_own_handler() -> None:
    handler = IgniteMetricHandler(ConfusionIoU(3), output_transform=from_engine(["pred", "label"]))
    engine = evaluator(items(), key_val_metric={"iou": handler})
    engine.run()
    assert engine.state.metrics["iou"] == pytest.approx(0.4)
    assert engine.state.metric_details["iou"].shape == (3, 3)


def test_items_that_another_process_counts_are_left_out() -> None:
    data = items()
    for item in data:
        item["counted_elsewhere"] = True
    engine = evaluator(data, val_handlers=[VolumeIoUHandler(NAMES)])
    engine.run()
    assert engine.state.metric_details["mean_iou"].sum() == 0
