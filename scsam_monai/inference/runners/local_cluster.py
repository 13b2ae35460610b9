"""Dask workers on this machine, one process each, out of reach from others."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch

LOOPBACK = "127.0.0.1"


def divide_cores(workers: int | None, threads_per_worker: int | None) -> tuple[int, int]:
    """Return how many workers this machine gets and how many threads each.

    Without numbers: one worker per GPU, without GPUs one per core; all cores in equal shares.
    """
    cores = _cores()
    workers = workers or len(visible_devices()) or max(1, cores // (threads_per_worker or 1))
    return workers, threads_per_worker or max(1, cores // workers)


def local_cluster(workers: int) -> Any:
    """Start a scheduler and worker processes that listen on loopback only, without dashboards.

    Dask runs one task at a time in each; the network's threads are set by the task. Where there are CUDA
    devices, worker i sees only device i (modulo their number), through ``CUDA_VISIBLE_DEVICES``, which each
    process gets before torch asks for devices. That line has not been run on a machine with several GPUs.

    Args:
        workers: how many.

    Returns:
        A ``distributed.SpecCluster``; close it, or use it as a context.
    """
    from distributed import Nanny, Scheduler, SpecCluster

    devices = visible_devices()
    options = {
        "host": LOOPBACK,
        "nthreads": 1,
        "memory_limit": None,
        "dashboard": False,
        "silence_logs": logging.ERROR,
    }
    return SpecCluster(
        scheduler={
            "cls": Scheduler,
            # Without the last, its health page takes port 8787 and warns where that is not free.
            "options": {
                "host": LOOPBACK,
                "port": 0,
                "dashboard": False,
                "dashboard_address": f"{LOOPBACK}:0",
            },
        },
        workers={
            index: {"cls": Nanny, "options": {**options, "env": worker_environment(index, devices)}}
            for index in range(workers)
        },
        silence_logs=logging.ERROR,
    )


def visible_devices() -> list[str]:
    """Return the CUDA devices this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None and torch.cuda.device_count():
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


def worker_environment(index: int, devices: list[str]) -> dict[str, str]:
    """Return the environment variables of worker ``index``."""
    return {"CUDA_VISIBLE_DEVICES": devices[index % len(devices)]} if devices else {}


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
