"""List what Python code in a bundle would import and call, from its syntax tree alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from scsam_monai.bundle_tools.audit.names import (
    ACTING,
    ALIASES,
    BUILTIN,
    HARMLESS,
    REACHING,
    TRUSTED,
    Finding,
    is_accepted,
    package_doubts,
    unlisted,
)

REFERENCE = re.compile(r"@[\w:#]+")
"""MONAI's references to other parts of a config, which are no Python."""
UNPICKLING = {"allow_pickle": False, "weights_only": True}
"""Options of loaders, and the value with which nothing is unpickled."""


def expression_doubts(source: str) -> tuple[str, ...]:
    """Return the doubts about a ``$`` expression, given without its dollar.

    Example:
        >>> expression_doubts("len(@train::dataset)"), expression_doubts("__import__('os').remove('a')")
        ((), ('calls remove', 'calls __import__', 'names __import__'))
    """
    try:
        tree = ast.parse(REFERENCE.sub("_reference", source).strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ("not Python that can be read",)
    note_parts(tree)
    return tuple(dict.fromkeys(doubt for node in ast.walk(tree) for doubt in node_doubts(node)))


def note_parts(tree: ast.AST) -> None:
    """Mark at each node whether it is called, and whether it is a part of a longer dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            node.func.is_called = True  # type: ignore[attr-defined]
        elif isinstance(node, ast.Attribute):
            node.value.is_part = True  # type: ignore[attr-defined]


def node_doubts(node: ast.AST) -> Iterator[str]:
    """Return the doubts about a single node of a syntax tree that ``note_parts`` has marked."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for module in imported(node):
            yield from package_doubts(module)
        for alias in node.names:
            yield from _alias_doubts(node, alias)
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if name in ACTING and not _plain_getattr(node):
            yield f"calls {name}"
        for option in node.keywords:
            yield from option_doubts(option.arg or "", getattr(option.value, "value", None))
    elif isinstance(node, ast.Name):
        if node.id in REACHING:
            yield f"reaches {node.id}"
        elif node.id in BUILTIN or (node.id == "getattr" and not hasattr(node, "is_called")):
            yield f"names {node.id}"
        elif node.id.startswith("__") and node.id != "__name__":
            yield f"uses {node.id}"
        if not hasattr(node, "is_part"):
            yield from unlisted(node.id)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str) and (node.value.startswith("__") or node.value in UNPICKLING):
            yield f"names {node.value}"
    elif isinstance(node, ast.Attribute):
        if not hasattr(node, "is_part"):
            yield from _dotted_doubts(node)
        if node.attr in REACHING or node.attr in TRUSTED:
            yield f"reaches {node.attr}"
        elif node.attr.startswith("__") and node.attr not in _USUAL_DUNDERS:
            yield f"uses {node.attr}"


_USUAL_DUNDERS = frozenset(
    {"__init__", "__name__", "__version__", "__doc__", "__call__", "__len__", "__getitem__"}
)


def option_doubts(name: str, value: object) -> tuple[str, ...]:
    """Return the doubts about an option of a function, given by its name."""
    allows = name in UNPICKLING and value is not UNPICKLING[name]
    return (f"sets {name} to {value}",) if allows else ()


def _dotted_doubts(node: ast.Attribute) -> tuple[str, ...]:
    """What speaks against a whole dotted name that begins with a library's."""
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        root = root.value
    if not isinstance(root, ast.Name):
        return ()
    name = ast.unparse(node)
    if root.id in HARMLESS or root.id == "np":
        return tuple(f"uses {part}" for part in name.split(".") if part.startswith("_"))
    return unlisted(name)


def _alias_doubts(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Iterator[str]:
    """What speaks against a single name that an import brings in."""
    if isinstance(node, ast.Import):
        module, name = alias.name, alias.asname
    elif node.level or node.module is None:
        return
    else:
        module, name = f"{node.module}.{alias.name}", alias.asname or alias.name
        if alias.name in ACTING | REACHING or alias.name.startswith("_") or alias.name == "*":
            yield f"imports {alias.name}"
    top = module.split(".")[0]
    if (
        top in TRUSTED
        and name not in (None, top)
        and not is_accepted(module)
        and ALIASES.get(name or "") != module
    ):
        yield f"not on the list of {top}'s harmless names"


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the modules that a statement imports; none for relative imports, which stay in the bundle."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [] if node.level or node.module is None else [node.module]


def _plain_getattr(node: ast.Call) -> bool:
    """Whether a call is ``getattr`` with a name that is written out and ordinary."""
    if getattr(node.func, "id", None) != "getattr" or len(node.args) < 2:
        return False
    name = node.args[1]
    return (
        isinstance(name, ast.Constant)
        and isinstance(name.value, str)
        and name.value.isidentifier()
        and not (name.value.startswith("_") or name.value in {*ACTING, *REACHING, *TRUSTED})
    )


def audit_python(path: Path, file: str, own: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """List what a Python file would import and call.

    Args:
        path: of the file.
        file: how to call it.
        own: names of the bundle's own modules, whose import is no news.

    Yields:
        every import, and every call and name that wants a closer look.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        yield Finding(file, "", "file", path.name, (f"not Python that can be read ({type(error).__name__})",))
        return
    note_parts(tree)
    doubted: dict[str, tuple[str, tuple[str, ...]]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node, file, own)
        elif isinstance(node, ast.expr) and (why := tuple(node_doubts(node))):
            text, before = doubted.get(line := f"line {node.lineno}", (ast.unparse(node), ()))
            doubted[line] = text, tuple(dict.fromkeys((*before, *why)))  # the outermost comes first
    yield from (Finding(file, line, "code", text, why) for line, (text, why) in doubted.items())


def _imports(node: ast.Import | ast.ImportFrom, file: str, own: frozenset[str]) -> Iterator[Finding]:
    ours = all(module.split(".")[0] in own for module in imported(node))
    why = () if ours else tuple(dict.fromkeys(node_doubts(node)))
    yield Finding(file, f"line {node.lineno}", "import", ast.unparse(node), why)
