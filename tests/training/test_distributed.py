from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import pytest
import torch

from scsam_monai.errors import InputError
from scsam_monai.io import write_stack
from scsam_monai.training.distributed import (
    COUNTED_ELSEWHERE,
    SET_BY_TORCHRUN,
    join_processes,
    leave_processes,
    local_device,
    shard_items,
)


@pytest.fixture
def second_process(monkeypatch):
    for name in SET_BY_TORCHRUN:
        monkeypatch.setenv(name, "1")


def test_outside_torchrun_it_says_how_to_start(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(InputError, match=r"started by torchrun, met no RANK"):
        local_device()


@pytest.mark.usefixtures("second_process")
def test_takes_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_device() == torch.device("cpu")


@pytest.mark.usefixtures("second_process")
def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local_device() == torch.device("cuda", 1)


@pytest.mark.usefixtures("second_process")
def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="one process per GPU"):
        local_device()


def test_leaving_alone_does_nothing():
    leave_processes()


@pytest.mark.usefixtures("second_process")
def test_after_leaving_a_process_is_alone_again(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    join_processes()
    assert idist.backend() == "gloo"
    leave_processes()
    assert idist.backend() is None
    assert float(idist.all_reduce(3.0)) == 3


LEAVES = """
import os
import torch
import ignite.distributed as idist
from scsam_monai.training.distributed import join_processes, leave_processes

def of_group():
    tasks = (f"/proc/self/task/{task}/comm" for task in os.listdir("/proc/self/task"))
    return [name for name in (open(task).read() for task in tasks) if "gloo" in name]

join_processes()
network = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 3))
network(torch.ones(2, 3)).sum().backward()
idist.all_reduce(torch.ones(3))
assert of_group()
leave_processes(network)
assert not of_group(), of_group()
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list threads")
def test_no_thread_of_the_group_outlives_it():
    """One that lets go of a tensor while Python ends would abort the process."""
    told = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    words = [sys.executable, "-c", LEAVES]
    done = subprocess.run(words, env={**os.environ, **told}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture
def items(tmp_path):
    write_stack(tmp_path / "a.tif", np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3), (1, 1, 1))
    whole = {"image": str(tmp_path / "a.tif"), "label": "unused"}
    return [whole, {**whole, "region": [[1, 3], [0, 4], [0, 3]]}]


def sections(share):
    return [
        (item["image"], z, item is not share)
        for item in share
        for z in range(*(item.get("region") or [[0, 5]])[0])
    ]


@pytest.mark.parametrize("world_size", range(1, 8))
def test_every_section_is_scored_exactly_once(items, world_size):
    shares = [shard_items(items, rank, world_size) for rank in range(world_size)]
    assert all(shares)
    assert sorted(z for share in shares for _, z, _ in sections(share)) == [0, 1, 1, 2, 2, 3, 4]


def test_one_process_keeps_the_items_as_they_are(items):
    assert shard_items(items, 0, 1) == items


def test_nothing_to_share(items):
    assert shard_items([], 1, 2) == []


def test_processes_beyond_the_sections_run_one_that_is_not_counted(items):
    shares = [shard_items(items, rank, 9) for rank in range(9)]
    counted = [share for share in shares if not any(COUNTED_ELSEWHERE in item for item in share)]
    assert sorted(z for share in counted for _, z, _ in sections(share)) == [0, 1, 1, 2, 2, 3, 4]
    assert (
        shares[7] == shares[8] == [{**items[0], "region": [[0, 1], [0, 4], [0, 3]], COUNTED_ELSEWHERE: True}]
    )


def test_an_image_of_one_section_serves_as_company(tmp_path):
    write_stack(tmp_path / "one.tif", np.zeros((1, 4, 3), dtype=np.uint8), (1, 1, 1))
    items = [{"image": str(tmp_path / "one.tif"), "label": "unused"}]
    assert shard_items(items, 0, 2) == items
    assert shard_items(items, 1, 2) == [{**items[0], COUNTED_ELSEWHERE: True}]
