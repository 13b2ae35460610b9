"""Tables as CSV and Parquet files, whole or not at all."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scsam_monai.errors import optional_library
from scsam_monai.filesystem.atomic import atomic_path

Row = Mapping[str, Any]


def write_csv(path: str | Path, rows: Sequence[Row], columns: Sequence[str] | None = None) -> Path:
    """Write rows under a header; figures that do not exist (NaN, None) are empty.

    Args:
        path: where to.
        rows: of the same keys.
        columns: their order, needed where there are no rows.
    """
    names = list(columns if columns is not None else (rows[0] if rows else ()))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=names)
        writer.writeheader()
        writer.writerows({name: _cell(row[name]) for name in names} for row in rows)
    return Path(path)


def check_parquet(path: str | Path) -> None:
    """Refuse Parquet where the library for it is missing, before anything is computed.

    Raises:
        InputError: it is not installed.
    """
    optional_library("pyarrow.parquet", path, "writes Parquet", "parquet")


def write_parquet(path: str | Path, rows: Sequence[Row], columns: Sequence[str] | None = None) -> Path:
    """The same as Parquet; figures that do not exist are null.

    Raises:
        InputError: pyarrow is not installed.
    """
    parquet = optional_library("pyarrow.parquet", path, "writes Parquet", "parquet")
    arrow = optional_library("pyarrow", path, "writes Parquet", "parquet")
    names = list(columns if columns is not None else (rows[0] if rows else ()))
    table = arrow.table({name: [or_none(row[name]) for row in rows] for name in names})
    with atomic_path(path) as temporary:
        parquet.write_table(table, temporary)
    return Path(path)


def or_none(value: Any) -> Any:
    """None in place of a number that does not exist."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> Any:
    value = or_none(value)
    if isinstance(value, bool):
        return int(value)
    return f"{value:.10g}" if isinstance(value, float) else value
