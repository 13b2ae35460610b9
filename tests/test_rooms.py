"""The package's layout: imports run downward only, in no circle, and no file outgrows an evening's reading."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "scsam_monai"
ROOT = Path(__file__).resolve().parents[1] / PACKAGE
LONGEST = 400
ROOMS = (
    *(
        "errors",
        "lazy",
        "progress",
        "threads",
        "filesystem",
        "command_line",
        "_torchvision",
        "_version",
        "moved",
    ),
    *(
        "networks",
        "weights",
        "baselines",
        "io",
        "data",
        "inference",
        "metrics",
        "measure",
        "report",
        "training",
    ),
    *("export", "bundle_tools", "monai_label", "napari", "cli"),
)
"""From the ground up. A room may import from those before it."""
MODULES = {
    ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def imports(module: str, *, at_start: bool = False) -> Iterator[str]:
    """The package's own modules that a module imports; ``at_start`` leaves out what functions import."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    nodes = _outside_functions(tree) if at_start else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PACKAGE))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else str(node.module) for name in names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{module}: write imports out, line {node.lineno}")


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _outside_functions(child)


def room_of(module: str) -> str:
    """The first part of a module's name inside the package; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def test_every_room_is_on_the_list() -> None:
    assert {room_of(module) for module in MODULES} - {""} <= set(ROOMS)


@pytest.mark.parametrize("module", [module for module in MODULES if module != PACKAGE])
def test_imports_run_downward(module: str) -> None:
    own = ROOMS.index(room_of(module))
    for met in imports(module):
        assert met in MODULES, f"{module} imports {met}, which does not exist"
        assert met != PACKAGE, f"{module} imports the package itself, which stands above all rooms"
        assert ROOMS.index(room_of(met)) <= own, f"{module} imports {met}, from a room above its own"


def test_no_imports_in_circles() -> None:
    graph = {module: set(imports(module, at_start=True)) - {module} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_too_long(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{lines} lines: one concept per file"
