"""A trained network from its file, ready to predict."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scsam_monai.errors import InputError
from scsam_monai.inference.pixel_size import network_pixel_size
from scsam_monai.weights.model_file import ModelFile

if TYPE_CHECKING:
    import torch

    from scsam_monai.networks.scsam import ScSAM


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

    def __repr__(self) -> str:
        """Say what it is in one line; the network's modules are in ``network``."""
        origin = "built by hand" if self.file is None else str(self.file.path)
        size = "unknown pixel size" if self.pixel_size_nm is None else f"{self.pixel_size_nm:g} nm per pixel"
        classes = ", ".join(self.class_names)
        return f"Model({origin}: {len(self.class_names)} classes ({classes}), {size}, on {self.device})"


def open_model(path: str | Path | ModelFile | None = None, device: str | torch.device | None = None) -> Model:
    """Build and load the network of a ``model.pt``; nothing in the file or beside it is evaluated.

    Args:
        path: the weights, their folder or their name, see :func:`~scsam_monai.weights.registry.check_model`; None
            for those that come with the package. ``model.json`` beside them says what network they are of.
        device: where to; None takes a GPU where there is one.

    Raises:
        InputError: if one of the two files is missing, damaged or does not fit, or the device is not there.
    """
    from scsam_monai.weights.build import load_weights, rebuild_scsam

    file = path if isinstance(path, ModelFile) else ModelFile(path)
    device = as_device(device)
    network = rebuild_scsam(file.path, record=file.record)
    load_weights(network, file)
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
