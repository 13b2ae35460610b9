"""What went wrong, as an HTTP error with one sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastapi import HTTPException
from monailabel.interfaces.exception import MONAILabelException

from scsam_monai.command_line import input_error_in
from scsam_monai.errors import InputError

logger = logging.getLogger(__name__)


@contextmanager
def readable(name: str | None = None) -> Iterator[None]:
    """Turn whatever is raised inside into an HTTP error that says what was expected, met and what to do.

    Args:
        name: what the user calls the file that is being read; None takes its own name, without its folder.
    """
    try:
        yield
    except HTTPException:
        raise
    except MONAILabelException as error:
        raise HTTPException(404 if "not found" in error.msg else 400, error.msg) from error
    except Exception as error:
        if (cause := input_error_in(error)) is not None:
            raise HTTPException(400, _sentence(cause, name)) from error
        logger.exception("unexpected")
        what = " ".join(str(error).split())[:300]
        raise HTTPException(500, f"{type(error).__name__}: {what}; see the server's log") from error


@contextmanager
def broken_model() -> Iterator[None]:
    """Turn an input error about the server's own model into one of the server."""
    try:
        yield
    except InputError as error:
        raise HTTPException(500, _sentence(error, None)) from error


def not_found(what: str, name: str | None, known: Sequence[str]) -> HTTPException:
    """The refusal of a name that the server does not know."""
    names = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "") or "none"
    return HTTPException(404, f"{what}: expected one of {names}, met {name or 'none'}; correct the name")


def _sentence(error: InputError, name: str | None) -> str:
    is_file = Path(error.where).is_absolute()
    where = (name or Path(error.where).name) if is_file else error.where
    return str(InputError(where, expected=error.expected, met=error.met, remedy=error.remedy))
