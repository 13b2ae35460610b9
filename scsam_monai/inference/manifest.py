"""The progress of a job: which blocks are finished, and which process works on the others."""

from __future__ import annotations

import glob
import json
import os
import shutil
import socket
import threading
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path, sync_files
from scsam_monai.filesystem.locks import exclusive, held, holder, lease
from scsam_monai.inference.runners.local import Shard

JOB = "job.json"
GATE = "gate.lock"
FINISHING = "finishing.lock"
FORMAT = 2
MAX_DIFFERENCES = 5


class Manifest:
    """Progress of one job, kept in a folder beside its output.

    ``job.json`` says what is computed. Every process appends the blocks it has finished to a journal of its
    own, one line and checksum each: nobody waits for anybody, and a line torn by a kill is not believed.

    Args:
        folder: as :meth:`begin` has made it.

    Raises:
        InputError: if there is no job or its description is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.job, self.n_blocks = _read_job(self.folder / JOB)
        self._new_journal()
        self._writing = threading.Lock()

    @classmethod
    def begin(
        cls, folder: str | Path, job: Mapping[str, Any], n_blocks: int, *, resume: bool = False
    ) -> Manifest:
        """Describe a new job, or go on with the same one. Any number of processes may begin at once.

        Args:
            folder: where progress is kept; made if missing.
            job: everything the result depends on, of JSON types.
            n_blocks: how many blocks the job has.
            resume: go on with a job that stands there already. Each shard of a job passes True, because
                another may have begun before it.

        Raises:
            InputError: if a job stands there and is not to be resumed, or is another one.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        described = {"format": FORMAT, "n_blocks": n_blocks, "job": json.loads(json.dumps(dict(job)))}
        with exclusive(folder / GATE):
            if not (folder / JOB).exists():
                _refuse_remains(folder)
                with atomic_path(folder / JOB) as path:
                    path.write_text(json.dumps(described, indent=1) + "\n", "utf-8")
                sync_files([], folder)
                return cls(folder)
        manifest = cls(folder)
        if not resume:
            raise InputError(
                folder,
                expected="no earlier run on this output",
                met=f"one with {len(manifest.done())} of {manifest.n_blocks} blocks done",
                remedy="add --resume to go on with it, or remove it together with its output",
            )
        recorded = {"n_blocks": manifest.n_blocks, **manifest.job}
        _refuse_difference(folder, recorded, {"n_blocks": n_blocks, **described["job"]})
        return manifest

    def done(self) -> set[int]:
        """Return the finished blocks, read afresh from all journals.

        Raises:
            InputError: if another process has finished the job and removed this folder.
        """
        blocks: set[int] = set()
        try:
            for journal in _journals(self.folder):
                blocks.update(_believable(journal.read_bytes()))
        except FileNotFoundError:
            raise _gone(self.folder) from None
        return {block for block in blocks if block < self.n_blocks}

    def missing(self) -> list[int]:
        """Return the other blocks in ascending order."""
        done = self.done()
        return [block for block in range(self.n_blocks) if block not in done]

    def mark(self, block: int) -> None:
        """Note a block as finished; it is on the disk when this returns. Any process or thread may.

        Raises:
            OSError: if it cannot be written; the block then counts as missing.
        """
        if not 0 <= block < self.n_blocks:
            raise ValueError(f"blocks run from 0 to {self.n_blocks - 1}, met {block}")
        with self._writing:
            try:
                self._append(_record(block))
            except OSError:
                # Nothing may follow on a line that is possibly torn.
                self._new_journal()
                raise

    @contextmanager
    def claim(self, shard: Shard) -> Iterator[None]:
        """Work on a share alone while the context lasts; processes that died do not count.

        Raises:
            InputError: if a living process works on the same share, or under another number of shares, or
                has finished the job.
        """
        own = self.folder / _lock_name(shard)
        with ExitStack() as stack:
            if not self.folder.exists():
                raise _gone(self.folder)
            # The gate keeps two processes from taking each other's look for the holding of a lock.
            with exclusive(self.folder / GATE):
                if not stack.enter_context(lease(own)):
                    raise _taken(own, f"nobody at work on shard {shard}")
                for other in self.folder.glob("shard-*-of-*.lock"):
                    if not other.name.endswith(f"-of-{shard.count}.lock") and held(other):
                        raise _taken(other, f"nobody at work under another --shard count than {shard.count}")
            yield

    @contextmanager
    def finishing(self) -> Iterator[bool]:
        """Yield True to one process at a time, once nothing is missing, and False to all others.

        Whoever has marked the last block sees the job complete, so at least one process gets here.
        """
        with ExitStack() as stack:
            mine = False
            try:
                if not self.missing():
                    mine = (
                        stack.enter_context(lease(self.folder / FINISHING)) and (self.folder / JOB).exists()
                    )
            except (InputError, FileNotFoundError):
                pass  # somebody else has finished and tidied up
            yield mine

    def remove(self) -> None:
        """Remove a finished job. It is gone at once: what a kill leaves has another name, swept up later."""
        self.folder.rename(self.folder.with_name(f".{self.folder.name}.{uuid.uuid4().hex[:8]}.finished"))
        sync_files([], self.folder.parent)
        sweep(self.folder)

    def _new_journal(self) -> None:
        self._token = uuid.uuid4().hex[:8]

    def _append(self, record: bytes) -> None:
        # The process number is asked for each time: a forked child must not write into its parent's journal.
        journal = self.folder / f"done-{socket.gethostname()}-{os.getpid()}-{self._token}.txt"
        new = not journal.exists()
        with journal.open("ab", buffering=0) as stream:
            if stream.write(record) != len(record):
                raise OSError(f"{journal}: a line was written in part")
            os.fsync(stream.fileno())
        if new:
            sync_files([], self.folder)


def sweep(folder: Path) -> None:
    """Remove the remains of finished jobs.

    Args:
        folder: where their progress was kept.
    """
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.finished"):
        shutil.rmtree(left, ignore_errors=True)


def _read_job(path: Path) -> tuple[dict[str, Any], int]:
    try:
        described = json.loads(path.read_text("utf-8"))
        version, n_blocks, job = described["format"], described["n_blocks"], described["job"]
        if version != FORMAT or not isinstance(n_blocks, int) or not isinstance(job, dict):
            raise ValueError(f"format {version}, {n_blocks} blocks")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            path, expected="the description of a job", met="no such file", remedy="start the job anew"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            path,
            expected=f"the description of a job, format {FORMAT}",
            met=f"a damaged or foreign one ({error})",
            remedy="remove its folder together with the output and start anew",
        ) from error
    return job, n_blocks


def _refuse_remains(folder: Path) -> None:
    if any(_journals(folder)):
        raise InputError(
            folder / JOB,
            expected="the job whose finished blocks are noted beside it",
            met="no such file",
            remedy="remove the folder together with the output and start anew",
        )


def _refuse_difference(folder: Path, recorded: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    differences = list(_differences(recorded, new))
    if differences:
        shown = differences[:MAX_DIFFERENCES]
        more = len(differences) - len(shown)
        raise InputError(
            folder,
            expected="the job that was begun",
            met=", ".join(shown) + (f" and {more} more" if more else ""),
            remedy="resume with the recorded values, or remove it together with its output",
        )


def _differences(recorded: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in sorted({*recorded, *new}):
        old, now = recorded.get(key), new.get(key)
        if isinstance(old, dict) and isinstance(now, dict):
            yield from _differences(old, now, f"{prefix}{key}.")
        elif json.dumps(old) != json.dumps(now) or (key in recorded) != (key in new):
            yield f"{prefix}{key} {_short(new, key)} instead of {_short(recorded, key)}"


def _short(values: Mapping[str, Any], key: str) -> str:
    text = json.dumps(values[key]) if key in values else "nothing"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _record(block: int) -> bytes:
    number = b"%d" % block
    return b"%s %08x\n" % (number, zlib.crc32(number))


def _believable(journal: bytes) -> Iterator[int]:
    for line in journal.split(b"\n"):
        number, _, check = line.partition(b" ")
        if number.isdigit() and check == b"%08x" % zlib.crc32(number):
            yield int(number)


def _journals(folder: Path) -> list[Path]:
    # Path.glob would take a removed folder for an empty one.
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.name.startswith("done-")]


def _lock_name(shard: Shard) -> str:
    return f"shard-{shard.index + 1}-of-{shard.count}.lock"


def _taken(lock: Path, expected: str) -> InputError:
    return InputError(
        lock.parent,
        expected=expected,
        met=f"{holder(lock)} on {lock.stem.replace('-', ' ')}",
        remedy="wait until it has ended, or end it",
    )


def _gone(folder: Path) -> InputError:
    return InputError(
        folder,
        expected="the job that was begun",
        met="none any more: another process has finished it or removed it",
        remedy="look at the output",
    )
