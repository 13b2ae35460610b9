"""Options and output that several commands share: lists of numbers, ranges of sections, tables."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer

from scsam_monai.errors import InputError

Number = TypeVar("Number", int, float)

Axes = Annotated[
    str | None,
    typer.Option(metavar="ZYX", help="Axes as the file stores them, if it does not say: zyx, xyz, zyxc ..."),
]
ZRange = Annotated[
    str | None, typer.Option(metavar="START:STOP", help="Range of sections, the end excluded.")
]
Gap = Annotated[int, typer.Option(min=0, help="Sections to leave out between the z ranges.")]

PARTS = {"train_z": "training", "validation_z": "validation", "test_z": "test"}


def numbers(
    option: str, text: str | None, kind: Callable[[str], Number], expected: str
) -> list[Number] | None:
    """Read numbers divided by commas; None for an option that was not given.

    Args:
        option: named in the error.
        text: as typed.
        kind: ``int`` or ``float``.
        expected: what the error asks for.

    Raises:
        InputError: if a part is no number.
    """
    if text is None:
        return None
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise InputError(option, expected=expected, met=repr(text), remedy="correct it") from None


def voxel_size(text: str | None) -> list[float] | None:
    """Read ``--voxel-size-nm``; None where it was not given.

    Raises:
        InputError: if a part is no number.
    """
    return numbers("--voxel-size-nm", text, float, "numbers (z, y, x) like 50,4.6,4.6")


def parse_classes(pairs: Sequence[str], *, ranges: bool = True) -> dict[str, str]:
    """Read ``--class VALUE=NAME``; returns class names by label value.

    Args:
        pairs: as typed.
        ranges: whether a value may also be a range, ``others`` or below 0.

    Raises:
        InputError: if one is of another form, or names a value twice.
    """
    from scsam_monai.data.importers.target import is_value

    names: dict[str, str] = {}
    for pair in pairs:
        value, _, name = (part.strip() for part in pair.partition("="))
        if not name or not (is_value(value) if ranges else value.isdecimal()):
            more = ", -1=unknown, 2-28=granule or others=granule" if ranges else ""
            raise InputError(
                "--class",
                expected=f"VALUE=NAME like 1=mitochondrion{more}",
                met=repr(pair),
                remedy="correct it",
            )
        value = str(int(value)) if value.isdecimal() else value
        if value in names:
            raise InputError("--class", expected=f"one name for {value}", met="several", remedy="leave one")
        names[value] = name
    return names


def with_z_ranges(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--train-z``, ``--validation-z``, ``--test-z`` and ``--gap``.

    Args:
        command: receives them as the keywords ``z_ranges``, by part and None without any, and ``gap``.
    """

    @functools.wraps(command)
    def parsed(**options: Any) -> None:
        texts = {name: options.pop(name) for name in PARTS}
        command(z_ranges=_parse(texts), **options)

    own = inspect.signature(command, eval_str=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, keyword, default=None, annotation=ZRange) for name in PARTS]
    added.append(inspect.Parameter("gap", keyword, default=1, annotation=Gap))
    kept = [p.replace(kind=keyword) for p in own.parameters.values() if p.name not in ("z_ranges", "gap")]
    parsed.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    parsed.__annotations__ = {p.name: p.annotation for p in (*kept, *added)}
    return parsed


def _parse(texts: dict[str, str | None]) -> dict[str, tuple[int, int]] | None:
    from scsam_monai.data.importers.splits import parse_z_range

    ranges = {
        PARTS[name]: parse_z_range(text, where=f"--{name.replace('_', '-')}")
        for name, text in texts.items()
        if text is not None
    }
    return ranges or None


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_next(*commands: Sequence[object]) -> None:
    """Print what to type next: commands of the given words, so that they work as they stand."""
    typer.echo("next:", err=True)
    for words in commands:
        typer.echo(f"  {shlex.join(map(str, words))}", err=True)


def as_typed(**options: object) -> list[str]:
    """Return options as words of a command, a list's elements one by one; those not given are left out."""
    words: list[str] = []
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            words += [] if each is None else [f"--{name.strip('_').replace('_', '-')}", str(each)]
    return words
