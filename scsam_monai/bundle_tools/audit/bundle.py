"""Every file of a bundle, each by its kind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from scsam_monai.bundle_tools.audit.code import audit_python
from scsam_monai.bundle_tools.audit.configs import audit_config, audit_logging
from scsam_monai.bundle_tools.audit.names import HARMLESS, REACHING, TRUSTED, Finding
from scsam_monai.bundle_tools.audit.pickles import audit_npy, audit_weights, looks_pickled
from scsam_monai.errors import InputError

CONFIGS = (".json", ".yaml", ".yml")
LOGGING = (".conf", ".ini", ".cfg")
WEIGHTS = (".pt", ".pth", ".ts", ".ckpt", ".pkl", ".pickle", ".bin", ".joblib", ".th", ".tar")
PLAIN = {
    *("", ".md", ".txt", ".rst", ".csv", ".pdf", ".bib", ".cff", ".gitignore", ".gitattributes"),
    *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".tif", ".tiff", ".nii", ".npy", ".safetensors", ".onnx"),
}
"""Files that nothing in a bundle runs or unpickles, unless they begin as a pickle or an archive does."""
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x7fELF")
"""How compressed files and programs begin."""
TAKEN = frozenset({*sys.stdlib_module_names, *TRUSTED, *HARMLESS, *REACHING, "np"})
"""Modules that are not a bundle's own, whatever its files are called."""


def audit_bundle(folder: str | Path) -> list[Finding]:
    """List what a bundle would instantiate, evaluate, import, unpickle and fetch; nothing of it is run or imported.

    Args:
        folder: the bundle's.

    Returns:
        Findings in the order of files. That none is suspicious proves nothing: expressions and scripts can hide
        what they do. It says where to look.

    Raises:
        InputError: if there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(folder, expected="a bundle's folder", met="none", remedy="check the path")
    closed: list[OSError] = []
    paths = sorted(_files_and_links(root, closed))
    own = frozenset(name for path in paths for name in _modules(path, root)[:1]) - TAKEN
    found = [finding for path in paths for finding in _audit_or_say_why_not(path, root, own)]
    return found + [Finding(str(error.filename), "", "folder", "", ("cannot be read",)) for error in closed]


def _files_and_links(root: Path, closed: list[OSError]) -> Iterator[Path]:
    for parent, folders, files in os.walk(root, onerror=closed.append):
        yield from (Path(parent) / name for name in files)
        yield from (Path(parent) / name for name in folders if (Path(parent) / name).is_symlink())


def _modules(path: Path, root: Path) -> list[str]:
    """The names under which a Python file could be imported: from the bundle's folder, and from its own."""
    if path.suffix.lower() != ".py":
        return []
    return [path.relative_to(root).parts[0].removesuffix(".py"), path.stem]


def _audit_or_say_why_not(path: Path, root: Path, own: frozenset[str]) -> Iterator[Finding]:
    try:
        yield from _audit_file(path, root, own)
    except (OSError, RuntimeError, MemoryError) as error:
        why = (f"cannot be looked into ({type(error).__name__})",)
        yield Finding(path.relative_to(root).as_posix(), "", "file", path.name, why)


def _audit_file(path: Path, root: Path, own: frozenset[str]) -> Iterator[Finding]:
    file, suffix = path.relative_to(root).as_posix(), path.suffix.lower()
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        yield Finding(file, "", "link", str(path.readlink()), ("leads out of the bundle",))
    elif not path.is_file():
        yield Finding(file, "", "file", path.name, () if path.is_symlink() else ("no ordinary file",))
    elif suffix in CONFIGS:
        yield from audit_config(path, file)
    elif suffix in LOGGING:
        yield from audit_logging(path, file)
    elif suffix == ".py":
        if hidden := TAKEN.intersection(_modules(path, root)):
            yield Finding(file, "", "file", path.name, (f"hides the module {min(hidden)}",))
        yield from audit_python(path, file, own)
    else:
        yield from _audit_data(path, file, suffix)


def _audit_data(path: Path, file: str, suffix: str) -> Iterator[Finding]:
    with path.open("rb") as stream:
        start = stream.read(8)
    if suffix in WEIGHTS or looks_pickled(start):
        yield from audit_weights(path, file)
    elif suffix == ".npy":
        yield from audit_npy(path, file)
    elif start.startswith(PACKED):
        yield Finding(file, "", "file", path.name, ("compressed, or a program",))
    if suffix not in {*PLAIN, *WEIGHTS, ".npz"} or os.access(path, os.X_OK):
        yield Finding(file, "", "file", path.name, ("of a kind that is not looked into",))
