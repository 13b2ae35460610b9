from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path

import file_work
import pytest

from scsam_monai.errors import InputError
from scsam_monai.filesystem import locks as lease_module
from scsam_monai.filesystem.locks import lease
from scsam_monai.inference.manifest import Manifest
from scsam_monai.inference.runners import Shard, run_serial

JOB = {"image": "cell.tif", "block": [8, 64, 64], "model": {"sha256": "ab", "planes": 1}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cell.zarr.job"


@pytest.fixture(params=["flock", "no locks"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of file systems: with locks, and such as Lustre mounted without them."""
    if request.param == "no locks":

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refuse)
    return str(request.param)


def begin(folder: Path, n_blocks: int = 6, resume: bool = True, **changes: object) -> Manifest:
    return Manifest.begin(folder, {**JOB, **changes}, n_blocks, resume=resume)


def start(folder: Path, *words: str) -> BaseProcess:
    """Start a program; children of a server that has imported torch once are there in no time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scsam_monai.inference.manifest"])
    process = context.Process(target=file_work.main, args=(str(folder), *words))
    process.start()
    return process


def wait_for(condition: object, limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.01)


def test_progress_is_kept(folder: Path) -> None:
    manifest = begin(folder, resume=False)
    assert manifest.missing() == [0, 1, 2, 3, 4, 5]
    for block in (4, 1, 4):
        manifest.mark(block)
    again = Manifest(folder)
    assert (again.done(), again.missing(), again.n_blocks) == ({1, 4}, [0, 2, 3, 5], 6)
    assert again.job == JOB


def test_a_block_of_another_job_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="0 to 5, met 6"):
        begin(folder).mark(6)


def test_an_earlier_run_is_not_overwritten(folder: Path) -> None:
    begin(folder).mark(2)
    with pytest.raises(InputError, match=r"1 of 6 blocks done; add --resume .* or remove it"):
        begin(folder, resume=False)
    assert begin(folder).done() == {2}


def test_another_job_is_refused_by_its_keys(folder: Path) -> None:
    begin(folder)
    with pytest.raises(InputError) as refusal:
        begin(folder, 7, model={"sha256": "cd", "planes": 1}, device="cpu")
    message = str(refusal.value)
    assert 'model.sha256 "cd" instead of "ab"' in message
    assert "n_blocks 7 instead of 6" in message
    assert 'device "cpu" instead of nothing' in message
    assert "planes" not in message
    assert "\n" not in message


def test_tuples_and_lists_are_the_same_job(folder: Path) -> None:
    begin(folder, block=(8, 64, 64))
    begin(folder, block=[8, 64, 64])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 9, "n_blocks": 1, "job": {}}']
)
def test_a_damaged_job_is_refused(folder: Path, text: str) -> None:
    begin(folder)
    (folder / "job.json").write_text(text)
    for attempt in (lambda: Manifest(folder), lambda: begin(folder)):
        with pytest.raises(InputError, match=r"job\.json: .*damaged or foreign"):
            attempt()


def test_a_folder_without_a_job_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Manifest(folder)


def test_a_new_job_does_not_inherit_the_blocks_of_a_lost_one(folder: Path) -> None:
    begin(folder).mark(1)
    (folder / "job.json").unlink()
    with pytest.raises(InputError, match="finished blocks are noted"):
        begin(folder)


def test_many_begin_at_once(folder: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        manifests = list(threads.map(lambda _: begin(folder), range(32)))
    assert all(manifest.job == JOB for manifest in manifests)


@pytest.mark.parametrize("cut", range(1, 13))
def test_a_torn_line_is_not_believed(folder: Path, cut: int) -> None:
    manifest = begin(folder, 2000)
    manifest.mark(7)
    manifest.mark(1234)
    (journal,) = folder.glob("done-*")
    whole = journal.read_bytes()
    os.truncate(journal, len(whole) - cut)
    # Without its line end a record is still whole.
    assert manifest.done() == ({7, 1234} if cut == 1 else {7})
    again = Manifest(folder)
    again.mark(3)
    assert Manifest(folder).done() >= {3, 7}


@pytest.mark.parametrize(
    "noise", [b"\0" * 40, b"12\n", b"5 00000000\n", b" 00000000\n", b"\xff\n\n", b"-1 x\n"]
)
def test_noise_is_not_believed(folder: Path, noise: bytes) -> None:
    manifest = begin(folder, 2000)
    manifest.mark(7)
    (journal,) = folder.glob("done-*")
    journal.write_bytes(journal.read_bytes() + noise)
    assert manifest.done() == {7}


def test_nothing_follows_on_a_line_that_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = begin(folder)
    with monkeypatch.context() as patch:

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            manifest.mark(1)
    manifest.mark(2)
    assert 2 in manifest.done()
    assert len(list(folder.glob("done-*"))) == 2


def test_many_threads_mark(folder: Path) -> None:
    manifest = begin(folder, 300)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(manifest.mark, range(300)))
    assert manifest.missing() == []


def test_a_large_job_is_read_quickly(folder: Path) -> None:
    manifest = begin(folder, 100_000)
    manifest.mark(0)
    (journal,) = folder.glob("done-*")
    from scsam_monai.inference.manifest import _record

    journal.write_bytes(b"".join(_record(block) for block in range(99_999)))
    began = time.process_time()
    assert manifest.missing() == [99_999]
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("mine", "theirs", "message"),
    [
        ("2/3", "2/3", "shard 2/3"),
        ("2/3", "1/2", "another --shard count than 3"),
        ("1/1", "1/2", "another --shard count than 1"),
        ("1/2", "1/1", "another --shard count than 2"),
        ("1/1", "1/1", "shard 1/1"),
    ],
)
def test_one_at_a_time(folder: Path, locks: str, mine: str, theirs: str, message: str) -> None:
    manifest, other = begin(folder), begin(folder)
    with other.claim(Shard.parse(theirs)):
        with (
            pytest.raises(InputError, match=rf"{message}, met process {os.getpid()} on"),
            manifest.claim(Shard.parse(mine)),
        ):
            pass
        with pytest.raises(InputError), manifest.claim(Shard.parse(mine)):
            pass
    with manifest.claim(Shard.parse(mine)):
        pass


def test_shards_work_side_by_side(folder: Path, locks: str) -> None:
    manifest = begin(folder)
    with manifest.claim(Shard(0, 3)), manifest.claim(Shard(1, 3)), manifest.claim(Shard(2, 3)):
        pass
    with manifest.claim(Shard()):
        pass


def test_a_claim_ends_with_an_error(folder: Path, locks: str) -> None:
    manifest = begin(folder)
    with pytest.raises(KeyError), manifest.claim(Shard()):
        raise KeyError("work")
    with manifest.claim(Shard()):
        pass


def test_without_locks_a_killed_holder_stops_counting_after_a_while(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "try_lock", lambda _: None)
    manifest = begin(folder)
    left = folder / "shard-1-of-1.lock.1"
    left.write_text("process 1 on elsewhere")
    with pytest.raises(InputError, match="process 1 on elsewhere"), manifest.claim(Shard()):
        pass
    os.utime(left, (time.time() - 61,) * 2)
    with manifest.claim(Shard()), pytest.raises(InputError), begin(folder).claim(Shard()):
        pass


def test_without_locks_a_long_holder_stays_young(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "try_lock", lambda _: None)
    monkeypatch.setattr(lease_module, "BEAT_S", 0.02)
    with lease(tmp_path / "x.lock") as mine:
        assert mine
        os.utime(tmp_path / "x.lock.1", (0, 0))
        wait_for(lambda: (tmp_path / "x.lock.1").stat().st_mtime > 1)
        with lease(tmp_path / "x.lock") as second:
            assert not second


@pytest.mark.parametrize("round_", range(5))
def test_only_one_gets_a_free_lease(tmp_path: Path, locks: str, round_: int) -> None:
    barrier, taken = threading.Barrier(6), []

    def attempt(_: int) -> None:
        barrier.wait()
        with lease(tmp_path / "x.lock") as mine:
            taken.append(mine)
            barrier.wait()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(attempt, range(6)))
    assert sorted(taken) == [False] * 5 + [True]


def test_finishing_waits_for_the_last_block(folder: Path, locks: str) -> None:
    manifest = begin(folder, 2)
    manifest.mark(0)
    with manifest.finishing() as mine:
        assert not mine
    manifest.mark(1)
    with manifest.finishing() as mine, begin(folder, 2).finishing() as second:
        assert (mine, second) == (True, False)
    with manifest.finishing() as mine:
        assert mine  # it was not removed
        manifest.remove()
    with manifest.finishing() as mine:
        assert not mine


def test_a_finished_job_is_gone_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = begin(folder)
    manifest.mark(1)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # killed in between
        manifest.remove()
    assert not folder.exists()
    assert len(list(folder.parent.iterdir())) == 1
    assert begin(folder, resume=False).done() == set()
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_goes_on(folder: Path, seed: int) -> None:
    kills = sorted(random.Random(seed).sample(range(1, 39), 4))
    for marked in kills:
        process = start(folder, "serial", "40", "0.01")
        wait_for(lambda marked=marked: len(journal_lines(folder)) >= marked)
        with pytest.raises(InputError, match=f"process {process.pid} on"), Manifest(folder).claim(Shard()):
            pass
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with Manifest(folder).claim(Shard()):  # the dead are not in the way
            pass
    process = start(folder, "serial", "40", "0.01")
    process.join()
    assert process.exitcode == 0
    assert file_work.written(folder) == file_work.complete(40)
    assert not folder.exists()
    # At most the block in work at each kill was computed again.
    assert len(file_work.notes(folder, "block")) <= 40 + len(kills)


def test_shards_finish_once(folder: Path) -> None:
    processes = [start(folder, "serial", "9", "0.05", f"{index}/3") for index in (1, 2, 3)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert file_work.written(folder) == file_work.complete(9)
    assert len(file_work.notes(folder, "finished")) == 1
    assert not folder.exists()


def test_serial_passes_cancel_on(folder: Path) -> None:
    begin(folder)
    done: list[int] = []
    run_serial(file_work.open_files, str(folder), range(6), done.append, cancel=lambda: len(done) == 2)
    assert done == [0, 1]
    assert len(file_work.notes(folder, "closed")) == 1


@pytest.mark.parametrize(
    ("job", "kind"), [({"fails_at": 3}, InputError), ({"breaks_at": 3}, ZeroDivisionError)]
)
def test_serial_closes_what_failed(folder: Path, job: dict[str, int], kind: type[Exception]) -> None:
    manifest = begin(folder, **job)
    with pytest.raises(kind, match="block 3"):
        run_serial(file_work.open_files, str(folder), range(6), manifest.mark)
    assert manifest.missing() == [3, 4, 5]
    assert len(file_work.notes(folder, "closed")) == 1


def test_a_late_process_is_told_that_all_is_done(folder: Path) -> None:
    late, manifest = begin(folder), begin(folder)
    manifest.remove()
    for attempt in (late.done, late.missing, late.claim(Shard(0, 2)).__enter__):
        with pytest.raises(InputError, match="another process has finished it"):
            attempt()


def journal_lines(folder: Path) -> list[bytes]:
    return [line for path in folder.glob("done-*") for line in path.read_bytes().splitlines()]
