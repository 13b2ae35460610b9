"""Two processes, one of which sees nothing: both must end with the same sum."""

from __future__ import annotations

import multiprocessing
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from scsam_monai.metrics import ConfusionIoU


def _count(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    metric = ConfusionIoU(2)
    if rank == 0:
        metric(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[0, 0, 1]]]))
    torch.save((metric.get_buffer(), metric.aggregate()), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="processes cannot be forked here"
)
def test_sums_over_processes(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked, because a spawned process would spend most of a minute on imports.
    mp.start_processes(_count, args=(port, str(tmp_path)), nprocs=2, start_method="fork")
    for rank in range(2):
        confusion, iou = torch.load(tmp_path / f"{rank}.pt")
        assert confusion.tolist() == [[1, 1], [0, 1]]
        assert iou == 0.5
