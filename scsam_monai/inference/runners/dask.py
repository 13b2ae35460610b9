"""The same blocks on Dask's workers: this machine's cores or GPUs, or a cluster's.

Workers on this machine are one process each, out of reach from others.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError
from scsam_monai.inference.runners.local import Cancel, OpenWork, Work
from scsam_monai.threads import usable_cores

LOOPBACK = "127.0.0.1"

logger = logging.getLogger(__name__)

GROUPS_PER_WORKER = 3
POLL_S = 0.5
CONNECT_S = 15


def divide_cores(workers: int | None, threads_per_worker: int | None) -> tuple[int, int]:
    """Return how many workers this machine gets and how many threads each.

    Without numbers: one worker per GPU, without GPUs one per core; all cores in equal shares.
    """
    cores = usable_cores()
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
    import torch

    if named is not None and torch.cuda.device_count():
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


def worker_environment(index: int, devices: list[str]) -> dict[str, str]:
    """Return the environment variables of worker ``index``."""
    return {"CUDA_VISIBLE_DEVICES": devices[index % len(devices)]} if devices else {}


def run_dask(
    open_work: OpenWork,
    folder: str | Path,
    blocks: Sequence[int],
    finished: Callable[[int], None],
    cancel: Cancel | None = None,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    threads_per_worker: int | None = None,
    cluster: Any = None,
    group: int = 4,
) -> None:
    """Run blocks on a Dask cluster; without ``scheduler`` or ``cluster`` on new processes of this machine.

    Blocks travel in groups, a few per worker at a time, so that a job of any size is a small graph and a
    worker can read ahead. Each worker opens the job once. Blocks of a lost worker run again elsewhere.
    On workers that stay, groups that have begun are still computed to their end after a cancel or an error.

    Args:
        open_work: opens the job; importable on the workers.
        folder: its manifest's, at the same path on all workers.
        blocks: which.
        finished: called here with each block once its group is written.
        cancel: asked here about twice a second; True ends the run.
        scheduler: address (``tcp://host:port``) or scheduler file of a running scheduler.
        workers: processes on this machine; by default one per GPU, or as many as cores allow.
        threads_per_worker: threads of torch in each worker; by default equal shares of this machine's
            cores, and on another's workers as many as they were started with (``--nthreads``).
        cluster: a Dask cluster object, such as ``dask_jobqueue.SLURMCluster``; it is left running.
        group: blocks per task.

    Raises:
        InputError: if Dask is not installed, the scheduler does not answer or workers die again and again.
        Exception: what the work raises, as it is; all other blocks are then dropped.
    """
    if not blocks:
        return
    groups = [list(blocks[start : start + group]) for start in range(0, len(blocks), group)]
    run = uuid.uuid4().hex
    is_own = cluster is None and scheduler is None
    with ExitStack() as stack:
        if is_own:
            workers, threads_per_worker = divide_cores(workers, threads_per_worker)
        client = stack.enter_context(_client(scheduler, cluster, workers))

        def submit(blocks: list[int]) -> Any:
            arguments = (open_work, str(folder), run, threads_per_worker, blocks)
            return client.submit(_run_group, *arguments, pure=False, key=f"blocks-{blocks[0]}-{run}")

        try:
            _drive(client, submit, groups, finished, cancel)
        finally:
            if not is_own:
                _tidy(client, lambda: client.run(_close_work, run, on_error="ignore"))


def _drive(
    client: Any,
    submit: Callable[[list[int]], Any],
    groups: Sequence[list[int]],
    finished: Callable[[int], None],
    cancel: Cancel | None,
) -> None:
    """Keep a few groups per worker in flight; workers may come and go."""
    waiting = iter(groups)
    running: set[Any] = set()
    try:
        while cancel is None or not cancel():
            room = _room(client) - len(running)
            running.update(submit(blocks) for blocks in islice(waiting, max(0, room)))
            if not running:
                return
            ended = _next_done(running)
            running.difference_update(ended)
            # What was written is noted before what went wrong is told.
            for future in sorted(ended, key=lambda future: future.status != "finished"):
                for block in future.result():
                    finished(block)
    finally:
        _tidy(client, lambda: client.cancel(list(running)))


def _tidy(client: Any, work: Callable[[], object]) -> None:
    """Ask the scheduler for something whose failing hides no other error; nothing of one that is lost."""
    if client.status == "running":
        with suppress(Exception):
            work()


def _room(client: Any) -> int:
    workers = len(client.nthreads())
    if not workers:
        logger.info("waiting for workers to join the scheduler")
    return GROUPS_PER_WORKER * max(1, workers)


def _next_done(running: set[Any]) -> list[Any]:
    """Return the futures that have ended, soon: an empty list lets the caller ask for cancel and workers."""
    from distributed import wait

    try:
        return list(wait(list(running), timeout=POLL_S, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


@contextmanager
def _client(scheduler: str | None, cluster: Any, workers: int | None) -> Iterator[Any]:
    """Connect to a cluster, or start one; turn Dask's ends into errors for people."""
    try:
        from distributed import CancelledError, Client, KilledWorker
        from distributed.comm import CommClosedError
    except ImportError as error:
        raise InputError(
            "--runner dask",
            expected="Dask",
            met=str(error),
            remedy="pip install 'scsam-monai[dask]', or use --runner serial",
        ) from error
    with ExitStack() as stack:
        if workers is not None and cluster is None and scheduler is None:
            cluster = stack.enter_context(local_cluster(workers))
        if scheduler is not None and cluster is None:
            client = _connect(Client, scheduler)
        else:
            client = Client(cluster, set_as_default=False)
        stack.enter_context(client)
        stack.enter_context(client.as_current())
        try:
            yield client
        except KilledWorker as error:
            raise InputError(
                "--runner dask",
                expected="workers that live",
                met=f"several that died in turn over the same blocks, the last one {error.last_worker.address}",
                remedy="see their logs; mostly memory runs out: use fewer workers, or smaller blocks",
            ) from error
        except InputError:
            raise
        except Exception as error:
            # Once the client has given its scheduler up, whatever it is asked fails in a way of its own.
            if client.status == "running" and not isinstance(error, (CancelledError, CommClosedError)):
                raise
            raise InputError(
                scheduler or "the Dask scheduler",
                expected="a scheduler that keeps the job",
                met=f"one that was lost or dropped it ({error})",
                remedy="start it again and add --resume",
            ) from error


def _connect(client: Callable[..., Any], scheduler: str) -> Any:
    """Return a client of a scheduler given by its address or its file."""
    is_file = "://" not in scheduler and (scheduler.endswith(".json") or Path(scheduler).exists())
    try:
        if not is_file:
            return client(scheduler, timeout=CONNECT_S, set_as_default=False)
        # Dask would wait without end for a file that is not there.
        Path(scheduler).stat()
        return client(scheduler_file=scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            "--scheduler",
            expected="the address (tcp://host:port) or file of a running Dask scheduler",
            met=f"{scheduler} ({error})",
            remedy="start one with: dask scheduler",
        ) from error


# One job at a time per worker process, opened once; works are not asked to be safe for threads.
_opened: dict[str, Work] = {}


_working = threading.Lock()


def _run_group(
    open_work: OpenWork, folder: str, run: str, threads: int | None, blocks: list[int]
) -> list[int]:
    """Compute a group in a worker and return its blocks.

    The key is the run, not the folder: the next job may use the same folder.
    """
    import torch
    from distributed import get_worker

    with _working:
        if run not in _opened:
            _close_all()
            torch.set_num_threads(threads or get_worker().state.nthreads)
            _opened[run] = open_work(folder)
        return list(_opened[run].run(blocks))


def _close_work(run: str) -> None:
    """Let a worker that stays drop the network and the files of a finished run.

    A cancelled group that still computes keeps them until the worker opens the next run.
    """
    if run in _opened and _working.acquire(blocking=False):
        try:
            _close_all()
        finally:
            _working.release()


def _close_all() -> None:
    while _opened:
        _opened.popitem()[1].close()
