from __future__ import annotations

import socket

import ignite.distributed as idist
import pytest
import torch

from scsam_monai.errors import InputError
from scsam_monai.training.processes import SET_BY_TORCHRUN, join_processes, leave_processes, local_device


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
