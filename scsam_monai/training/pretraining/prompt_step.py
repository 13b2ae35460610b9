"""One training step of a promptable network: a first prompt, corrections, and the gradient of all of them.

Prompts are drawn from masks as a person would give them. A helper for the image encoder says where objects begin,
from the embedding alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from monai.engines import Workflow
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from scsam_monai.networks.prompt_window import (
    CORNER_1,
    CORNER_2,
    MASK_STRIDE,
    NEGATIVE,
    PADDING,
    POSITIVE,
    Prompts,
)
from scsam_monai.networks.promptable_sam import UNAMBIGUOUS, PromptableSAM, PromptedMasks
from scsam_monai.networks.sam_encoder import EMBED_DIM, PATCH
from scsam_monai.training.losses.promptable import PromptLoss, enlarge

CELLS = PATCH // MASK_STRIDE
"""Cells of a mask on each side of an embedding's patch."""

BOX_NOISE = 0.1
"""Standard deviation of a box corner as a share of the side (SAM, appendix A)."""
MAX_BOX_NOISE = 20.0
"""Pixels that a box corner is off at most."""


class OutlineHelper(nn.Module):
    """A linear layer that draws outlines and insides from the embedding, for training only.

    Args:
        weight: of its loss.
    """

    def __init__(self, weight: float = 4.0) -> None:
        super().__init__()
        self.weight = weight
        self.project = nn.Conv2d(EMBED_DIM, 2 * CELLS**2, 1)

    def forward(self, embedding: Tensor, regions: Tensor) -> Tensor:
        """Return the weighted cross-entropy.

        Args:
            embedding: ``(B, 256, g, g)``.
            regions: ``(B, 2, 16g, 16g)`` of :func:`outlines_and_insides`.
        """
        drawn = F.pixel_shuffle(self.project(embedding), CELLS)
        outlines = F.max_pool2d(regions[:, :1].float(), MASK_STRIDE)
        insides = F.avg_pool2d(regions[:, 1:].float(), MASK_STRIDE)
        target = torch.cat([outlines, insides], dim=1)
        return self.weight * F.binary_cross_entropy_with_logits(drawn.float(), target)


def outlines_and_insides(ids: NDArray[np.integer]) -> Tensor:
    """Where another object begins at the next pixel, and where any object is.

    Args:
        ids: (H, W) object ids, 0 for none.

    Returns:
        ``(2, H, W)`` uint8, 0 or 1.
    """
    outline = np.zeros(ids.shape, dtype=bool)
    outline[:-1] |= ids[1:] != ids[:-1]
    outline[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    return torch.from_numpy(np.stack([outline, ids > 0]).astype(np.uint8))


def random_pixel(mask: Tensor) -> Tensor:
    """Draw one pixel of each mask, every pixel with the same chance.

    Args:
        mask: ``(P, H, W)`` bool.

    Returns:
        ``(P, 2)`` x and y; any pixel where a mask is empty.
    """
    lottery = torch.where(mask, torch.rand(mask.shape, device=mask.device), -1.0)
    winner = lottery.flatten(1).argmax(dim=1)
    return torch.stack([winner % mask.shape[-1], winner // mask.shape[-1]], dim=-1).float()


def bounding_boxes(mask: Tensor) -> Tensor:
    """Return ``(P, 2, 2)``, x and y of the first and last pixel of each mask ``(P, H, W)``."""
    corners = []
    for axis in (1, 2):  # columns first: x comes before y
        hit = mask.any(dim=axis)
        last = hit.shape[1] - 1 - hit.flip(1).int().argmax(dim=1)
        corners.append(torch.stack([hit.int().argmax(dim=1), last], dim=-1))
    return torch.stack(corners, dim=-1).float()


def jittered(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Move the corners of boxes ``(P, 2, 2)`` as an inexact user would, inside an image of ``size`` (H, W)."""
    sides = boxes[:, 1:] - boxes[:, :1] + 1
    noise = torch.randn_like(boxes) * sides * BOX_NOISE
    moved = boxes + noise.clamp(-MAX_BOX_NOISE, MAX_BOX_NOISE)
    edge = torch.tensor([size[1] - 1, size[0] - 1], device=boxes.device, dtype=boxes.dtype)
    moved = moved.clamp(min=torch.zeros_like(edge), max=edge)
    return moved.sort(dim=1).values


def point_prompts(points: Tensor) -> Prompts:
    """Make prompts of one point ``(P, 2)`` each; padding follows, as in SAM."""
    count = len(points)
    labels = torch.tensor([POSITIVE, PADDING], device=points.device).expand(count, -1)
    return Prompts(torch.stack([points, torch.zeros_like(points)], dim=1), labels)


def box_prompts(boxes: Tensor) -> Prompts:
    """Make prompts of boxes ``(P, 2, 2)``."""
    return Prompts(boxes, torch.tensor([CORNER_1, CORNER_2], device=boxes.device).expand(len(boxes), -1))


def first_prompts(mask: Tensor, box_share: float = 0.5) -> tuple[Prompts, Tensor]:
    """Prompt each mask with a random point inside or, with probability ``box_share``, a jittered box.

    Args:
        mask: ``(P, H, W)`` bool, none empty.
        box_share: probability of a box.

    Returns:
        the prompts, and which of them ``(P,)`` are ambiguous, that is points.
    """
    points = point_prompts(random_pixel(mask))
    boxes = box_prompts(jittered(bounding_boxes(mask), (mask.shape[1], mask.shape[2])))
    ambiguous = torch.rand(len(mask), device=mask.device) >= box_share
    chosen = Prompts(
        torch.where(ambiguous.view(-1, 1, 1), points.points, boxes.points),
        torch.where(ambiguous.view(-1, 1), points.labels, boxes.labels),
    )
    return chosen, ambiguous


def corrected(prompts: Prompts, answer: Tensor, mask: Tensor, logits: Tensor) -> Prompts:
    """Add a point where the answer is wrong, and the answer itself.

    Args:
        prompts: what was asked.
        answer: ``(P, H, W)`` bool, what came back.
        mask: ``(P, H, W)`` bool, what was meant.
        logits: ``(P, 1, 4g, 4g)`` of the answer.

    Returns:
        ``prompts`` with one more point: inside where something is missing, outside where there is too much. A
        perfect answer is confirmed with a point inside.
    """
    wrong = answer != mask
    perfect = ~wrong.flatten(1).any(dim=1)
    points = random_pixel(torch.where(perfect.view(-1, 1, 1), mask, wrong))
    rows = torch.arange(len(mask), device=mask.device)
    inside = mask[rows, points[:, 1].long(), points[:, 0].long()]
    labels = torch.where(inside, POSITIVE, NEGATIVE)
    return Prompts(
        torch.cat([prompts.points, points.unsqueeze(1)], dim=1),
        torch.cat([prompts.labels, labels.unsqueeze(1)], dim=1),
        logits,
    )


class PromptStep:
    """The ``iteration_update`` of a trainer.

    Images are encoded once. Their objects are prompted in chunks, and each answer is differentiated at once, down
    to the embedding; the encoder follows with the sum. The gradient is that of the whole, while no more than one
    answer's graph is ever kept.

    Args:
        network: what trains.
        optimizer: of the network.
        loss: of the answers.
        helper: a loss of the embedding alone, so that it keeps to the image, such as
            :class:`~OutlineHelper`; None to do without.
        rounds: corrections after the first prompt.
        correction_share: share of steps with corrections; they cost as much as the first prompt and teach the
            image encoder less.
        box_share: share of first prompts that are boxes.
        chunk: prompts answered at once on a CPU; a GPU takes all.
        clip: largest norm of the gradient.
        amp: run in bfloat16 where the device is a GPU.
    """

    def __init__(
        self,
        network: PromptableSAM,
        optimizer: Optimizer,
        loss: PromptLoss,
        helper: nn.Module | None = None,
        rounds: int = 2,
        correction_share: float = 1.0,
        box_share: float = 0.5,
        chunk: int = 8,
        clip: float = 1.0,
        amp: bool = True,
    ) -> None:
        self.network, self.optimizer, self.loss, self.helper = network, optimizer, loss, helper
        self.rounds, self.correction_share, self.box_share = rounds, correction_share, box_share
        self.chunk, self.clip, self.amp = chunk, clip, amp

    def __call__(self, engine: Workflow, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        """Take a step with ``image`` (B, 1, H, W) and ``label`` (B, 1, H, W); return them and the ``loss``."""
        image, label = (batch[name].to(engine.state.device, non_blocking=True) for name in ("image", "label"))
        regions = None if self.helper is None else batch["regions"].to(engine.state.device, non_blocking=True)
        self.learn(image, label, regions)
        return {"image": image, "label": label, "loss": self.loss.terms["total"]}

    def learn(self, image: Tensor, label: Tensor, targets: Any = None) -> dict[str, Tensor]:
        """Take a step.

        Args:
            image: ``(B, 1, H, W)`` in [0, 1].
            label: ``(B, 1, H, W)``, objects numbered from 1.
            targets: what the helper compares with.

        Returns:
            the parts of the loss.
        """
        self.network.train()
        self.optimizer.zero_grad()
        self._backward(image, label, targets)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        return self.loss.terms

    def _backward(self, image: Tensor, label: Tensor, targets: Any) -> None:
        image_index, masks = objects(label)
        with self._precision(image):
            embedding = self.network.encode(image)
        leaf = embedding.detach().float().requires_grad_()
        size = len(masks) if image.is_cuda else self.chunk
        rounds = self.rounds if float(torch.rand(())) < self.correction_share else 0
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=image.device))
        for index, mask in zip(image_index.split(size), masks.split(size), strict=True):
            for name, value in self._rounds(leaf, index, mask, rounds, 1 / len(masks)):
                sums[name] += value
        if self.helper is not None and targets is not None:
            helper_loss = self.helper(leaf, targets)
            helper_loss.backward()
            sums["outlines"] += helper_loss.detach()
        embedding.backward(leaf.grad)
        self.loss.terms = dict(sums)

    def _rounds(
        self, embedding: Tensor, index: Tensor, mask: Tensor, rounds: int, share: float
    ) -> Iterator[tuple[str, Tensor]]:
        """Prompt, learn and correct; yield parts of the loss, each object with its ``share`` in the mean."""
        prompts, ambiguous = first_prompts(mask, self.box_share)
        scale = share / (rounds + 1)
        for number in range(rounds + 1):
            with self._precision(embedding):
                answers = self.network.decode(embedding, index, prompts)
            total, parts = self.loss(answers, mask, ambiguous)
            (total * scale).backward()
            yield "total", total.detach() * scale
            yield from ((name, value * scale) for name, value in parts.items())
            if number == 0:
                yield "first_iou", parts["iou"] * share
            if number < rounds:
                logits = settled(answers, ambiguous)
                answer = enlarge(logits, (mask.shape[1], mask.shape[2]))[:, 0] > 0
                prompts = corrected(prompts, answer, mask, logits)
                ambiguous = torch.zeros_like(ambiguous)

    def _precision(self, tensor: Tensor) -> torch.autocast:
        return torch.autocast(
            tensor.device.type, torch.bfloat16, enabled=self.amp and tensor.device.type == "cuda"
        )


def objects(label: Tensor) -> tuple[Tensor, Tensor]:
    """Take numbered objects apart.

    Args:
        label: ``(B, 1, H, W)`` integer, 0 for none.

    Returns:
        which image each of the P objects is in ``(P,)``, and their masks ``(P, H, W)`` bool.
    """
    numbers = torch.arange(1, int(label.max()) + 1, device=label.device)
    own = label == numbers.view(1, -1, 1, 1)
    index, number = own.flatten(2).any(dim=2).nonzero(as_tuple=True)
    return index, own[index, number]


def settled(answers: PromptedMasks, ambiguous: Tensor) -> Tensor:
    """Choose an answer to each prompt: of the ambiguous ones the mask that the network rates highest.

    Args:
        answers: to P prompts.
        ambiguous: ``(P,)`` bool.

    Returns:
        logits ``(P, 1, 4g, 4g)``, detached.
    """
    rated = answers.quality[:, 1:].argmax(dim=1) + 1
    number = torch.where(ambiguous, rated, UNAMBIGUOUS)
    rows = torch.arange(len(number), device=number.device)
    return answers.logits[rows, number].detach().float().unsqueeze(1)
