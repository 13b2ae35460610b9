"""How many CPU threads to compute with, beside others: a container's quota counts, and who waits leaves the core.

OpenMP, which torch computes with, starts a thread for each core of the machine, whatever a container may use of it,
and its threads wait for work by spinning. Beside other programs that costs several times the processor time of the
work itself; on an idle machine it is the quickest, as a core that sleeps takes long to wake. Results are the same
either way. Whoever sets ``OMP_NUM_THREADS``, ``OMP_WAIT_POLICY`` or ``GOMP_SPINCOUNT`` keeps what was set.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

NUMBER = "OMP_NUM_THREADS"
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
SHARED_OUT = 1 << 20
"""Elements that torch adds to with all its threads."""
MOST_PARKED = 64
"""A container may be denied more threads, and OpenMP then ends the process."""


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use: those it may run on, or its quota, rounded up.

    Args:
        root: of the file system that has the control groups.
    """
    quota = cpu_quota(root)
    return _own_cores() if quota is None else min(_own_cores(), max(1, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many cores' time the control groups of this process grant it; None where they do not say.

    Both versions of control groups are read; of nested groups the smallest quota counts.

    Args:
        root: of the file system that has them.
    """
    return min(_quotas(root), default=None)


def _quotas(root: Path) -> Iterator[float]:
    try:
        lines = (root / "proc/self/cgroup").read_text("ascii", "replace").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0" and not controllers:
            for folder in (root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"):
                yield from _of_groups(folder, group, "cpu.max")
        elif "cpu" in controllers.split(","):
            for folder in {root / "sys/fs/cgroup" / name for name in (controllers, "cpu")}:
                yield from _of_groups(folder, group, "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _of_groups(folder: Path, group: str, *names: str) -> Iterator[float]:
    """Yield the quotas of a group and those around it; in a container the outermost alone may be visible."""
    inner = Path(group.strip("/"))
    for place in (inner, *inner.parents):
        try:
            words = " ".join((folder / place / name).read_text("ascii") for name in names).split()
            quota, period = int(words[0]), int(words[1])  # "max" grants all
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0 and period > 0:  # -1 grants all
            yield quota / period


def _own_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """Return how many threads torch shall compute with where nobody says: its own choice, within the quota."""
    import torch

    threads = torch.get_num_threads()
    return threads if NUMBER in os.environ else min(threads, usable_cores())


def told(threads: int) -> str:
    """Say in one line how many threads compute."""
    return f"computes with {threads} of {_own_cores()} CPU cores"


def share_cores() -> None:
    """Keep this process's threads within its quota, and on a shared machine let those that wait leave their core.

    At best it is called before torch is imported, as OpenMP reads its settings once. Later on the number can still
    be changed, and waiting where OpenMP is GCC's, as in torch's own packages for Linux.
    """
    if sys.modules.get("torch") is None:
        _set_variables()
        return
    import torch

    if (threads := default_threads()) != torch.get_num_threads():
        torch.set_num_threads(threads)
    logger.info("%s", told(threads))
    if threads > 1 and sys.platform == "linux" and _shall_sleep():
        _outnumber_cores(threads)


def is_shared() -> bool:
    """Whether others want the cores: a quota is set, or half the machine was busy in the last minute."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return usable_cores() < _own_cores() or busy > _own_cores() / 2


def _shall_sleep() -> bool:
    return is_shared() and not any(name in os.environ for name in WAITING)


def _set_variables() -> None:
    if _shall_sleep():
        os.environ["OMP_WAIT_POLICY"] = "passive"
    if NUMBER not in os.environ and (cores := usable_cores()) < _own_cores():
        os.environ[NUMBER] = str(cores)


_parked: list[threading.Thread] = []


def _outnumber_cores(threads: int) -> None:
    """Hold so many sleeping threads that GCC's OpenMP has more than there are cores.

    It then spins 100 times in place of 300,000 before it waits (libgomp's manual, ``GOMP_SPINCOUNT``), and does so
    at once: the only setting of its waiting that can be changed in a process that has loaded it.
    """
    import torch

    team = _own_cores() - threads + 2  # one of each team is there anyway
    if _parked or team > MOST_PARKED:
        return
    ready = threading.Event()

    def park() -> None:
        torch.set_num_threads(team)
        torch.zeros(SHARED_OUT).add_(1)
        ready.set()
        threading.Event().wait()  # its team sleeps as long as it lives

    _parked.append(threading.Thread(target=park, name="more threads than cores", daemon=True))
    _parked[0].start()
    ready.wait()
    torch.set_num_threads(threads)  # what the other thread set counts for those to come
