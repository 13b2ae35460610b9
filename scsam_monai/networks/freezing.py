"""Encoders that stay frozen whatever is called on the network around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


class Freezable(nn.Module):
    """A module that can be frozen for good: evaluation mode, no gradients.

    ``freeze()`` is not undone by ``train()`` or ``requires_grad_()``; build a new one to train it again. A module
    that holds it and sets ``requires_grad_()`` calls :func:`refreeze` after, as torch sets flags past the parts;
    even without, a frozen module records no graph.
    """

    _frozen: bool = False

    @property
    def frozen(self) -> bool:
        """Whether the module was frozen."""
        return self._frozen

    def freeze(self) -> None:
        """Switch to evaluation mode and drop gradients, now and for every later call."""
        self._frozen = True
        nn.Module.requires_grad_(self, False)
        self.eval()

    def train(self, mode: bool = True) -> Freezable:
        """Set training mode, unless frozen."""
        return super().train(mode and not self._frozen)

    def requires_grad_(self, requires_grad: bool = True) -> Freezable:
        """Switch gradients, unless frozen."""
        return super().requires_grad_(requires_grad and not self._frozen)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run forward; a frozen module never records a graph."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._frozen):
            return super().__call__(*args, **kwargs)


def refreeze(network: nn.Module) -> None:
    """Put the frozen flags of all frozen parts of ``network`` back in place."""
    for part in frozen_parts(network):
        part.freeze()


def frozen_parts(network: nn.Module) -> Iterator[Freezable]:
    """Yield the frozen modules inside ``network``."""
    return (m for m in network.modules() if isinstance(m, Freezable) and m.frozen)
