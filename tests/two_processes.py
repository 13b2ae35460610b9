"""Run a function in two processes that know one another, as torchrun would start them."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="processes cannot be forked here"
)


def run_in_two(function: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """Call ``function(rank, *arguments)`` in both; returns what each returned."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked, because a spawned process would spend most of a minute on imports.
    mp.start_processes(_call, args=(port, str(folder), function, arguments), nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def _call(
    rank: int, port: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save(function(rank, *arguments), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
