"""One training step of a promptable network: a first prompt, corrections, and the gradient of all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from monai.engines import Workflow
from torch import Tensor, nn
from torch.optim import Optimizer

from scsam_monai.networks.promptable_sam import UNAMBIGUOUS, PromptableSAM, PromptedMasks
from scsam_monai.training.losses.promptable import PromptLoss, enlarge
from scsam_monai.training.outlines import OutlineHelper
from scsam_monai.training.prompts import corrected, first_prompts


class PromptStep:
    """The ``iteration_update`` of a trainer.

    Images are encoded once. Their objects are prompted in chunks, and each answer is differentiated at once, down
    to the embedding; the encoder follows with the sum. The gradient is that of the whole, while no more than one
    answer's graph is ever kept.

    Args:
        network: what trains.
        optimizer: of the network.
        loss: of the answers.
        helper: draws outlines from the embedding, so that it keeps to the image; None to do without.
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
        helper: OutlineHelper | None = None,
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
        self.network.train()
        self.optimizer.zero_grad()
        regions = None if self.helper is None else batch["regions"].to(engine.state.device, non_blocking=True)
        self._backward(image, label, regions)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        return {"image": image, "label": label, "loss": self.loss.terms["total"]}

    def _backward(self, image: Tensor, label: Tensor, regions: Tensor | None) -> None:
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
        if self.helper is not None and regions is not None:
            outline_loss = self.helper(leaf, regions)
            outline_loss.backward()
            sums["outlines"] += outline_loss.detach()
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
    index, masks = [], []
    for number, image in enumerate(label[:, 0]):
        ids = image.unique()
        ids = ids[ids > 0]
        masks.append(image.unsqueeze(0) == ids.view(-1, 1, 1))
        index += [number] * len(ids)
    return torch.tensor(index, device=label.device), torch.cat(masks)


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
