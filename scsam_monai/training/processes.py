"""Several processes, each with its own share of every batch, that train one network."""

from __future__ import annotations

import logging
import os
import warnings
from datetime import timedelta

import ignite.distributed as idist
import torch
import torch.distributed as dist

from scsam_monai.errors import InputError

SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(hours=1)
"""How long processes wait for the slowest: shares of a validation can be sections of very different size."""


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
    """Meet the other processes that torchrun started; all but the first are quiet from here on.

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


def leave_processes() -> None:
    """Part in good order; without others there is nothing to do."""
    idist.finalize()  # ignite would go on asking a group that is gone
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
