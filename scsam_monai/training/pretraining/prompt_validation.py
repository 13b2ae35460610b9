"""Score a promptable network: one point in the middle of each object, and its box."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import Workflow
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from scsam_monai.networks.prompt_window import Prompts
from scsam_monai.networks.promptable_sam import UNAMBIGUOUS, PromptableSAM, PromptedMasks
from scsam_monai.training.losses.promptable import enlarge, pixel_iou
from scsam_monai.training.pretraining.prompt_step import (
    bounding_boxes,
    box_prompts,
    objects,
    point_prompts,
    settled,
)


class PromptValidation:
    """The ``iteration_update`` of an evaluator: prompt every object of a batch.

    Args:
        network: what is asked.
    """

    def __init__(self, network: PromptableSAM) -> None:
        self.network = network

    @torch.no_grad()
    def __call__(self, engine: Workflow, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Answer ``label``'s objects on ``image``; see :func:`prompt_objects`."""
        image, label = (batch[name].to(engine.state.device) for name in ("image", "label"))
        self.network.eval()
        return {"image": image, "label": label, **prompt_objects(self.network, image, label)}


@torch.no_grad()
def prompt_objects(network: PromptableSAM, image: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Prompt each object once with its centre and once with its box.

    Args:
        network: what is asked.
        image: ``(B, 1, H, W)`` in [0, 1].
        label: ``(B, 1, H, W)``, objects numbered from 1.

    Returns:
        for P objects: ``image_index`` (P,), ``area`` (P,) in pixels, ``point`` (P, 2), ``box`` (P, 2, 2), the
        masks ``point_mask`` and ``box_mask`` (P, H, W) bool, and IoUs (P,): ``point_iou`` of the mask that the
        network rates highest of three, ``best_point_iou`` of the best of the three, ``single_point_iou`` of the
        one for unambiguous prompts, and ``box_iou``.
    """
    embedding = network.encode(image)
    index, masks = objects(label)
    points, boxes = centres(masks), bounding_boxes(masks)
    by_point = _answer(network, embedding, index, point_prompts(points))
    by_box = _answer(network, embedding, index, box_prompts(boxes))
    everything = torch.ones_like(index, dtype=torch.bool)
    chosen, boxed = settled(by_point, everything), by_box.logits[:, UNAMBIGUOUS].unsqueeze(1)
    size = (masks.shape[1], masks.shape[2])
    all_ious = pixel_iou(by_point.logits, masks)
    return {
        "image_index": index,
        "area": masks.flatten(1).sum(dim=1),
        "point": points,
        "box": boxes,
        "point_mask": enlarge(chosen, size)[:, 0] > 0,
        "box_mask": enlarge(boxed, size)[:, 0] > 0,
        "point_iou": pixel_iou(chosen, masks)[:, 0],
        "best_point_iou": all_ious[:, 1:].amax(dim=1),
        "single_point_iou": all_ious[:, UNAMBIGUOUS],
        "box_iou": pixel_iou(boxed, masks)[:, 0],
    }


def centres(masks: Tensor) -> Tensor:
    """Return x and y ``(P, 2)`` of the pixel farthest from the border of each mask ``(P, H, W)``.

    The edge of the image counts as border, so that a cut object is not prompted at the cut.
    """
    places = []
    for mask in masks.cpu().numpy():
        distance = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(distance.argmax()), mask.shape)
        places.append((float(x), float(y)))
    return torch.tensor(places, device=masks.device)


class PromptScores:
    """Medians over all objects of a validation, as metrics of the evaluator.

    ``prompt_iou``, the mean of the medians for a point and for a box, tells which weights are best.
    """

    SCORES = ("point_iou", "best_point_iou", "single_point_iou", "box_iou")

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator, before whatever reads the metrics."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self) -> None:
        self._parts = defaultdict(list)

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        for name in self.SCORES:
            self._parts[name].append(output[name].cpu())

    def _finish(self, engine: Engine) -> None:
        medians = {name: float(torch.cat(parts).median()) for name, parts in self._parts.items()}
        engine.state.metrics.update(medians)
        engine.state.metrics["prompt_iou"] = (medians["point_iou"] + medians["box_iou"]) / 2


def _answer(network: PromptableSAM, embedding: Tensor, index: Tensor, prompts: Prompts) -> PromptedMasks:
    answers = network.decode(embedding, index, prompts)
    return PromptedMasks(answers.logits.float(), answers.quality.float())
