"""Everything in a bundle's configs that MONAI would instantiate, evaluate, read or fetch."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scsam_monai.audit.code import expression_doubts
from scsam_monai.audit.finding import Finding
from scsam_monai.audit.names import doubts

OTHER_FILE = re.compile(r"^%(?P<path>[^:#]*\.(?:json|ya?ml))(?:::|#|$)")
"""A macro that takes part of another config file in."""
MODES = ("default", "callable")


def audit_config(path: Path, file: str) -> Iterator[Finding]:
    """Go through a JSON or YAML file as data.

    Args:
        path: of the file.
        file: how to call it.

    Yields:
        every ``_target_``, ``$`` expression, macro into another file and address, wherever they stand.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        why = (f"cannot be read as data ({type(error).__name__})",)
        yield Finding(file, "", "file", path.name, why)
        return
    yield from _walk(content, file, ())


def _walk(value: Any, file: str, key: tuple[str, ...]) -> Iterator[Finding]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _special(str(name), part, file, (*key, str(name)))
            yield from _walk(part, file, (*key, str(name)))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _walk(part, file, (*key, str(place)))
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


def _text(value: str, file: str, key: str) -> Iterator[Finding]:
    if value.startswith("$"):
        kind = "import" if value[1:].lstrip().startswith(("import ", "from ")) else "expression"
        yield Finding(file, key, kind, value, expression_doubts(value[1:]))
    elif match := OTHER_FILE.match(value):
        path = Path(match["path"])
        outside = path.is_absolute() or ".." in path.parts
        yield Finding(file, key, "macro", value, ("reads a file outside the bundle",) if outside else ())
    elif value.startswith(("http:", "https:", "ftp:", "file:")) and key.split("::")[-1] == "url":
        yield Finding(file, key, "address", value, () if value.startswith("https:") else ("not over https",))


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
            if name in ("class", "args", "kwargs"):
                why = tuple(doubt for doubt in expression_doubts(value) if doubt != "reaches sys")
                yield Finding(file, f"{section}::{name}", "expression", value, why)
