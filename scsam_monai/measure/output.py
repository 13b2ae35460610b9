"""Measurements as a folder of tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsam_monai._version import __version__
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_folder, write_errors, write_json
from scsam_monai.measure.measuring import Measurements
from scsam_monai.measure.table_files import check_parquet, write_csv, write_parquet

TABLES = ("objects", "classes", "contacts")


def check_folder(folder: str | Path, *, parquet: bool = False) -> None:
    """Refuse an output that exists, and Parquet without its library, before anything is computed.

    Raises:
        InputError: either.
    """
    if Path(folder).exists():
        raise InputError(
            folder, expected="no output yet", met="one that is there", remedy="remove it or name another"
        )
    if parquet:
        check_parquet(folder)


def write_measurements(
    folder: str | Path,
    measured: Measurements,
    *,
    parquet: bool = False,
    stated: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``objects.csv``, ``classes.csv``, ``contacts.csv`` and ``measure.json``; all of them or none.

    Args:
        folder: to make.
        measured: by :func:`~scsam_monai.measure.measure_labels`.
        parquet: write each table as Parquet, too.
        stated: JSON on how it was measured, for ``measure.json``.

    Raises:
        InputError: the folder exists or cannot be written, or pyarrow is not installed.
    """
    check_folder(folder, parquet=parquet)
    with write_errors(folder), atomic_folder(folder) as temporary:
        for name in TABLES:
            rows, columns = getattr(measured, name), measured.columns.get(name)
            write_csv(temporary / f"{name}.csv", rows, columns)
            if parquet:
                write_parquet(temporary / f"{name}.parquet", rows, columns)
        write_json(
            temporary / "measure.json",
            {
                "scsam": __version__,
                "voxel_size_nm": list(measured.voxel_size_nm),
                "dimensions": measured.ndim,
                **(stated or {}),
            },
        )
    return Path(folder)
