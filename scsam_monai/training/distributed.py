"""Several processes that train one network: how they join, share items, add sums up and write one log."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # imported later, its default arguments would hold the group
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from scsam_monai.errors import InputError
from scsam_monai.io import read_header

SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(hours=1)
"""How long processes wait for the slowest: shares of a validation can be sections of very different size."""

COUNTED_ELSEWHERE = "counted_elsewhere"
"""Marks an item that is run for company and not scored."""


def local_device() -> torch.device:
    """The GPU of this process where there are any, else the CPU.

    Raises:
        InputError: outside torchrun, or where there are more processes than GPUs.
    """
    local = int(_environment()["LOCAL_RANK"])
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local >= torch.cuda.device_count():
        raise InputError(
            "--nproc_per_node",
            expected=f"at most {torch.cuda.device_count()}, the number of GPUs here",
            met=f"{local + 1} or more",
            remedy="start one process per GPU",
        )
    return torch.device("cuda", local)


def join_processes() -> None:
    """Join the other processes that torchrun started; only the first one logs from here on.

    Raises:
        InputError: outside torchrun.
    """
    device = local_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    if dist.get_rank():
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")


def leave_processes(network: nn.Module | None = None) -> None:
    """End the group of processes and its threads; does nothing for a single process.

    What still holds the group keeps its threads, and one of those that lets go of a tensor while Python ends
    aborts the process.

    Args:
        network: the network that trained; if it is a ``DistributedDataParallel`` it cannot train any more.
    """
    idist.finalize()  # ignite would go on asking a group that is gone
    if isinstance(network, nn.parallel.DistributedDataParallel):
        del network.reducer, network.logger, network.process_group
    if dist.is_initialized():
        dist.destroy_process_group()


def _environment() -> dict[str, str]:
    """What torchrun tells each process."""
    missing = [name for name in SET_BY_TORCHRUN if name not in os.environ]
    if missing:
        raise InputError(
            "multi_gpu_train.json",
            expected="to be started by torchrun",
            met=f"no {missing[0]} in the environment",
            remedy="torchrun --nproc_per_node GPUS -m monai.bundle run training ..., or leave it out",
        )
    return {name: os.environ[name] for name in SET_BY_TORCHRUN}


def shard_items(items: Sequence[Mapping[str, Any]], rank: int, world_size: int) -> list[dict[str, Any]]:
    """Return the share of one process: items cut to a contiguous run of sections.

    Evaluators cannot run over nothing, and all processes must meet where scores are added up. Those for which no
    section is left get a copy of the first, marked so that
    :class:`~scsam_monai.metrics.handlers.VolumeIoUHandler` does not count it.

    Args:
        items: ``{image, label, region, ...}`` of a data set section.
        rank: of the process.
        world_size: number of processes.
    """
    if not items:
        return []
    sections = [(index, z) for index, item in enumerate(items) for z in range(*_z_range(item))]
    if rank >= len(sections):
        index, z = sections[0]
        return [_cut(items[index], z, z + 1) | {COUNTED_ELSEWHERE: True}]
    mine = [sections[k] for k in np.array_split(np.arange(len(sections)), world_size)[rank]]
    shares: dict[int, list[int]] = {}
    for index, z in mine:
        shares.setdefault(index, []).append(z)
    return [_cut(items[index], zs[0], zs[-1] + 1) for index, zs in shares.items()]


def _z_range(item: Mapping[str, Any]) -> tuple[int, int]:
    region = item.get("region")
    if region is not None:
        return int(region[0][0]), int(region[0][1])
    shape = read_header(item["image"]).shape
    return 0, shape[0] if len(shape) == 3 else 1


def _cut(item: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    if (start, stop) == _z_range(item):
        return dict(item)
    region = item.get("region")
    plane = (
        list(region)[1:]
        if region is not None
        else [[0, side] for side in read_header(item["image"]).shape[1:]]
    )
    return {**item, "region": [[start, stop], *plane]}


def sum_over_processes(local: Tensor) -> Tensor:
    """Sum a tensor over all processes; with one process, return it as it is.

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


class NoEvents:
    """A writer of events that writes nothing, for all processes but the first."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Drop a value."""

    def flush(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is open."""


def events_of_first(log_dir: str | Path) -> SummaryWriter | NoEvents:
    """The writer of events: in the first process a real one into ``log_dir``, in the others none."""
    return NoEvents() if idist.get_rank() else SummaryWriter(str(log_dir))
