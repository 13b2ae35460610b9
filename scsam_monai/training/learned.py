"""Which images a server's model has learned from, so that scores on them are not taken for scores on new ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scsam_monai.weights.record import read_record
from scsam_monai.weights.registry import sha256_of

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
