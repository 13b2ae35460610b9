"""What the Python files of a bundle import and call, from their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from scsam_monai.audit.code import imported, node_doubts, note_parts
from scsam_monai.audit.finding import Finding


def audit_python(path: Path, file: str, own: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Go through a Python file.

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
