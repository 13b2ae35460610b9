"""Check requests to the server; wrong ones are answered by an HTTP error with one sentence.

Bundles evaluate text that starts with ``$``, so none of a request's reaches one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.interfaces.exception import MONAILabelException
from monailabel.utils.others.generic import device_list

from scsam_monai.command_line import input_error_in
from scsam_monai.errors import InputError

EVALUATED = ("$", "%", "@")
"""How text begins that MONAI's configs evaluate or look up."""

logger = logging.getLogger(__name__)


def checked_training(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training takes from a request, and nothing else of it.

    Raises:
        InputError: for the first value that cannot be used.
    """
    refuse_expressions(request)
    known = {key: request[key] for key in ("model", "device", "max_epochs", "val_split") if key in request}
    if "device" in known:
        known["device"] = _device(known["device"])
    if "max_epochs" in known:
        epochs = _number(known["max_epochs"])
        if not (epochs >= 1 and epochs.is_integer()):
            raise _wrong("max_epochs", "a whole number above 0", known["max_epochs"])
        known["max_epochs"] = int(epochs)
    if "val_split" in known:
        split = _number(known["val_split"])
        if not 0 <= split < 1:
            raise _wrong("val_split", "a number from 0 to below 1", known["val_split"])
        known["val_split"] = split
    return known


def checked_inference(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request for labels, with its device as text. The image is looked up, never evaluated.

    Raises:
        InputError: for the first value that cannot be used.
    """
    # What is on the server's path is no business of a request.
    known = {key: value for key, value in request.items() if key != "bundle_path"}
    refuse_expressions({key: value for key, value in known.items() if key != "image"})
    return {**known, "device": _device(known["device"])} if known.get("device") else known


def refuse_expressions(value: Any, where: str = "request") -> None:
    """Refuse text that a bundle would evaluate, however deep it lies.

    Raises:
        InputError: if there is any.
    """
    if isinstance(value, str) and value.strip().startswith(EVALUATED):
        raise _wrong(where, "plain text or a number", value)
    if isinstance(value, Mapping):
        for key, item in value.items():
            refuse_expressions(key, where)
            refuse_expressions(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_expressions(item, where)


def _device(value: Any) -> str:
    several = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    known = list(dict.fromkeys(["cpu", "cuda", *several, *device_list()]))
    name = value[0] if isinstance(value, list) and value else value
    if not isinstance(name, str) or name not in known:
        raise _wrong("device", f"one of {', '.join(known)}", value)
    return name


def _number(value: Any) -> float:
    """The value as a number, also of text like ``20``; not a number where it is none."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _wrong(where: str, expected: str, met: Any) -> InputError:
    return InputError(where, expected=expected, met=repr(met)[:80], remedy="correct the request")


@contextmanager
def readable(name: str | None = None) -> Iterator[None]:
    """Turn errors into an HTTP error that says what was expected, met and what to do.

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
    """Return the error for a name that the server does not know."""
    names = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "") or "none"
    return HTTPException(404, f"{what}: expected one of {names}, met {name or 'none'}; correct the name")


def _sentence(error: InputError, name: str | None) -> str:
    is_file = Path(error.where).is_absolute()
    where = (name or Path(error.where).name) if is_file else error.where
    return str(InputError(where, expected=error.expected, met=error.met, remedy=error.remedy))
