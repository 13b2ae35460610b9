"""What every reader does around its library: is the file there, which format is it, what if it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from scsam_monai.errors import InputError

_Result = TypeVar("_Result")


def suffix_among(path: str | Path, suffixes: Iterable[str]) -> str:
    """The longest of the known suffixes that ends the name of ``path``, as it is spelt there.

    Raises:
        InputError: none of them does.
    """
    suffixes, name = list(suffixes), Path(path).name
    known = [suffix for suffix in suffixes if name.lower().endswith(suffix)]
    if not known:
        raise InputError(
            path,
            expected=f"an image file ({', '.join(suffixes)})",
            met=f"suffix {Path(path).suffix or 'none'}",
            remedy="convert it to one of these formats",
        )
    return name[-len(max(known, key=len)) :]


def check_file(path: Path) -> None:
    """Refuse what is no file or holds nothing.

    Raises:
        InputError: it is missing, a folder or empty.
    """
    if not path.is_file():
        met = "a folder" if path.is_dir() else "no such file"
        raise InputError(path, expected="an image file", met=met, remedy="check the path")
    if path.stat().st_size == 0:
        raise InputError(path, expected="an image", met="an empty file", remedy="copy or export it again")


def readable(where: str | Path, read: Callable[[], _Result]) -> _Result:
    """Turn whatever a library raises on a broken file into one line.

    The libraries document no common error for broken files (struct.error, KeyError, zlib.error, EOFError
    and more were met), hence the wide net; programming errors stay visible as the cause.

    Args:
        where: the file, and the part of it, to name in the error.
        read: called once.

    Raises:
        InputError: ``read`` raised anything else than one of these or a MemoryError.
    """
    try:
        return read()
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            where,
            expected="a readable image",
            met=f"{type(error).__name__}: {error}".rstrip("."),
            remedy="open it in another program, or copy or export it again",
        ) from error
