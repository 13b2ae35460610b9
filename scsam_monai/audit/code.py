"""What a piece of Python would call, from its syntax tree alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from scsam_monai.audit.names import ACTING, BUILTIN, REACHING, package_doubts

REFERENCE = re.compile(r"@[\w:#]+")
"""MONAI's references to other parts of a config, which are no Python."""


def expression_doubts(source: str) -> tuple[str, ...]:
    """What speaks against a ``$`` expression, given without its dollar.

    Example:
        >>> expression_doubts("len(@train::dataset)"), expression_doubts("__import__('os').remove('a')")
        ((), ('calls remove', 'calls __import__', 'names __import__'))
    """
    try:
        tree = ast.parse(REFERENCE.sub("_reference", source).strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ("not Python that can be read",)
    return tuple(dict.fromkeys(doubt for node in ast.walk(tree) for doubt in node_doubts(node)))


def node_doubts(node: ast.AST) -> Iterator[str]:
    """What speaks against a single node of a syntax tree."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for module in imported(node):
            yield from package_doubts(module)
    if isinstance(node, ast.ImportFrom):
        yield from (f"imports {alias.name}" for alias in node.names if alias.name in ACTING | REACHING)
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if name in ACTING and not _plain_getattr(node):
            yield f"calls {name}"
    elif isinstance(node, ast.Name):
        if node.id in REACHING:
            yield f"reaches {node.id}"
        elif node.id in BUILTIN:
            yield f"names {node.id}"
        elif node.id.startswith("__") and node.id != "__name__":
            yield f"uses {node.id}"
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str) and node.value.startswith("__"):
            yield f"names {node.value}"
    elif isinstance(node, ast.Attribute):
        if node.attr in REACHING:
            yield f"reaches {node.attr}"
        elif node.attr.startswith("__") and node.attr not in _USUAL_DUNDERS:
            yield f"uses {node.attr}"


_USUAL_DUNDERS = frozenset(
    {"__init__", "__name__", "__version__", "__doc__", "__call__", "__len__", "__getitem__"}
)


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that a statement imports; none for relative ones, which stay inside the bundle."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [] if node.level or node.module is None else [node.module]


def _plain_getattr(node: ast.Call) -> bool:
    """Whether a call is ``getattr`` with a name that is written out and ordinary."""
    if getattr(node.func, "id", None) != "getattr" or len(node.args) < 2:
        return False
    name = node.args[1]
    return isinstance(name, ast.Constant) and isinstance(name.value, str) and not name.value.startswith("_")
