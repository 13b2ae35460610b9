"""Where an export goes."""

from __future__ import annotations

from pathlib import Path

from scsam_monai.errors import InputError


def check_target(path: str | Path, suffix: str) -> Path:
    """Return where to write.

    Args:
        path: of the file to be.
        suffix: that it must have.

    Raises:
        InputError: for another suffix, or if something is there already.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        met = path.suffix or "no suffix"
        raise InputError(
            path, expected=f"the suffix {suffix}", met=met, remedy=f"name it {path.stem}{suffix}"
        )
    if path.exists():
        raise InputError(
            path, expected="a new file", met="one that exists", remedy="remove it or choose another name"
        )
    return path
