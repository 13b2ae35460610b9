"""Ways to get a job's blocks done: here, in shares, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scsam_monai.errors import check_choice
from scsam_monai.inference.runners.dask import run_dask
from scsam_monai.inference.runners.local import Cancel, OpenWork, Shard, Work, run_serial

__all__ = ["RUNNERS", "Cancel", "OpenWork", "Shard", "Work", "get_runner", "run_dask", "run_serial"]

RUNNERS: dict[str, Callable[..., Any]] = {"serial": run_serial, "dask": run_dask}


def get_runner(name: str) -> Callable[..., Any]:
    """Return a runner by its name; all take ``(open_work, folder, blocks, finished, cancel)``.

    Raises:
        InputError: naming the valid ones.
    """
    check_choice("--runner", name, RUNNERS)
    return RUNNERS[name]
