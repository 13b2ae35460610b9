"""Share the sections of annotated items among processes, so that each is scored exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scsam_monai.io import read_header

COUNTED_ELSEWHERE = "counted_elsewhere"
"""Marks an item that is run for company and not scored."""


def shard_items(items: Sequence[Mapping[str, Any]], rank: int, world_size: int) -> list[dict[str, Any]]:
    """Return the share of one process: items cut to a contiguous run of sections.

    Evaluators cannot run over nothing, and all processes must meet where scores are added up. Those for which no
    section is left get a copy of the first, marked so that
    :class:`~scsam_monai.metrics.handlers.VolumeIoUHandler` does not count it.

    Args:
        items: ``{image, label, region, ...}`` of a data set section.
        rank: of the process.
        world_size: number of processes.
    """
    if not items:
        return []
    sections = [(index, z) for index, item in enumerate(items) for z in range(*_z_range(item))]
    if rank >= len(sections):
        index, z = sections[0]
        return [_cut(items[index], z, z + 1) | {COUNTED_ELSEWHERE: True}]
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
