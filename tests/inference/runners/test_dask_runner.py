from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import file_work
import pytest

from scsam_monai.errors import InputError
from scsam_monai.inference.manifest import Manifest
from scsam_monai.inference.runners import dask as dask_runner
from scsam_monai.inference.runners import run_dask
from scsam_monai.inference.runners.dask import (
    divide_cores,
    local_cluster,
    visible_devices,
    worker_environment,
)

pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with local_cluster(workers=2) as cluster:
        yield cluster


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cell.zarr.job"


def begin(folder: Path, n_blocks: int, **job: object) -> Manifest:
    return Manifest.begin(folder, job, n_blocks, resume=False)


def test_the_same_files_as_a_serial_run(cluster: Any, folder: Path) -> None:
    manifest = begin(folder, 40)
    done: list[int] = []

    def finished(block: int) -> None:
        assert (file_work.output_of(folder) / f"{block:04d}.bin").exists()
        manifest.mark(block)
        done.append(block)

    run_dask(
        file_work.open_files, folder, manifest.missing(), finished, threads_per_worker=2, cluster=cluster
    )
    assert file_work.written(folder) == file_work.complete(40)
    assert sorted(done) == list(range(40))
    assert manifest.missing() == []
    opened = file_work.notes(folder, "opened")
    assert len(opened) == len({process for process, _ in opened}) == 2  # once in each worker
    assert all(threads == "2" for _, threads in opened)
    assert len(file_work.notes(folder, "closed")) == 2
    assert str(os.getpid()) not in {process for process, _ in opened}


def test_a_folder_may_be_used_again(cluster: Any, folder: Path) -> None:
    """Workers that stay must not go on with what they opened for an earlier job."""
    for n_blocks in (3, 4):
        manifest = begin(folder, n_blocks, breaks_at=7 - n_blocks)
        blocks = [block for block in range(n_blocks) if block != 7 - n_blocks]
        run_dask(file_work.open_files, folder, blocks, manifest.mark, cluster=cluster, group=1)
        manifest.remove()
    assert set(file_work.written(folder)) == {"0000.bin", "0001.bin", "0002.bin"}


def test_a_lost_workers_blocks_run_again(cluster: Any, folder: Path) -> None:
    manifest = begin(folder, 24, dies_at=7, pause_s=0.01)
    run_dask(file_work.open_files, folder, manifest.missing(), manifest.mark, cluster=cluster)
    assert (file_work.output_of(folder) / "died").exists()
    assert file_work.written(folder) == file_work.complete(24)
    assert manifest.missing() == []


def test_workers_that_always_die_end_the_run(cluster: Any, folder: Path) -> None:
    import dask

    manifest = begin(folder, 2, dies_at=1, dies="always")
    scheduler = cluster.scheduler
    allowed, scheduler.allowed_failures = scheduler.allowed_failures, 0
    assert dask.config.get("distributed.scheduler.allowed-failures") == 3  # what others get
    try:
        with pytest.raises(InputError, match=r"several that died .* fewer workers"):
            run_dask(file_work.open_files, folder, [0, 1], manifest.mark, cluster=cluster, group=1)
    finally:
        scheduler.allowed_failures = allowed
    assert 1 in manifest.missing()


@pytest.mark.parametrize(("key", "kind"), [("fails_at", InputError), ("breaks_at", ZeroDivisionError)])
def test_errors_arrive_as_they_are(cluster: Any, folder: Path, key: str, kind: type[Exception]) -> None:
    manifest = begin(folder, 400, pause_s=0.01, **{key: 5})
    with pytest.raises(kind, match="block 5") as met:
        run_dask(file_work.open_files, folder, range(400), manifest.mark, cluster=cluster)
    assert "\n" not in str(met.value)
    assert 5 not in manifest.done()
    assert len(manifest.done()) < 200  # the rest was dropped


def test_errors_of_the_caller_end_the_run(cluster: Any, folder: Path) -> None:
    begin(folder, 400, pause_s=0.01)

    def full(_: int) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        run_dask(file_work.open_files, folder, range(400), full, cluster=cluster)


def test_cancel(cluster: Any, folder: Path) -> None:
    manifest = begin(folder, 4000, pause_s=0.02)
    began = time.monotonic()
    run_dask(
        file_work.open_files,
        folder,
        range(4000),
        manifest.mark,
        cancel=lambda: len(manifest.done()) >= 8,
        cluster=cluster,
    )
    assert 8 <= len(manifest.done()) < 200
    assert time.monotonic() - began < 20


def test_an_address_will_do(cluster: Any, folder: Path) -> None:
    manifest = begin(folder, 4)
    run_dask(file_work.open_files, folder, range(4), manifest.mark, scheduler=cluster.scheduler_address)
    assert manifest.missing() == []
    assert all(threads == "1" for _, threads in file_work.notes(folder, "opened"))  # as the workers have
    assert len(cluster.scheduler.workers) == 2  # somebody else's cluster is left running


def test_a_scheduler_file_will_do(cluster: Any, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": cluster.scheduler_address}))
    manifest = begin(folder, 4)
    run_dask(file_work.open_files, folder, range(4), manifest.mark, scheduler=str(file))
    assert manifest.missing() == []


@pytest.mark.parametrize("noticed", ["under way", "before the next question"])
def test_a_lost_scheduler_is_an_error_for_people(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noticed: str
) -> None:
    monkeypatch.setattr(dask_runner, "CONNECT_S", 2)
    file = tmp_path / "scheduler.json"
    flags = {"scheduler": ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"], "worker": ["--no-nanny"]}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", str(file), *options],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path(file_work.__file__).parent)},
        )
        for kind, options in flags.items()
    ]
    try:
        while not file.exists():
            assert started[0].poll() is None
            time.sleep(0.1)
        manifest = begin(folder, 4000, pause_s=0.02)

        def finished(block: int) -> None:
            manifest.mark(block)
            if started[0].poll() is None:
                started[0].kill()
                started[0].wait()
                time.sleep(0 if noticed == "under way" else 4)  # the client gives up meanwhile

        with pytest.raises(InputError, match=r"expected a scheduler that keeps the job.* --resume"):
            run_dask(file_work.open_files, folder, range(4000), finished, scheduler=str(file))
        assert 1 <= len(manifest.done()) < 200
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_silent_scheduler_is_an_error_for_people(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scsam_monai.inference.runners.dask.CONNECT_S", 0.5)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
    for scheduler in (address, str(folder / "scheduler.json"), "nonsense://"):
        with pytest.raises(InputError, match=r"--scheduler: .* start one with: dask scheduler"):
            run_dask(file_work.open_files, folder, [0], print, scheduler=scheduler)


def test_dask_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'scsam-monai\[dask\]'"):
        run_dask(file_work.open_files, folder, [0], print)


def test_nothing_to_do_starts_nothing(folder: Path) -> None:
    run_dask(file_work.open_files, folder, [], print, scheduler="tcp://127.0.0.1:1")


def test_workers_listen_on_loopback_only(cluster: Any) -> None:
    processes = [os.getpid(), *(nanny.pid for nanny in cluster.workers.values())]
    sockets = [socket for pid in processes for socket in psutil.Process(pid).net_connections("inet")]
    listening = {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_workers_run_one_group_at_a_time_without_a_memory_limit(cluster: Any) -> None:
    assert all(nanny.memory_manager.memory_limit is None for nanny in cluster.workers.values())
    assert all(nanny.nthreads == 1 for nanny in cluster.workers.values())


@pytest.mark.parametrize(
    ("workers", "threads", "gpus", "division"),
    [
        (None, None, 0, (16, 1)),
        (None, 4, 0, (4, 4)),
        (2, None, 0, (2, 8)),
        (2, 3, 0, (2, 3)),
        (None, 32, 0, (1, 32)),
        (32, None, 0, (32, 1)),
        (None, None, 4, (4, 4)),
    ],
)
def test_cores_are_shared(
    monkeypatch: pytest.MonkeyPatch,
    workers: int | None,
    threads: int | None,
    gpus: int,
    division: tuple[int, int],
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("scsam_monai.inference.runners.dask.usable_cores", lambda: 16)
    assert divide_cores(workers, threads) == division


def test_one_gpu_per_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_devices() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5f")
    devices = visible_devices()
    assert [worker_environment(index, devices)["CUDA_VISIBLE_DEVICES"] for index in range(3)] == [
        "3",
        "GPU-5f",
        "3",
    ]
    assert worker_environment(0, []) == {}


def test_a_killed_client_leaves_no_workers_and_goes_on(cluster: Any, folder: Path) -> None:
    command = [sys.executable, file_work.__file__, str(folder), "dask", "40", "0.03"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (folder.exists() and any(folder.glob("done-*"))):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    workers = {int(pid) for pid, _ in file_work.notes(folder, "opened")}
    end = time.monotonic() + 30
    while any(is_alive(pid) for pid in workers):
        assert time.monotonic() < end
        time.sleep(0.05)
    manifest = Manifest(folder)
    assert 0 < len(manifest.done()) < 40
    run_dask(file_work.open_files, folder, manifest.missing(), manifest.mark, cluster=cluster)
    assert manifest.missing() == []
    assert file_work.written(folder) == file_work.complete(40)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
