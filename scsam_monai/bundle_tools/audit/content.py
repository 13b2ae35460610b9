"""Judge a file by what it holds, not by what it is called: every loader looks at the first bytes alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from scsam_monai.bundle_tools.audit.names import Finding
from scsam_monai.bundle_tools.audit.pickles import ARRAY_START, ZIP_START, audit_npy, audit_weights, is_pickle

WEIGHTS = (".pt", ".pth", ".ts", ".ckpt", ".pkl", ".pickle", ".bin", ".joblib", ".th", ".tar", ".npz")
TEXTS = (
    *("", ".md", ".txt", ".rst", ".csv", ".bib", ".cff", ".svg", ".gitignore", ".gitattributes"),
    *(".toml", ".lock"),
)
"""Files that are text, which nothing runs."""
STARTS = {
    ".png": (b"\x89PNG\r\n",),
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".gif": (b"GIF8",),
    ".pdf": (b"%PDF-",),
    ".tif": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    ".tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    ".nii": (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c"),
    ".onnx": (b"\x08",),
}
"""How files of data begin."""
HEADER_LENGTH = 8
"""Bytes of a safetensors file that say how long the JSON after them is."""
SEARCHED = 2**24
"""Bytes of a text that are looked at."""


def audit_content(path: Path, file: str) -> Iterator[Finding]:
    """List what opening a file with the loader of its content would do.

    Args:
        path: of the file.
        file: how to call it.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as stream:
        start = stream.read(HEADER_LENGTH + 1)
    if start.startswith(ARRAY_START):
        yield from audit_npy(path, file)
        if suffix != ".npy":
            yield Finding(file, "", "file", path.name, ("an array under another name",))
    elif start.startswith(ZIP_START) or suffix in WEIGHTS or is_pickle(path):
        yield from audit_weights(path, file)
        if suffix not in WEIGHTS:
            yield Finding(file, "", "file", path.name, ("weights or an archive under another name",))
    elif not _is_what_it_is_called(path, suffix, start):
        yield Finding(file, "", "file", path.name, ("of a kind that is not known",))
    if os.access(path, os.X_OK) or start.startswith(b"#!"):
        yield Finding(file, "", "file", path.name, ("a program",))


def _is_what_it_is_called(path: Path, suffix: str, start: bytes) -> bool:
    if suffix in STARTS:
        return start.startswith(STARTS[suffix])
    if suffix == ".safetensors":
        return start[HEADER_LENGTH:] == b"{" and int.from_bytes(start[:HEADER_LENGTH], "little") < 2**30
    return suffix in TEXTS and _is_text(path)


def _is_text(path: Path) -> bool:
    with path.open("rb") as stream:
        content = stream.read(SEARCHED + 1)
    try:
        return len(content) <= SEARCHED and "\0" not in content.decode("utf-8")
    except UnicodeDecodeError:
        return False
