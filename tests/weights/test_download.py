from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_server import FileServer, serve
from registered import register

from scsam_monai.errors import InputError
from scsam_monai.filesystem import locks as file_locks
from scsam_monai.weights import download
from scsam_monai.weights.download import CancelledError, fetch
from scsam_monai.weights.registry import Weights, cache_dir

CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    monkeypatch.setattr(download, "CHUNK", 1 << 14)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SCSAM_WEIGHTS_DIR", raising=False)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(CONTENT) as state:
        yield state


@pytest.fixture
def weights(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Weights:
    return register(monkeypatch, "tiny", {"tiny.pth": CONTENT}, url=server.url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_arrived(folder: Path) -> None:
    assert names(folder) == ["tiny.pth"]
    assert (folder / "tiny.pth").read_bytes() == CONTENT


def test_a_file_arrives_with_progress(server: FileServer, weights: Weights, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert fetch("tiny", folder, progress=lambda done, total: seen.append((done, total))) == [
        folder / "tiny.pth"
    ]
    assert_arrived(folder)
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert server.asked == [None]


def test_what_is_there_is_not_fetched_again(server: FileServer, weights: Weights, folder: Path) -> None:
    fetch("tiny", folder)
    fetch("tiny", folder)
    assert len(server.asked) == 1


def test_where_files_go_and_are_found(
    weights: Weights, server: FileServer, tmp_path: Path, monkeypatch
) -> None:
    assert fetch("tiny") == [cache_dir() / "tiny.pth"]
    monkeypatch.setenv("SCSAM_WEIGHTS_DIR", str(tmp_path / "flat"))
    assert fetch("tiny") == [cache_dir() / "tiny.pth"]
    (cache_dir() / "tiny.pth").unlink()
    assert fetch("tiny") == [tmp_path / "flat" / "tiny.pth"]
    assert len(server.asked) == 2


def test_a_wrong_file_in_the_target_is_replaced(weights: Weights, folder: Path) -> None:
    folder.mkdir()
    (folder / "tiny.pth").write_bytes(b"x" * len(CONTENT))
    fetch("tiny", folder)
    assert_arrived(folder)


def test_a_cut_connection_is_taken_up(server: FileServer, weights: Weights, folder: Path) -> None:
    server.cuts = [100_000, 50_000]
    fetch("tiny", folder)
    assert_arrived(folder)
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_cut_every_time_it_ends_in_one_line_and_is_taken_up_later(
    server: FileServer, weights: Weights, folder: Path
) -> None:
    server.cuts = [10_000] * download.TRIES
    with pytest.raises(
        InputError, match=r"met cut off after 30000 .*3 times; run the same command again"
    ) as caught:
        fetch("tiny", folder)
    assert "\n" not in str(caught.value)
    assert names(folder) == ["tiny.pth.part"]
    fetch("tiny", folder)
    assert_arrived(folder)
    assert server.asked[-1] == "bytes=30000-"


def test_a_server_that_ignores_ranges_sends_all_again(
    server: FileServer, weights: Weights, folder: Path
) -> None:
    server.ranges = False
    server.cuts = [200_000]
    fetch("tiny", folder)
    assert_arrived(folder)
    assert server.asked == [None, "bytes=200000-"]


def test_without_a_length_a_cut_is_noticed(server: FileServer, weights: Weights, folder: Path) -> None:
    server.length = False
    server.cuts = [200_000]
    fetch("tiny", folder)
    assert_arrived(folder)
    assert len(server.asked) == 2


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_whole_or_too_long(
    size: int, server: FileServer, weights: Weights, folder: Path
) -> None:
    folder.mkdir()
    (folder / "tiny.pth.part").write_bytes((CONTENT + b"12345")[:size])
    fetch("tiny", folder)
    assert_arrived(folder)
    assert server.asked == ([] if size == len(CONTENT) else [None])


def test_wrong_content_is_removed(server: FileServer, weights: Weights, folder: Path) -> None:
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(InputError, match=r"tiny\.pth: expected sha256 .*; it was removed: fetch again"):
        fetch("tiny", folder)
    assert names(folder) == []


def test_a_part_of_something_else_is_removed(server: FileServer, weights: Weights, folder: Path) -> None:
    folder.mkdir()
    (folder / "tiny.pth.part").write_bytes(b"?" * 1000)
    with pytest.raises(InputError, match="expected sha256"):
        fetch("tiny", folder)
    fetch("tiny", folder)
    assert_arrived(folder)


@pytest.mark.parametrize("kept", [0, 250_000])
def test_a_file_that_is_shorter_at_the_server(
    kept: int, server: FileServer, weights: Weights, folder: Path
) -> None:
    server.content = CONTENT[:200_000]
    folder.mkdir()
    (folder / "tiny.pth.part").write_bytes(CONTENT[:kept])
    with pytest.raises(InputError, match=r"expected 300000 bytes, met 200000; try again later"):
        fetch("tiny", folder)
    assert "tiny.pth" not in names(folder)


def test_failures_that_pass_are_waited_for(server: FileServer, weights: Weights, folder: Path) -> None:
    server.statuses = [503, 500]
    fetch("tiny", folder)
    assert_arrived(folder)


def test_failures_that_stay_are_told_at_once(server: FileServer, weights: Weights, folder: Path) -> None:
    server.statuses = [404]
    with pytest.raises(InputError, match=r"expected a file, met HTTP status 404; check the address"):
        fetch("tiny", folder)
    assert len(server.asked) == 1
    assert names(folder) == []


def test_offline_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        register(monkeypatch, "tiny", {"tiny.pth": CONTENT}, url=url)
        with pytest.raises(InputError, match=r"met no connection \(.*refused\), 3 times") as caught:
            fetch("tiny", folder)
    assert (
        f"without a network, put tiny.pth from {url}tiny.pth into {folder}, or set SCSAM_WEIGHTS_DIR"
        in str(caught.value)
    )
    assert names(folder) == []


def test_only_http_is_opened(
    server: FileServer, weights: Weights, folder: Path, monkeypatch, tmp_path
) -> None:
    (tmp_path / "tiny.pth").write_bytes(CONTENT)
    for location in ((tmp_path / "tiny.pth").as_uri(), "ftp://127.0.0.1/tiny.pth"):
        server.location = location
        with pytest.raises(InputError, match=r"HTTP status 302|^ftp:.*expected an http or https address"):
            fetch("tiny", folder)
    for scheme in ("file://", "ftp://127.0.0.1/"):
        register(monkeypatch, "local", {"tiny.pth": CONTENT}, url=f"{scheme}{tmp_path}/")
        with pytest.raises(InputError, match="expected an http or https address"):
            fetch("local", folder)
    assert names(folder) == []


def test_redirects_are_followed(server: FileServer, weights: Weights, folder: Path) -> None:
    with serve(CONTENT) as other:
        server.location = f"{other.url}elsewhere"
        fetch("tiny", folder)
    assert_arrived(folder)


def test_a_folder_that_cannot_be_made(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"expected a folder that can be written to, met Not a directory;"):
        fetch("tiny", tmp_path / "file" / "models")


def test_a_read_only_folder(weights: Weights, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Path.open

    def refuse(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if self.parent == folder and mode != "rb":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
        return genuine(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        InputError, match=r"models: expected a folder that can be .*, met Read-only file system;"
    ):
        fetch("tiny", folder)
    assert names(folder) == []


def test_no_space_is_said_before(server: FileServer, weights: Weights, folder: Path, monkeypatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        InputError, match=r"models: expected \d+ kB free, met 100 kB; free some space or fetch into"
    ):
        fetch("tiny", folder)
    assert names(folder) == []


def test_space_counts_what_is_there_already(weights: Weights, folder: Path, monkeypatch) -> None:
    folder.mkdir()
    (folder / "tiny.pth.part").write_bytes(CONTENT[:250_000])
    usage = shutil.disk_usage("/")._replace(free=60_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    fetch("tiny", folder)
    assert_arrived(folder)


def test_a_disk_that_fills_up_leaves_a_part(
    server: FileServer, weights: Weights, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, written = download._write, []

    class Full:
        def write(self, chunk: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(stream: Any, chunk: bytes, part: Path) -> None:
        written.append(chunk)
        genuine(stream if len(written) < 5 else Full(), chunk, part)

    monkeypatch.setattr(download, "_write", fill)
    with pytest.raises(InputError, match=r"models: expected more space, met a full disk; free some space"):
        fetch("tiny", folder)
    assert names(folder) == ["tiny.pth.part"]
    monkeypatch.setattr(download, "_write", genuine)
    fetch("tiny", folder)
    assert_arrived(folder)
    assert server.asked[-1].startswith("bytes=")


def test_cancelled_and_taken_up(server: FileServer, weights: Weights, folder: Path) -> None:
    seen: list[int] = []
    with pytest.raises(CancelledError):
        fetch("tiny", folder, progress=lambda done, _: seen.append(done), cancel=lambda: seen[-1] > 100_000)
    assert names(folder) == ["tiny.pth.part"]
    fetch("tiny", folder)
    assert_arrived(folder)
    assert server.asked[-1] == f"bytes={seen[-1]}-"


def test_shipped_weights_have_no_address(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    register(monkeypatch, "own", {"own.safetensors": b"abc"})
    with pytest.raises(
        InputError, match=r"put own\.safetensors from the project's bundle/models into .*models"
    ):
        fetch("own", folder)
    folder.mkdir()
    (folder / "own.safetensors").write_bytes(b"abc")
    assert fetch("own", folder) == [folder / "own.safetensors"]


def _fetch_in_a_process(url: str, folder: Path, start: Any) -> None:
    start.wait()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("no_proxy", "*")
        register(monkeypatch, "tiny", {"tiny.pth": CONTENT}, url=url)
        fetch("tiny", folder)


def test_several_processes_fetch_one_file(server: FileServer, folder: Path) -> None:
    server.cuts = [100_000]
    context = multiprocessing.get_context("fork")
    start = context.Event()
    processes = [
        context.Process(target=_fetch_in_a_process, args=(server.url, folder, start)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert_arrived(folder)
    assert server.asked == [None, "bytes=100000-"]


@pytest.mark.parametrize("locks", ["none", "refused"])
def test_without_locks_each_process_has_a_part_of_its_own(
    locks: str, server: FileServer, weights: Weights, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if locks == "none":
        monkeypatch.setattr(file_locks, "fcntl", None)
    else:
        monkeypatch.setattr(file_locks.fcntl, "flock", refuse)
    server.cuts = [10_000] * download.TRIES
    with pytest.raises(InputError, match="cut off after 30000"):
        fetch("tiny", folder)
    assert not [name for name in names(folder) if name.endswith(str(os.getpid()))]
    fetch("tiny", folder)
    assert (folder / "tiny.pth").read_bytes() == CONTENT


def test_a_waiting_process_can_be_cancelled(weights: Weights, folder: Path) -> None:
    folder.mkdir()
    with file_locks.exclusive(folder / "tiny.pth.part"), pytest.raises(CancelledError):
        fetch("tiny", folder, cancel=lambda: True)
