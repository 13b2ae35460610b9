"""A folder with the feature maps of many images, which several processes may fill and read at once."""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from scsam_monai.filesystem.atomic import atomic_path, remove_left

logger = logging.getLogger(__name__)

CHECKSUM = "crc32"


class EmbeddingStore:
    """A folder of safetensors files, named by a hash of what their content depends on.

    A file appears whole or not at all, and one that was damaged later is found out by its checksum. Two processes
    that write the same entry write the same content, so that neither needs to wait for the other.

    Args:
        folder: where the entries lie; made when the first is written.
        recipe: digest of how entries come about; entries of other recipes are not seen.

    Example:
        >>> import tempfile
        >>> store = EmbeddingStore(tempfile.mkdtemp(), "0" * 64)
        >>> key = store.key(torch.zeros(1, 8, 8))
        >>> store.write(key, {"sam": torch.ones(2, 1, 1, dtype=torch.float16)})
        >>> store.read(key)["sam"].flatten().tolist()
        [1.0, 1.0]
    """

    def __init__(self, folder: str | Path, recipe: str) -> None:
        self.recipe = recipe
        self.folder = Path(folder) / recipe[:16]

    def key(self, image: Tensor) -> str:
        """SHA-256 of the recipe and of an image ``(1, H, W)`` as it enters the network."""
        content = hashlib.sha256(f"{self.recipe} {tuple(image.shape)} {image.dtype}".encode())
        content.update(image.contiguous().numpy().data)
        return content.hexdigest()

    def path(self, key: str) -> Path:
        """The file of an entry; 256 folders keep listings short."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def has(self, key: str, size: int) -> bool:
        """Whether there is a file of the right size; its content is checked when it is read."""
        try:
            return self.path(key).stat().st_size == size
        except OSError:
            return False

    def read(self, key: str) -> dict[str, Tensor] | None:
        """Return the maps of an entry; None where there is none, or one that is damaged."""
        path = self.path(key)
        try:
            with safe_open(path, framework="pt") as file:
                maps = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                sound = (file.metadata() or {}).get(CHECKSUM) == checksum(maps)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            sound = False
        if not sound:
            logger.warning("%s is damaged and will be computed again", path)
        return maps if sound else None

    def write(self, key: str, maps: Mapping[str, Tensor]) -> None:
        """Write the maps of an entry, whole or not at all."""
        with atomic_path(self.path(key)) as temporary:
            temporary.write_bytes(serialise(maps))

    def sweep(self) -> None:
        """Remove half-written files of killed processes."""
        for folder in self.folder.glob("*/"):
            remove_left(folder)


def serialise(maps: Mapping[str, Tensor]) -> bytes:
    """Return the content of an entry's file."""
    held = {name: values.contiguous() for name, values in maps.items()}
    return safetensors.torch.save(held, {CHECKSUM: checksum(held)})


def checksum(maps: Mapping[str, Tensor]) -> str:
    """CRC-32 over names, shapes and values, as eight digits."""
    total = 0
    for name, values in sorted(maps.items()):
        total = zlib.crc32(f"{name} {tuple(values.shape)} {values.dtype}".encode(), total)
        total = zlib.crc32(values.contiguous().view(torch.uint8).numpy().data, total)
    return f"{total:08x}"
