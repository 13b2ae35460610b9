"""Weights with a name: what they are, which files hold them, and how to tell the right files from others."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from scsam_monai.errors import InputError

META_URL = "https://dl.fbaipublicfiles.com/segment_anything/"


@dataclass(frozen=True)
class WeightsFile:
    """One file of named weights."""

    name: str
    size: int | None
    """Bytes; None where nobody has published it."""
    sha256: str | None
    """None for a file that has not been packed yet."""
    url: str | None = None
    """None for a file that comes with the repository."""


@dataclass(frozen=True)
class Weights:
    """Named weights; several files are shares of one state dict."""

    name: str
    kind: str
    """``sam``: image encoder, prompt encoder and mask decoder in Meta's layout; ``mae``: the MAE's ViT;
    ``pyramid``: a model of timm's that gives feature maps."""
    architecture: str
    licence: str
    description: str
    files: tuple[WeightsFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes of all files, None where one is not known."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None

    @property
    def shipped(self) -> bool:
        """Whether they come with the repository."""
        return all(file.url is None for file in self.files)


def _meta(architecture: str, stem: str, size: int, sha256: str, parameters: str) -> Weights:
    file = WeightsFile(f"{stem}.pth", size, sha256, f"{META_URL}{stem}.pth")
    description = f"Meta's SAM, {parameters} parameters, trained on SA-1B"
    return Weights(f"sam_{architecture}", "sam", architecture, "Apache-2.0", description, (file,))


def read_manifest(text: str) -> dict[str, Weights]:
    """Return the weights that a manifest of shipped files describes."""
    return {name: _shipped(name, entry) for name, entry in json.loads(text).items()}


def _shipped(name: str, entry: Mapping[str, Any]) -> Weights:
    own = tuple(WeightsFile(**file) for file in entry["files"])
    return Weights(**{"name": name, **entry, "files": own})


def _all_weights() -> dict[str, Weights]:
    metas = (
        _meta(
            "vit_b",
            "sam_vit_b_01ec64",
            375042383,
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            "94 M",
        ),
        _meta(
            "vit_l",
            "sam_vit_l_0b3195",
            1249524607,
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            "312 M",
        ),
        _meta(
            "vit_h",
            "sam_vit_h_4b8939",
            2564550879,
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            "641 M",
        ),
    )
    shipped = read_manifest(files("scsam_monai.weights").joinpath("shipped.json").read_text("utf-8"))
    return {weights.name: weights for weights in metas} | shipped


WEIGHTS: dict[str, Weights] = _all_weights()


def find_weights(name: str) -> Weights:
    """Return the weights of that name.

    Raises:
        InputError: with the valid names, and the closest one.

    Example:
        >>> from scsam_monai.weights.registry import find_weights
        >>> find_weights("sam_vit_b").files[0].name
        'sam_vit_b_01ec64.pth'
    """
    if name in WEIGHTS:
        return WEIGHTS[name]
    close = difflib.get_close_matches(name, WEIGHTS, n=1)
    raise InputError(
        name,
        expected=f"a weights file, or one of the names {', '.join(WEIGHTS)}",
        met="neither",
        remedy=f"did you mean {close[0]}?" if close else "correct the name or the path",
    )
