"""A trained network's file with the record beside it, which says of what network it is and with what hash."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path, sha256_of, write_json
from scsam_monai.weights.record import HASH, check_pixel_size, read_record
from scsam_monai.weights.registry import check_model

logger = logging.getLogger(__name__)


class RecordedWeights:
    """Weights and the record beside them; their content is hashed once and compared with the recorded hash.

    Args:
        path: of the weights; ``model.json`` beside ``model.pt``.
        record: what that says, if it has been read; None reads it.

    Raises:
        InputError: if there is no such file, or its record is broken.
    """

    def __init__(self, path: str | Path, record: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(
                self.path, expected="a weights file", met="no such file", remedy="check the path"
            )
        if (
            record is None
        ):  # whoever wrote the first weights here may have been stopped before it had its name
            record = read_record(self.path) or read_record(next_record(self.path))
        self.record: Mapping[str, Any] = record
        self._hashed: tuple[str, tuple[int, ...]] | None = None

    @property
    def sha256(self) -> str:
        """Of the weights as they were when this was first asked for, or when they were loaded.

        Raises:
            InputError: if they are not as they were recorded.
        """
        if self._hashed is None:
            with self.content():
                pass
        assert self._hashed is not None
        return self._hashed[0]

    @property
    def sha256_as_read(self) -> str:
        """Of the weights as they were when they were hashed first, whatever has become of the file since."""
        return self.sha256 if self._hashed is None else self._hashed[0]

    @contextmanager
    def content(self) -> Iterator[IO[bytes]]:
        """Yield the open file at its start, once its content is known to be the recorded one.

        Raises:
            InputError: if it is not, or has changed since it was hashed.
        """
        with self.path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            now = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            if self._hashed is None:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                self._check(digest)
                self._hashed = digest, now
            elif self._hashed[1] != now:
                remedy = "open it again when nothing writes to it"
                raise InputError(
                    self.path, expected="weights that stay as they are", met="other ones", remedy=remedy
                )
            stream.seek(0)
            yield stream

    def _check(self, digest: str) -> None:
        recorded = self.record.get(HASH)
        if recorded == digest:
            return
        if recorded is None:
            self._check_without_hash()
        elif (coming := read_record(next_record(self.path))).get(HASH) == digest:
            self.record = coming  # whoever wrote the weights was stopped before the record took its name
        else:
            raise InputError(
                self.path,
                expected=f"the weights that {self.path.with_suffix('.json').name} describes, sha256 "
                f"{str(recorded)[:12]}",
                met=f"damaged or other ones, {digest[:12]}",
                remedy="restore both files from a copy, or train again",
            )

    def _check_without_hash(self) -> None:
        if part := damaged_part(self.path):
            remedy = "restore it from a copy"
            raise InputError(self.path, expected="whole weights", met=f"damage in {part}", remedy=remedy)
        beside = self.path.with_suffix(".json").name
        logger.warning("%s: no hash of it is recorded in %s, damage may go unnoticed", self.path, beside)


class ModelFile(RecordedWeights):
    """A trained network's file and the record beside it, before torch is imported; each is read once.

    Args:
        path: the weights, as :func:`~scsam_monai.weights.registry.check_model` takes them; ``model.json`` beside
            them says what network they are of.

    Raises:
        InputError: if there is no such file, no record of its network, or one that cannot be.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__(check_model(path))
        if "n_classes" not in self.record.get("network", {}):
            raise InputError(
                self.path.with_suffix(".json"),
                expected="a record of the network and its classes",
                met="none",
                remedy=f"keep the model.json that training writes beside {self.path.name}",
            )
        self.class_names(self.record["network"]["n_classes"])

    @property
    def pixel_size_nm(self) -> float | None:
        """Nanometres per pixel the network was trained at; None if the record does not say."""
        return check_pixel_size(self.record.get("pixel_size_nm"))

    def class_names(self, n_classes: int) -> tuple[str, ...]:
        """Return the names of so many classes, background first.

        Raises:
            InputError: if the record has another number of them.
        """
        names = self.record.get("class_names") or _numbered(n_classes)
        if len(names) != n_classes:
            raise InputError(
                self.path.with_suffix(".json"),
                expected=f"{n_classes} class names, background first",
                met=f"{len(names)}",
                remedy=f"restore the model.json that training wrote beside {self.path.name}",
            )
        return tuple(names)


def next_record(weights: Path) -> Path:
    """Return where the record of weights waits that are about to take the place of ``weights``."""
    return weights.with_name(f"{weights.stem}_next.json")


def replace_model(model: Path, better: Path, record: Mapping[str, Any]) -> str | None:
    """Put weights and a record in the place of ``model``, each of them whole; what stood there is kept beside it.

    Args:
        model: ``model.pt``, which need not be there yet.
        better: the weights that take its place.
        record: of them.

    Returns:
        the name that the earlier weights have now, ``model_earlier_1.pt`` or the first number that is free; None if
        there were none.
    """
    earlier = None
    if model.is_file() and sha256_of(model) != sha256_of(better):  # else a stop came between the two files
        names = (model.with_name(f"{model.stem}_earlier_{number}{model.suffix}") for number in count(1))
        earlier = next(path for path in names if not path.exists())
        if model.with_suffix(".json").is_file():
            copy_whole(model.with_suffix(".json"), earlier.with_suffix(".json"))
        copy_whole(model, earlier)
    put_model(model, better, record)
    return None if earlier is None else earlier.name


def put_model(model: Path, weights: Path, record: Mapping[str, Any]) -> None:
    """Put weights and a record in the place of ``model``; whatever stops it, weights there have their record."""
    write_json(next_record(model), record)
    copy_whole(weights, model)
    next_record(model).replace(model.with_suffix(".json"))


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file; ``target`` is there whole or not at all."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def damaged_part(path: str | Path) -> str | None:
    """Return the part of a PyTorch file whose content does not fit its checksum; None where none is found.

    PyTorch itself does not look. Files of another kind have no checksums: None is returned for them.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError):
        return "its table of contents"


def _numbered(n_classes: int) -> list[str]:
    return ["background", *(f"class {index}" for index in range(1, n_classes))]
