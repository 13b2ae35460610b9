"""Audit every file of a bundle by its kind, and everything in its configs that MONAI would execute.

That is what it would instantiate, evaluate, read or fetch.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from scsam_monai.bundle_tools.audit.code import audit_python, expression_doubts, option_doubts
from scsam_monai.bundle_tools.audit.names import HARMLESS, REACHING, TRUSTED, Finding, doubts
from scsam_monai.bundle_tools.audit.pickles import audit_npy, audit_weights, looks_pickled
from scsam_monai.errors import InputError

OTHER_FILE = re.compile(r"%(?P<path>.*\.(?:json|ya?ml))(?:::|#|\s*$)", re.IGNORECASE | re.DOTALL)
"""A macro that takes part of another config file in."""
ADDRESS = re.compile(r"\b(?P<scheme>https?|s?ftp|file|s3|gs|hf):/", re.IGNORECASE)
MODES = ("default", "callable")
DEEPEST = 100
"""Levels of a config that are looked into; MONAI's own recursion ends not far beyond."""
STREAMS = re.compile(r"(?<![\w.])sys\.(?:stdout|stderr)(?!\s*[\w.(\[])")
PLAIN_HANDLERS = re.compile(r"(?:logging\.)?(?:StreamHandler|NullHandler|Formatter)")

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


def audit_config(path: Path, file: str) -> Iterator[Finding]:
    """List what MONAI would execute in a JSON or YAML file, which is read as data.

    Args:
        path: of the file.
        file: how to call it.

    Yields:
        every ``_target_``, ``$`` expression, macro into another file and text with an address, wherever they stand;
        once, where YAML repeats a part by an alias.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        why = (f"cannot be read as data ({type(error).__name__})",)
        yield Finding(file, "", "file", path.name, why)
        return
    yield from _walk(content, file, (), (), set())


def _walk(
    value: Any, file: str, key: tuple[str, ...], above: tuple[int, ...], seen: set[int]
) -> Iterator[Finding]:
    if isinstance(value, dict | list | tuple | set):
        if id(value) in above or len(above) > DEEPEST:
            why = "contains itself" if id(value) in above else f"deeper than {DEEPEST} levels"
            yield Finding(file, "::".join(key), "file", "", (why,))
        if id(value) in seen or len(above) > DEEPEST:
            return
        seen.add(id(value))
        above = (*above, id(value))
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _special(str(name), part, file, (*key, str(name)))
            yield from _walk(part, file, (*key, str(name)), above, seen)
    elif isinstance(value, list | tuple | set):
        for place, part in enumerate(value):
            yield from _walk(part, file, (*key, str(place)), above, seen)
    elif isinstance(value, str):
        yield from _text(value, file, "::".join(key))


def _special(name: str, value: Any, file: str, key: tuple[str, ...]) -> Iterator[Finding]:
    """Keys that MONAI gives a meaning."""
    where = "::".join(key)
    # A later config may name the key of an earlier one, as in "network::_target_".
    last = re.split(r"::|#", name)[-1].lstrip("+")
    if last == "_target_":
        if not isinstance(value, str):
            yield Finding(file, where, "target", str(value), ("is no name",))
        elif not value.startswith("$"):
            yield Finding(file, where, "target", value, doubts(value))
    elif last == "_mode_" and value not in MODES:
        yield Finding(file, where, "mode", str(value), ("starts a debugger",))
    elif why := option_doubts(last, value):
        yield Finding(file, where, "option", str(value), why)


def _text(value: str, file: str, key: str) -> Iterator[Finding]:
    if value.startswith("$"):
        kind = "import" if value[1:].lstrip().startswith(("import ", "from ")) else "expression"
        yield Finding(file, key, kind, value, expression_doubts(value[1:]))
    elif match := OTHER_FILE.match(value):
        here, elsewhere = PurePosixPath(match["path"]), PureWindowsPath(match["path"])
        outside = here.is_absolute() or elsewhere.anchor or ".." in {*here.parts, *elsewhere.parts}
        yield Finding(file, key, "macro", value, ("reads a file outside the bundle",) if outside else ())
    if schemes := {found["scheme"].lower() for found in ADDRESS.finditer(value)}:
        yield Finding(file, key, "address", value, () if schemes == {"https"} else ("not over https",))


def audit_logging(path: Path, file: str) -> Iterator[Finding]:
    """List what a logging configuration would execute: Python evaluates its classes and arguments.

    Args:
        path: of the file.
        file: how to call it.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (configparser.Error, ValueError) as error:
        yield Finding(file, "", "file", path.name, (f"cannot be read as data ({type(error).__name__})",))
        return
    for section in parser.sections():
        for name, value in parser.items(section):
            if name in ("class", "args", "kwargs", "defaults"):
                why = list(expression_doubts(STREAMS.sub("None", value)))
                if "%(" in value:
                    why.append("is put together from other entries")
                if name == "class" and not PLAIN_HANDLERS.fullmatch(value.strip()):
                    why.append("a class beyond streams and plain formatters")
                yield Finding(file, f"{section}::{name}", "expression", value, tuple(why))


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
