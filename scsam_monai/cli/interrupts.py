"""End a long command by Ctrl-C with one line that says how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer


@contextmanager
def interruptible(output: Path) -> Iterator[Callable[[], bool]]:
    """Yield what says whether an interrupt has come: where libraries clean up, Python drops the exception."""
    import signal

    came = list[int]()

    def note(number: int, _: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(came)
    except KeyboardInterrupt:
        _silence_leftovers()
        typer.echo(f"stopped; the same command with --resume goes on with {output}", err=True)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGINT, before)


def _silence_leftovers() -> None:
    """Keep Python from telling, while it ends, what the interrupt left half done inside the libraries."""
    import sys
    import warnings

    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")
