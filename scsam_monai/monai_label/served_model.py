"""The model that a MONAI Label server serves: which images it has learned from, and how it is replaced.

Scores on learned images must not be taken for scores on new ones. Weights and record change together, and one
process at a time changes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scsam_monai.filesystem.atomic import sha256_of
from scsam_monai.filesystem.locks import exclusive
from scsam_monai.weights.model_file import next_record, replace_model
from scsam_monai.weights.record import read_record

KEY = "learned_images"
"""In the ``model.json`` of a model that a server trained: SHA-256 of the images of all its trainings, in order."""


def learned_images(model: str | Path) -> set[str]:
    """Return the SHA-256 of the images that the trainings in a server showed to a model."""
    return set(read_record(model).get(KEY) or [])


def image_hashes(pairs: Iterable[Mapping[str, Any]]) -> list[str]:
    """SHA-256 of the image file of each pair; a label that was drawn anew makes no image new."""
    return [sha256_of(Path(pair["image"])) for pair in pairs]


def hold_out(
    pairs: Sequence[dict[str, Any]], number: int, model: str | Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Divide labels into those to learn from and those to score on.

    Args:
        pairs: ``{image, label}`` and what else belongs to them.
        number: how many to hold out at most. Those whose image the model has learned are held out only if there are
            no others.
        model: the server's ``model.pt``.

    Returns:
        Pairs to learn from and pairs held out, each in the given order.
    """
    learned = learned_images(model)
    new = [index for index, sha256 in enumerate(image_hashes(pairs)) if sha256 not in learned]
    held = set((new or list(range(len(pairs))))[-number:] if number else [])
    parts: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for index, pair in enumerate(pairs):
        parts[index in held].append(pair)
    return parts


@contextmanager
def alone(model: Path) -> Iterator[None]:
    """Lock the model so that no other process replaces it."""
    with exclusive(model.with_name(f".{model.stem}.lock")) as lock:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def replace(model: Path, better: Path, learned: Sequence[str]) -> str:
    """Move weights and record to ``model``, each of them whole; returns the name of the earlier weights.

    Args:
        model: the server's ``model.pt``.
        better: weights with their record beside them.
        learned: SHA-256 of the images that they learned from, beyond those of ``model``.
    """
    known = list(dict.fromkeys([*read_record(model).get(KEY, []), *learned]))
    return str(replace_model(model, better, read_record(better) | {KEY: known}))


def finish_replacing(model: Path) -> None:
    """Give a model its record, if a stop came between the two."""
    record = next_record(model)
    if not record.exists():
        return
    with alone(model):
        if read_record(record).get("model_sha256") == sha256_of(model):
            record.replace(model.with_suffix(".json"))
        else:
            record.unlink(missing_ok=True)
