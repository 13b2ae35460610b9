"""Compare what Python code in a bundle names with the lists, from its syntax tree alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from scsam_monai.bundle_tools.audit.names import (
    BUILTINS,
    BY_NAME,
    GLOBALS,
    READERS,
    Finding,
    dotted_doubts,
    is_module,
    listed,
    part_doubts,
)

REFERENCE = re.compile(r"@(?:\w*)(?:::\w*)*")
"""MONAI's references to other parts of a config, which are no Python; its own pattern."""
UNPICKLING = {"allow_pickle": False, "weights_only": True}
"""Options of loaders, and the value with which nothing is unpickled."""
LONGEST = 20_000
"""Characters of an expression that are looked at."""
LARGEST_SCRIPT = 2**20
"""Bytes of a script that are looked at."""
_REFERENCE = "reference_of_monai"
_NODES = (
    *(ast.Module, ast.Expr, ast.Call, ast.keyword, ast.Name, ast.Attribute, ast.Constant, ast.Starred),
    *(ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Subscript, ast.Slice, ast.IfExp, ast.BoolOp, ast.UnaryOp),
    *(
        ast.BinOp,
        ast.Compare,
        ast.Lambda,
        ast.arguments,
        ast.arg,
        ast.comprehension,
        ast.ListComp,
        ast.SetComp,
    ),
    *(ast.DictComp, ast.GeneratorExp, ast.JoinedStr, ast.FormattedValue, ast.expr_context, ast.boolop),
    *(ast.unaryop, ast.operator, ast.cmpop),
)
"""What expressions are made of."""

Imported = Mapping[str, frozenset[str]]
"""The dotted names that each name stands for which a bundle's expressions import."""


def parse_expression(source: str) -> ast.Module | None:
    """Return the syntax tree of a ``$`` expression without its dollar; None if it is none that can be read.

    As MONAI does, ``#`` is read as ``::`` wherever it stands: it begins no comment.
    """
    source = source.replace("#", "::")
    if len(source) > LONGEST:
        return None
    try:
        return ast.parse(REFERENCE.sub(_REFERENCE, source).strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def imported_names(source: str) -> Iterator[tuple[str, str]]:
    """Yield the names that an expression imports, each with what it stands for."""
    tree = parse_expression(source)
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"


def expression_doubts(source: str, imported: Imported | None = None) -> tuple[str, ...]:
    """Return the doubts about a ``$`` expression, given without its dollar.

    Args:
        source: the expression.
        imported: what names stand for that the bundle's expressions import.

    Example:
        >>> expression_doubts("len(@train::dataset)"), expression_doubts("__import__('os').remove('a')")
        ((), ('not known: .remove', 'not known: __import__'))
    """
    tree = parse_expression(source)
    if tree is None:
        return ("not Python that can be read",)
    if len(tree.body) != 1:
        return ("several statements",)
    (statement,) = tree.body
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return tuple(import_doubts(statement))
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    names = {name: frozenset({full}) for name, full in GLOBALS.items()}
    for name, fulls in (imported or {}).items():
        names[name] = names.get(name, frozenset()) | fulls
    parts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    doubts = (d for node in ast.walk(tree) for d in _node_doubts(node, names, bound, id(node) in parts))
    return tuple(dict.fromkeys(doubts))


def _node_doubts(node: ast.AST, names: Imported, bound: set[str], is_part: bool) -> Iterator[str]:
    if not isinstance(node, _NODES):
        yield f"not known: {type(node).__name__.lower()}"
    elif isinstance(node, ast.Call):
        for option in node.keywords:
            yield from _keyword_doubts(option)
    elif isinstance(node, ast.Attribute) and not is_part:
        root, parts = _chain(node)
        if isinstance(root, ast.Name):
            yield from _name_doubts(root.id, parts, names, bound)
        else:
            yield from part_doubts(parts)
    elif isinstance(node, ast.Name) and not is_part and isinstance(node.ctx, ast.Load):
        yield from _name_doubts(node.id, [], names, bound)


def _chain(node: ast.expr) -> tuple[ast.expr, list[str]]:
    """Return what a dotted expression begins with, and its parts."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return node, parts[::-1]


def _name_doubts(name: str, parts: list[str], names: Imported, bound: set[str]) -> Iterator[str]:
    if name in names:  # also where a loop binds it anew: the import may be what counts
        for full in sorted(names[name]):
            yield from dotted_doubts([*full.split("."), *parts])
    elif name == _REFERENCE or name in bound or name in BUILTINS:
        yield from part_doubts(parts)
    else:
        yield f"not known: {name}"


def _keyword_doubts(option: ast.keyword) -> Iterator[str]:
    if option.arg is not None:
        yield from option_doubts(option.arg, getattr(option.value, "value", option.value))
        return
    keys = option.value.keys if isinstance(option.value, ast.Dict) else [None]
    values = option.value.values if isinstance(option.value, ast.Dict) else [None]
    for key, value in zip(keys, values, strict=True):
        if isinstance(key, ast.Constant):
            yield from option_doubts(str(key.value), getattr(value, "value", value))
        else:
            yield "options whose names are put together"


def option_doubts(name: str, value: object) -> tuple[str, ...]:
    """Return the doubts about an option of a function or a component, given by its name."""
    if name in UNPICKLING and value is not UNPICKLING[name]:
        shown = value if isinstance(value, bool | int | str | None) else "something"
        return (f"sets {name} to {shown}",)
    if name in BY_NAME and not _is_reader(value):
        return (f"has {name} imported by a name that is not known",)
    return ()


def _is_reader(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_reader, value))
    if isinstance(value, dict):  # a component, whose own target is looked at
        return "_target_" in value
    return value is None or (isinstance(value, str) and value in READERS)


def import_doubts(node: ast.Import | ast.ImportFrom, own: frozenset[str] = frozenset()) -> Iterator[str]:
    """Return the doubts about an import.

    Args:
        node: the statement.
        own: names of the bundle's own modules, whose import is no news.
    """
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.partition(".")[0] not in own and not is_module(alias.name):
                yield f"not known: {alias.name}"
        return
    module = node.module or ""
    if node.level or module.partition(".")[0] in own:
        if not own:
            yield "not known: an import without its package"
        return
    for alias in node.names:
        full = f"{module}.{alias.name}"
        if not (full in listed() or is_module(full)):
            yield f"not known: {full}"


def audit_python(path: Path, file: str, own: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Say whether a Python file does more than to import, and what it imports.

    Args:
        path: of the file.
        file: how to call it.
        own: names of the bundle's own modules, whose import is no news.

    Yields:
        the file, if it is a program: nothing but reading tells what it does; and every import.
    """
    if (size := path.stat().st_size) > LARGEST_SCRIPT:
        yield Finding(file, "", "file", path.name, (f"a program of {size / 2**20:.0f} MiB",))
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        yield Finding(file, "", "file", path.name, (f"not Python that can be read ({type(error).__name__})",))
        return
    if any(not _is_plain(node) for node in tree.body):
        yield Finding(file, "", "code", path.name, ("a program, to be read",))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            why = tuple(dict.fromkeys(import_doubts(node, own | {""})))
            yield Finding(file, f"line {node.lineno}", "import", ast.unparse(node), why)


def _is_plain(node: ast.stmt) -> bool:
    """Whether a statement imports, or is a text."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Import | ast.ImportFrom)
