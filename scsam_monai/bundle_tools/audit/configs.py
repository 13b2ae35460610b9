"""Read a stranger's JSON and YAML as data; a small file that would unfold into billions of entries is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

LARGEST = {".json": 16 * 2**20, ".yaml": 2**20, ".yml": 2**20}
"""Bytes that are looked at; reading YAML takes a hundred times as long."""
MOST_ENTRIES = 100_000
"""Entries that the merge keys of a YAML file may come to."""
MERGE = "tag:yaml.org,2002:merge"


def read_config(path: Path) -> Any:
    """Return what a JSON or YAML file says.

    Raises:
        ValueError: if it cannot be read as data, or is too large to be looked at.
    """
    suffix = path.suffix.lower()
    if path.stat().st_size > LARGEST[suffix]:
        raise ValueError(f"larger than {LARGEST[suffix] // 2**20} MiB, and not looked into")
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if suffix == ".json" else _read_yaml(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"cannot be read as data ({type(error).__name__})") from error


def _read_yaml(text: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _all_entries(node) > MOST_ENTRIES:
            raise ValueError("too many entries")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _all_entries(root: yaml.Node) -> int:
    """Entries of all mappings once merge keys are followed; an alias that merges nothing copies nothing."""
    known: dict[int, int] = {}
    seen: set[int] = set()
    left, total = [root], 0
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            total += _entries(node, known)
            left += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value
    return total


def _entries(node: yaml.MappingNode, known: dict[int, int]) -> int:
    if id(node) not in known:
        known[id(node)] = 0  # while it is counted: it may contain itself
        total = 0
        for key, value in node.value:
            merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
            parts = [part for part in merged if isinstance(part, yaml.MappingNode)]
            total += sum(_entries(part, known) for part in parts) if key.tag == MERGE else 1
        known[id(node)] = total
    return known[id(node)]
