"""Audit every file of a bundle by its kind, and everything in its configs that MONAI would execute.

That is what it would instantiate, evaluate, read or fetch.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from scsam_monai.bundle_tools.audit.code import (
    Imported,
    audit_python,
    expression_doubts,
    imported_names,
    option_doubts,
)
from scsam_monai.bundle_tools.audit.configs import read_config
from scsam_monai.bundle_tools.audit.content import audit_content
from scsam_monai.bundle_tools.audit.names import MODULES, Finding, target_doubts
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
LOGGING_PART = re.compile(rb"^\s*\[(?:handlers?|loggers?|formatters?)(?:_.*)?\]", re.MULTILINE)
LARGEST_TEXT = 2**20
"""Bytes in which a logging configuration is looked for."""
IMPORT = re.compile(r"\s*(?:import|from)\s")
TAKEN = frozenset({*sys.stdlib_module_names, *MODULES, "np"})
"""Modules that are not a bundle's own, whatever its files are called."""


def audit_config(content: Any, file: str, imported: Imported) -> Iterator[Finding]:
    """List what MONAI would execute of a config.

    Args:
        content: of the file, read as data.
        file: how to call it.
        imported: what names stand for that the bundle's expressions import.

    Yields:
        every ``_target_``, ``$`` expression, macro into another file and text with an address, wherever they stand;
        once, where YAML repeats a part by an alias.
    """
    yield from _walk(content, file, (), (), set(), imported)


def _walk(
    value: Any,
    file: str,
    key: tuple[str, ...],
    above: tuple[int, ...],
    seen: set[int],
    imported: Imported,
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
            yield from _walk(part, file, (*key, str(name)), above, seen, imported)
    elif isinstance(value, list | tuple | set):
        for place, part in enumerate(value):
            yield from _walk(part, file, (*key, str(place)), above, seen, imported)
    elif isinstance(value, str):
        yield from _text(value, file, "::".join(key), imported)


def _special(name: str, value: Any, file: str, key: tuple[str, ...]) -> Iterator[Finding]:
    """Keys that MONAI gives a meaning."""
    where = "::".join(key)
    # A later config may name the key of an earlier one, as in "network::_target_".
    last = re.split(r"::|#", name)[-1].lstrip("+")
    if last == "_target_":
        if not isinstance(value, str):
            yield Finding(file, where, "target", str(value), ("is no name",))
        elif not value.startswith("$"):
            yield Finding(file, where, "target", value, target_doubts(value))
    elif (last == "_mode_" and value not in MODES) or last == "_debug_":
        yield Finding(file, where, "mode", str(value), ("starts a debugger",))
    elif why := option_doubts(last, value):
        yield Finding(file, where, "option", str(value), why)


def _text(value: str, file: str, key: str, imported: Imported) -> Iterator[Finding]:
    if value.startswith("$"):
        kind = "import" if IMPORT.match(value[1:]) else "expression"
        yield Finding(file, key, kind, value, expression_doubts(value[1:], imported))
    elif match := OTHER_FILE.match(value):
        here, elsewhere = PurePosixPath(match["path"]), PureWindowsPath(match["path"])
        outside = here.is_absolute() or elsewhere.anchor or ".." in {*here.parts, *elsewhere.parts}
        yield Finding(file, key, "macro", value, ("reads a file outside the bundle",) if outside else ())
    if schemes := {found["scheme"].lower() for found in ADDRESS.finditer(value)}:
        yield Finding(file, key, "address", value, () if schemes == {"https"} else ("not over https",))


def is_logging(path: Path) -> bool:
    """Whether a file could be taken for a logging configuration, whatever it is called."""
    with path.open("rb") as stream:
        start = stream.read(LARGEST_TEXT)
    return LOGGING_PART.search(start) is not None and b"\0" not in start


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
                plain = name == "class" and PLAIN_HANDLERS.fullmatch(value.strip())
                why = [] if plain else list(expression_doubts(STREAMS.sub("None", value)))
                if "%(" in value:
                    why.append("is put together from other entries")
                if name == "class" and not plain:
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
    configs = {path: _read(path) for path in paths if path.suffix.lower() in CONFIGS and path.is_file()}
    audit = _Audit(root, own, configs)
    found = [finding for path in paths for finding in audit.findings(path)]
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


def _read(path: Path) -> Any:
    """Return what a config says, or the error that it gives."""
    try:
        return read_config(path)
    except (OSError, ValueError) as error:
        return error


def _imported(configs: Mapping[Path, Any]) -> Imported:
    """Return what names stand for that expressions import: MONAI hands them on from one config to another."""
    names: dict[str, set[str]] = {}
    seen: set[int] = set()
    left = list(configs.values())
    while left:
        value = left.pop()
        if isinstance(value, dict | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str) and value.startswith("$") and IMPORT.match(value[1:]):
            for name, full in imported_names(value[1:]):
                names.setdefault(name, set()).add(full)
    return {name: frozenset(fulls) for name, fulls in names.items()}


class _Audit:
    """Looks into the files of a bundle.

    Args:
        root: its folder.
        own: names of its own modules.
        configs: what its configs say, or the errors that they give.
    """

    def __init__(self, root: Path, own: frozenset[str], configs: Mapping[Path, Any]) -> None:
        self.root, self.own, self.configs, self.imported = root, own, configs, _imported(configs)

    def findings(self, path: Path) -> Iterator[Finding]:
        """List what a file would do, or why that cannot be told."""
        file = path.relative_to(self.root).as_posix()
        try:
            yield from self._file(path, file)
        except (OSError, RuntimeError, MemoryError) as error:
            why = (f"cannot be looked into ({type(error).__name__})",)
            yield Finding(file, "", "file", path.name, why)

    def _file(self, path: Path, file: str) -> Iterator[Finding]:
        suffix = path.suffix.lower()
        if path.is_symlink() and not path.resolve().is_relative_to(self.root.resolve()):
            yield Finding(file, "", "link", str(path.readlink()), ("leads out of the bundle",))
        elif not path.is_file():
            yield Finding(file, "", "file", path.name, () if path.is_symlink() else ("no ordinary file",))
        elif isinstance(error := self.configs.get(path), Exception):
            yield Finding(file, "", "file", path.name, (str(error),))
        elif path in self.configs:
            yield from audit_config(self.configs[path], file, self.imported)
        elif suffix == ".py":
            if hidden := TAKEN.intersection(_modules(path, self.root)):
                yield Finding(file, "", "file", path.name, (f"hides the module {min(hidden)}",))
            yield from audit_python(path, file, self.own)
        elif suffix in LOGGING or is_logging(path):
            yield from audit_logging(path, file)
        else:
            yield from audit_content(path, file)
