"""Sums over the batch of all processes, for losses that are no plain mean over crops."""

from __future__ import annotations

import ignite.distributed as idist
from torch import Tensor


def sum_over_processes(local: Tensor) -> Tensor:
    """Add up what every process counted in its share of the batch; one process gets its own back.

    A Dice score, or a mean over known voxels, of a whole batch is not the mean of those of its shares. Each process
    therefore computes the loss of the whole batch from these sums. The gradient is that of the own share, as many
    times as there are processes, because ``DistributedDataParallel`` takes the mean over them: together they step
    as one process would with the whole batch.

    Args:
        local: sums over the crops of this process, any shape, the same on all.

    Example:
        >>> from torch import tensor
        >>> sum_over_processes(tensor([3.0, 4.0])).tolist()
        [3.0, 4.0]
    """
    processes = idist.get_world_size()
    if processes == 1:
        return local
    total = idist.all_reduce(local.detach().clone())
    assert isinstance(total, Tensor)
    return total + processes * (local - local.detach())
