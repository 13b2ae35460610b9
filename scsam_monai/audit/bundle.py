"""Every file of a bundle, each by its kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from scsam_monai.audit.configs import audit_config, audit_logging
from scsam_monai.audit.finding import Finding
from scsam_monai.audit.pickles import audit_weights
from scsam_monai.audit.python import audit_python
from scsam_monai.errors import InputError

CONFIGS = (".json", ".yaml", ".yml")
LOGGING = (".conf", ".ini", ".cfg")
WEIGHTS = (".pt", ".pth", ".ts", ".ckpt", ".pkl", ".pickle", ".bin", ".joblib", ".th", ".tar")
PLAIN = {
    *("", ".md", ".txt", ".rst", ".csv", ".pdf", ".bib", ".cff", ".gitignore", ".gitattributes"),
    *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".tif", ".tiff", ".nii", ".npy", ".safetensors", ".onnx"),
}
"""Files that nothing in a bundle runs or unpickles."""


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
    paths = sorted(Path(parent) / name for parent, _, names in os.walk(root) for name in names)
    paths += sorted(
        Path(parent) / name
        for parent, names, _ in os.walk(root)
        for name in names
        if (Path(parent) / name).is_symlink()
    )
    own = frozenset(
        path.relative_to(root).parts[0].removesuffix(".py") for path in paths if path.suffix == ".py"
    )
    return [finding for path in paths for finding in _audit_file(path, root, own)]


def _files_and_links(root: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(root):
        yield from (Path(parent) / name for name in files)
        yield from (Path(parent) / name for name in folders if (Path(parent) / name).is_symlink())


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
        yield from audit_python(path, file, own)
    elif suffix in WEIGHTS:
        yield from audit_weights(path, file)
    elif suffix not in PLAIN or os.access(path, os.X_OK):
        yield Finding(file, "", "file", path.name, ("of a kind that is not looked into",))
