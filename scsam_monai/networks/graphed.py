"""Run a network as one recorded CUDA graph while its input keeps its shape, which saves launching each kernel."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

_logger = logging.getLogger(__name__)

Key = tuple[torch.Size, torch.dtype, torch.device, torch.dtype | None]
"""Shape, type and device of the input, and autocast's type; None without autocast."""

EAGER_CALLS = 3
"""Calls of a shape before it is recorded: libraries set themselves up in them, and short work never pays."""


class GraphedNetwork:
    """Calls a network without gradients; from the fourth call of a shape on, a recorded graph is replayed.

    Another type, device or autocast of an input is another shape here.

    For inference alone: weights are read where they were when the graph was recorded, so they may change in place
    but not move, and the network must not look at values to decide what to compute. Where recording fails, calls
    stay eager and the log says why. On a CPU every call is eager.

    Args:
        network: takes one tensor and returns one.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from scsam_monai.networks.graphed import GraphedNetwork
        >>> GraphedNetwork(nn.Conv2d(1, 2, 1))(torch.rand(1, 1, 8, 8)).shape
        torch.Size([1, 2, 8, 8])
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.failed = False
        self._calls: dict[Key, int] = {}
        self._recorded: dict[Key, _Recorded] = {}

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """Return what the network makes of ``x``, in memory of its own."""
        key = _key(x)
        if key not in self._recorded and not self._record(key, x):
            y: Tensor = self.network(x)
            return y
        return self._recorded[key].replay(x)

    @property
    def recorded(self) -> int:
        """Number of shapes that are replayed."""
        return len(self._recorded)

    def _record(self, key: Key, x: Tensor) -> bool:
        if not x.is_cuda or self.failed:
            return False
        self._calls[key] = self._calls.get(key, 0) + 1
        if self._calls[key] <= EAGER_CALLS:
            return False
        try:
            self._recorded[key] = _Recorded(self.network, x)
        except Exception as error:
            self.failed = True
            reason = (str(error) or type(error).__name__).splitlines()[0]
            _logger.warning("the network could not be recorded as a CUDA graph and runs eagerly: %s", reason)
        return not self.failed


def _key(x: Tensor) -> Key:
    """What a recording holds for: memory and kernels hang on the device and on autocast, too."""
    kind = x.device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return x.shape, x.dtype, x.device, autocast


class _Recorded:
    """A graph with its own input and output."""

    def __init__(self, network: Callable[[Tensor], Tensor], x: Tensor) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.input = x.clone()
        with torch.cuda.device(x.device):
            stream = torch.cuda.Stream()  # libraries have to have been set up on a stream of this kind
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                network(self.input)
            torch.cuda.current_stream().wait_stream(stream)
            # Other threads cut and blend windows meanwhile; what they call must not break the recording.
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                self.output = network(self.input)

    def replay(self, x: Tensor) -> Tensor:
        self.input.copy_(x)
        self.graph.replay()
        return self.output.clone()
