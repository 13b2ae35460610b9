"""Entries for the registry that live as long as a test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from scsam_monai.weights.registry import WEIGHTS, Weights, WeightsFile


def register(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    contents: Mapping[str, bytes],
    url: str | None = None,
    kind: str = "sam",
) -> Weights:
    """Add weights whose files, by name, hold ``contents`` and are served below ``url``."""
    files = tuple(
        WeightsFile(file, len(content), hashlib.sha256(content).hexdigest(), url and url + file)
        for file, content in contents.items()
    )
    weights = Weights(name, kind, "vit_t", "CC0", "made by a test", files)
    monkeypatch.setitem(WEIGHTS, name, weights)
    return weights
