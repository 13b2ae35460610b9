"""How many threads compute: control groups and affinity as faked, waiting as measured in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scsam_monai import threads
from scsam_monai.threads import cpu_quota, default_threads, share_cores, usable_cores

V1 = "4:memory:/\n1:cpu,cpuacct:/docker/12ab\n0::/\n"


@pytest.fixture(autouse=True)
def sixty_four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 40.0, 40.0), raising=False)
    for name in (threads.NUMBER, *threads.WAITING):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def fake(root: Path, groups: str, **files: str) -> Path:
    """A file system with control groups; ``__`` stands for a slash, and ``_dot_`` for a dot."""
    content = {"proc/self/cgroup": groups} | {
        f"sys/fs/cgroup/{name.replace('__', '/').replace('_dot_', '.')}": text for name, text in files.items()
    }
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("max 100000", 64),
        ("9900000 100000", 64),
    ],
)
def test_quota_of_control_groups_of_version_2(tmp_path: Path, quota: str, cores: int) -> None:
    assert usable_cores(fake(tmp_path, "0::/\n", cpu_dot_max=quota)) == cores


@pytest.mark.parametrize(("quota", "cores"), [("100000", 1), ("400000", 4), ("-1", 64)])
@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_quota_of_control_groups_of_version_1(tmp_path: Path, folder: str, quota: str, cores: int) -> None:
    files = {f"{folder}__cpu_dot_cfs_quota_us": quota, f"{folder}__cpu_dot_cfs_period_us": "100000"}
    assert usable_cores(fake(tmp_path, V1, **files)) == cores


def test_the_smallest_quota_of_nested_groups_counts(tmp_path: Path) -> None:
    files = {
        "a__b__cpu_dot_max": "max 100000",
        "a__cpu_dot_max": "200000 100000",
        "cpu_dot_max": "max 100000",
    }
    assert cpu_quota(fake(tmp_path, "0::/a/b\n", **files)) == 2


def test_affinity_smaller_than_the_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_cores(fake(tmp_path, "0::/\n", cpu_dot_max="800000 100000")) == 2


@pytest.mark.parametrize("text", ["", "nonsense", "100000 0"])
def test_what_cannot_be_read_limits_nothing(tmp_path: Path, text: str) -> None:
    assert cpu_quota(tmp_path) is None
    assert cpu_quota(fake(tmp_path, "0::/\n", cpu_dot_max=text)) is None


def test_torch_takes_the_quota_unless_somebody_named_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(threads, "cpu_quota", lambda _: 1.0)
    assert default_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert default_threads() == 2
    share_cores()
    assert torch.get_num_threads() == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    share_cores()
    assert torch.get_num_threads() == 1


def before_torch(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that are set where torch is not loaded yet."""
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    share_cores()
    return {name: os.environ[name] for name in (threads.NUMBER, *threads.WAITING) if name in os.environ}


@pytest.mark.parametrize(("load", "variables"), [(0.5, {}), (31, {}), (33, {"OMP_WAIT_POLICY": "passive"})])
def test_threads_sleep_where_half_the_machine_is_busy(
    monkeypatch: pytest.MonkeyPatch, load: float, variables: dict[str, str]
) -> None:
    monkeypatch.setattr(threads, "cpu_quota", lambda _: None)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert before_torch(monkeypatch) == variables


def test_variables_before_torch_in_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpu_quota", lambda _: 2.5)
    assert before_torch(monkeypatch) == {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "passive"}


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpu_quota", lambda _: 1.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    assert before_torch(monkeypatch) == {"OMP_NUM_THREADS": "7", "GOMP_SPINCOUNT": "5"}


SPINS = """
import os, time, torch
from scsam_monai import threads
torch.set_num_threads(2)
threads.is_shared = lambda: True
if {shared}:
    threads.share_cores()
assert torch.get_num_threads() == 2
for _ in range(150):
    torch.zeros(1 << 16).add_(1)
    time.sleep(0.02)
    print(end="")
team = [f"/proc/self/task/{{task}}" for task in os.listdir("/proc/self/task") if int(task) != os.getpid()]
stats = [open(f"{{task}}/stat").read().rsplit(")", 1)[1].split() for task in team]
print(len(team), sum(int(stat[11]) + int(stat[12]) for stat in stats))
"""


def ticks_of_others(*, shared: bool) -> tuple[int, int]:
    """How many threads there are besides the main one, and the hundredths of a second that they computed."""
    script = SPINS.format(shared=shared)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP", "GOMP", "MKL"))
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    number, ticks = map(int, done.stdout.split())
    return number, ticks


@pytest.mark.skipif(
    sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="GCC's OpenMP, /proc and two cores"
)
def test_threads_that_wait_leave_the_core_even_if_torch_was_loaded_before() -> None:
    (spinning, spun), (parked, waited) = ticks_of_others(shared=False), ticks_of_others(shared=True)
    assert parked > spinning
    assert waited <= spun / 2


def test_sleeping_threads_are_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_parked", [])
    monkeypatch.setattr(threads, "_own_cores", lambda: 2)
    monkeypatch.setattr(threads, "is_shared", lambda: True)
    torch.set_num_threads(2)
    before = threading.active_count()
    share_cores()
    share_cores()
    assert threading.active_count() == before + (sys.platform == "linux")
    assert torch.get_num_threads() == 2
