"""A trained network from its file, ready to predict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scsam_monai.errors import InputError
from scsam_monai.inference.pixel_size import known_pixel_size, network_pixel_size
from scsam_monai.weights.record import read_record
from scsam_monai.weights.registry import check_model, sha256_of

if TYPE_CHECKING:
    import torch

    from scsam_monai.networks.scsam import ScSAM


class ModelFile:
    """A trained network's file and the record beside it, before torch is imported; each is read once.

    Args:
        path: the weights, as :func:`~scsam_monai.weights.registry.check_model` takes them; ``model.json`` beside
            them says what network they are of.

    Raises:
        InputError: if there is no such file, or no record of its network.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = check_model(path)
        self.record: Mapping[str, Any] = read_record(self.path)
        if "network" not in self.record:
            raise InputError(
                self.path.with_suffix(".json"),
                expected="a record of the network and its classes",
                met="none",
                remedy=f"keep the model.json that training writes beside {self.path.name}",
            )

    @cached_property
    def sha256(self) -> str:
        """Of the weights."""
        return sha256_of(self.path)

    @property
    def pixel_size_nm(self) -> float | None:
        """Nanometres per pixel the network was trained at; None if the record does not say."""
        return known_pixel_size(self.record.get("pixel_size_nm"))

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


@dataclass(frozen=True)
class Model:
    """A network and what is known of it.

    Attributes:
        network: in evaluation mode, on the device.
        class_names: K' names, background first.
        pixel_size_nm: nm per pixel it was trained at; None if it does not say.
        device: where it is.
        file: where it comes from, with its record and hash; None for a network that was built by hand.
    """

    network: ScSAM
    class_names: tuple[str, ...]
    pixel_size_nm: float | None
    device: torch.device
    file: ModelFile | None = None


def open_model(path: str | Path | ModelFile | None = None, device: str | torch.device | None = None) -> Model:
    """Build and load the network of a ``model.pt``; nothing in the file or beside it is evaluated.

    Args:
        path: the weights, their folder or their name, see :func:`~scsam_monai.weights.registry.check_model`; None
            for those that come with the package. ``model.json`` beside them says what network they are of.
        device: where to; None takes a GPU where there is one.

    Raises:
        InputError: if one of the two files is missing or does not fit, or the device is not there.
    """
    from scsam_monai.weights.build import load_weights, rebuild_scsam

    file = path if isinstance(path, ModelFile) else ModelFile(path)
    device = as_device(device)
    digest = file.sha256
    network = rebuild_scsam(file.path, record=file.record)
    load_weights(network, file.path)
    if sha256_of(file.path) != digest:  # the results name it
        remedy = "open it again when nothing writes to it"
        raise InputError(file.path, expected="weights that stay as they are", met="other ones", remedy=remedy)
    network = network.eval().requires_grad_(False).to(device)
    names = file.class_names(network.n_classes)
    return Model(network, names, network_pixel_size(network), device, file)


def check_device_name(name: object) -> None:
    """Refuse a device of a kind that is not known, before torch is imported.

    Raises:
        InputError: if it is neither None nor cpu, cuda or cuda:N.
    """
    if name is not None and re.fullmatch(r"cpu|cuda(:\d+)?", str(name)) is None:
        raise _no_device(f"{name}, which was never tried")


def as_device(name: str | torch.device | None) -> torch.device:
    """Return the device of that name; None takes a GPU where there is one.

    Raises:
        InputError: if this machine has none of that name.
    """
    check_device_name(name)
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise _no_device(f"{name} ({str(error).splitlines()[0]})") from None
    return device


def _no_device(met: str) -> InputError:
    return InputError("device", expected="cpu, cuda or cuda:N", met=met, remedy="use cpu")


def _numbered(n_classes: int) -> list[str]:
    return ["background", *(f"class {index}" for index in range(1, n_classes))]
