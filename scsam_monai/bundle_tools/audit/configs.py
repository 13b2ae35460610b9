"""Everything in a bundle's configs that MONAI would instantiate, evaluate, read or fetch."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from scsam_monai.bundle_tools.audit.code import expression_doubts, option_doubts
from scsam_monai.bundle_tools.audit.names import Finding, doubts

OTHER_FILE = re.compile(r"%(?P<path>.*\.(?:json|ya?ml))(?:::|#|\s*$)", re.IGNORECASE | re.DOTALL)
"""A macro that takes part of another config file in."""
ADDRESS = re.compile(r"\b(?P<scheme>https?|s?ftp|file|s3|gs|hf):/", re.IGNORECASE)
MODES = ("default", "callable")
DEEPEST = 100
"""Levels of a config that are looked into; MONAI's own recursion ends not far beyond."""
STREAMS = re.compile(r"(?<![\w.])sys\.(?:stdout|stderr)(?!\s*[\w.(\[])")
PLAIN_HANDLERS = re.compile(r"(?:logging\.)?(?:StreamHandler|NullHandler|Formatter)")


def audit_config(path: Path, file: str) -> Iterator[Finding]:
    """Go through a JSON or YAML file as data.

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
    """Go through a logging configuration, whose classes and arguments Python evaluates.

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
