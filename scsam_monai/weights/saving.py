"""Write weights and checkpoints whole or not at all; a full disk is told in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from scsam_monai.filesystem.atomic import atomic_path, write_errors

FULL = (
    "free some space and start again with --resume (of the bundle --resume True), which goes on from the last "
    "whole checkpoint"
)


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends well; what stood there stays until then.

    Raises:
        InputError: if the disk is full or the folder cannot be written to.
    """
    with write_errors(path, FULL), atomic_path(path) as temporary:
        yield temporary


def write_torch(path: Path, content: Any) -> None:
    """Write a PyTorch file.

    Args:
        path: of the file, as :func:`whole` yields it.
        content: tensors, numbers, strings, lists and dicts.

    Raises:
        OSError: if the system refuses to; PyTorch alone would raise a RuntimeError that does not say why.
    """
    with path.open("wb", buffering=0) as stream:
        noting = _Noting(stream)
        try:
            torch.save(content, noting)  # type: ignore[arg-type]
        except RuntimeError:
            if noting.error is not None:
                raise noting.error from None
            raise


class _Noting:
    """Passes on what is written and keeps the error that stops it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        view, done = memoryview(content).cast("B"), 0
        try:
            while done < len(view):
                done += self.stream.write(view[done:])
        except OSError as error:
            self.error = self.error or error
            raise
        return done

    def flush(self) -> None:
        self.stream.flush()


def write_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a safetensors file.

    Args:
        path: of the file, as :func:`whole` yields it.
        state: contiguous tensors by name.

    Raises:
        OSError: if the system refuses to.
    """
    try:
        save_file(dict(state), path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from None
