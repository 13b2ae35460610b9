"""A trained network from its file, ready to predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from scsam_monai.errors import InputError
from scsam_monai.inference.pixel_size import network_pixel_size
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.build import load_weights, rebuild_scsam
from scsam_monai.weights.record import read_record
from scsam_monai.weights.registry import check_model


@dataclass(frozen=True)
class Model:
    """A network and what is known of it.

    Attributes:
        network: in evaluation mode, on the device.
        class_names: K' names, background first.
        pixel_size_nm: nm per pixel it was trained at; None if it does not say.
        device: where it is.
        path: where it comes from; None for a network that was built by hand.
    """

    network: ScSAM
    class_names: tuple[str, ...]
    pixel_size_nm: float | None
    device: torch.device
    path: Path | None = None


def open_model(path: str | Path | None = None, device: str | torch.device | None = None) -> Model:
    """Build and load the network of a ``model.pt``; nothing in the file or beside it is evaluated.

    Args:
        path: the weights, their folder or their name, see :func:`~scsam_monai.weights.registry.check_model`; None
            for those that come with the package. ``model.json`` beside them says what network they are of.
        device: where to; None takes a GPU where there is one.

    Raises:
        InputError: if one of the two files is missing or does not fit, or the device is not there.
    """
    path, device = check_model(path), as_device(device)
    if "network" not in read_record(path):
        raise InputError(
            path.with_suffix(".json"),
            expected="a record of the network and its classes",
            met="none",
            remedy=f"keep the model.json that training writes beside {path.name}",
        )
    network = rebuild_scsam(path)
    load_weights(network, path)
    network = network.eval().requires_grad_(False).to(device)
    names = read_record(path).get("class_names") or _numbered(network.n_classes)
    if len(names) != network.n_classes:
        raise InputError(
            path.with_suffix(".json"),
            expected=f"{network.n_classes} class names, background first",
            met=f"{len(names)}",
            remedy=f"restore the model.json that training wrote beside {path.name}",
        )
    return Model(network, tuple(names), network_pixel_size(network), device, path)


def as_device(name: str | torch.device | None) -> torch.device:
    """Return the device of that name; None takes a GPU where there is one.

    Raises:
        InputError: if this machine has none of that name.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise _no_device(f"{name}, which was never tried")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise _no_device(f"{name} ({str(error).splitlines()[0]})") from None
    return device


def _no_device(met: str) -> InputError:
    return InputError("device", expected="cpu, cuda or cuda:N", met=met, remedy="use cpu")


def _numbered(n_classes: int) -> list[str]:
    return ["background", *(f"class {index}" for index in range(1, n_classes))]
