"""Share the sections of annotated items among processes, so that each is scored exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io import read_header


def shard_items(items: Sequence[Mapping[str, Any]], rank: int, world_size: int) -> list[dict[str, Any]]:
    """Return the share of one process: items cut to a contiguous run of sections.

    Args:
        items: ``{image, label, region, ...}`` of a data set section.
        rank: of the process.
        world_size: number of processes.

    Raises:
        InputError: if there are fewer sections than processes; one without any would wait for ever.
    """
    if not items:
        return []
    sections = [(index, z) for index, item in enumerate(items) for z in range(*_z_range(item))]
    if len(sections) < world_size:
        raise InputError(
            "validation and test",
            expected=f"at least one section for each of {world_size} processes",
            met=f"{len(sections)}",
            remedy="add items or use fewer processes",
        )
    mine = [sections[k] for k in np.array_split(np.arange(len(sections)), world_size)[rank]]
    shares: dict[int, list[int]] = {}
    for index, z in mine:
        shares.setdefault(index, []).append(z)
    return [_cut(items[index], zs[0], zs[-1] + 1) for index, zs in shares.items()]


def _z_range(item: Mapping[str, Any]) -> tuple[int, int]:
    region = item.get("region")
    if region is not None:
        return int(region[0][0]), int(region[0][1])
    shape = read_header(item["image"]).shape
    return 0, shape[0] if len(shape) == 3 else 1


def _cut(item: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    if (start, stop) == _z_range(item):
        return dict(item)
    region = item.get("region")
    plane = (
        list(region)[1:]
        if region is not None
        else [[0, side] for side in read_header(item["image"]).shape[1:]]
    )
    return {**item, "region": [[start, stop], *plane]}
