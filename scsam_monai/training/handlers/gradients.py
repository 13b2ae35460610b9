"""Clip gradients between the backward pass and the step."""

from __future__ import annotations

from monai.engines import IterationEvents, SupervisedTrainer
from torch import nn
from torch.nn.utils import clip_grad_norm_

from scsam_monai.errors import InputError


class ClipGradients:
    """Scales the gradient of all weights together down to a norm, where it is larger.

    Args:
        network: what trains.
        max_norm: largest norm; None clips nothing.

    Raises:
        InputError: if the norm is not above 0.
    """

    def __init__(self, network: nn.Module, max_norm: float | None = None) -> None:
        if max_norm is not None and not max_norm > 0:
            remedy = "give a norm such as 5, or leave it out"
            raise InputError("clip_gradients", expected="more than 0", met=f"{max_norm}", remedy=remedy)
        self.network, self.max_norm = network, max_norm

    def attach(self, engine: SupervisedTrainer) -> None:
        """Register with the trainer."""
        if self.max_norm is not None:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: SupervisedTrainer) -> None:
        """Clip the gradients of this step."""
        if self.max_norm is None:
            return
        if (scaler := getattr(engine, "scaler", None)) is not None:
            scaler.unscale_(engine.optimizer)
        clip_grad_norm_([value for value in self.network.parameters() if value.requires_grad], self.max_norm)
