"""A job that writes one small file per block and misbehaves where its description says so."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.inference.manifest import Manifest
from scsam_monai.inference.runners import Cancel, Shard, run_dask, run_serial


class FileWork:
    def __init__(self, folder: str) -> None:
        self.job = Manifest(Path(folder)).job
        self.output = output_of(folder)
        note(self.output, f"opened {os.getpid()} {torch.get_num_threads()}")

    def run(self, blocks: Sequence[int], cancel: Cancel | None = None) -> Iterator[int]:
        for block in blocks:
            if cancel is not None and cancel():
                return
            time.sleep(self.job.get("pause_s", 0))
            if block == self.job.get("fails_at"):
                raise InputError(
                    f"block {block}", expected="readable data", met="none", remedy="copy it again"
                )
            if block == self.job.get("breaks_at"):
                raise ZeroDivisionError(f"in block {block}")
            if block == self.job.get("dies_at") and self._dies():
                os.kill(os.getpid(), signal.SIGKILL)
            with atomic_path(self.output / f"{block:04d}.bin") as path:
                path.write_bytes(content(block))
            note(self.output, f"block {block} {os.getpid()}")
            yield block

    def close(self) -> None:
        note(self.output, f"closed {os.getpid()}")

    def _dies(self) -> bool:
        """Once, or each time."""
        first = not (self.output / "died").exists()
        (self.output / "died").touch()
        return first or self.job.get("dies", "once") == "always"


def open_files(folder: str) -> FileWork:
    return FileWork(folder)


def output_of(folder: str | Path) -> Path:
    output = Path(folder).parent / "output"
    output.mkdir(exist_ok=True)
    return output


def content(block: int) -> bytes:
    return hashlib.sha256(b"%d" % block).digest() * 8


def note(output: Path, line: str) -> None:
    with (output / "log.txt").open("a") as stream:
        stream.write(line + "\n")


def notes(folder: Path, word: str) -> list[list[str]]:
    lines = (output_of(folder) / "log.txt").read_text().splitlines()
    return [line.split()[1:] for line in lines if line.startswith(word)]


def written(folder: Path) -> dict[str, bytes]:
    """Return the finished files: a process killed while it writes leaves its unfinished one under a hidden name."""
    return {path.name: path.read_bytes() for path in output_of(folder).glob("[0-9]*.bin")}


def complete(n_blocks: int) -> dict[str, bytes]:
    return {f"{block:04d}.bin": content(block) for block in range(n_blocks)}


def main(folder: str, runner: str, n_blocks: str, pause_s: str, shard: str = "1/1") -> None:
    """Begin or go on with a job, run a share of it and finish, as a program of its own."""
    manifest = Manifest.begin(folder, {"pause_s": float(pause_s)}, int(n_blocks), resume=True)
    share = Shard.parse(shard)
    with manifest.claim(share):
        todo = [block for block in share.take(range(manifest.n_blocks)) if block not in manifest.done()]
        if runner == "dask":
            run_dask(open_files, folder, todo, manifest.mark, workers=1, group=2)
        else:
            run_serial(open_files, folder, todo, manifest.mark)
        with manifest.finishing() as mine:
            if mine:
                note(output_of(folder), f"finished {os.getpid()}")
                time.sleep(0.3)
                manifest.remove()


if __name__ == "__main__":
    # Under this name workers can import it too.
    import file_work

    file_work.main(*sys.argv[1:])
