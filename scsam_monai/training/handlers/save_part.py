"""A part of the network in a file of its own."""

from __future__ import annotations

from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events
from safetensors.torch import save_file
from torch import nn

from scsam_monai.filesystem.atomic import atomic_path


class SavePart:
    """Writes the state of a module as safetensors after every epoch, such as the encoder of a pre-training.

    Args:
        path: ends in ``.safetensors``.
        module: what is saved, in float32.
    """

    def __init__(self, path: str | Path, module: nn.Module) -> None:
        self.path, self.module = Path(path), module

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file whole or not at all."""
        if idist.get_rank():
            return
        state = {
            name: value.detach().float().cpu().contiguous()
            for name, value in self.module.state_dict().items()
        }
        with atomic_path(self.path) as temporary:
            save_file(state, temporary)
