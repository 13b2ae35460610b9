"""A network as a BioImage.IO package, for Fiji, ilastik and napari."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from scsam_monai.errors import InputError, optional_library
from scsam_monai.export.cover import write_cover
from scsam_monai.export.description import Description, describe
from scsam_monai.export.example import as_input, example_section
from scsam_monai.export.onnx_file import write_onnx
from scsam_monai.export.rdf import model_description, spdx_licence
from scsam_monai.export.readme import documentation
from scsam_monai.export.target import check_target
from scsam_monai.export.torchscript import write_torchscript
from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.inference.model import Model

SUFFIX = ".zip"


def export_bioimageio(
    model: Model,
    path: str | Path,
    colours: np.ndarray,
    *,
    window: int = 256,
    licence: str,
    authors: Sequence[str],
) -> Path:
    """Write a network as a BioImage.IO package with TorchScript and ONNX, and test it.

    Nothing is fetched or sent, by the test neither.

    Args:
        model: on the CPU, as :func:`open_model` returns it.
        path: a new ``.zip`` file.
        colours: (K', 3) uint8, of the classes on the cover.
        window: H and W of the images it will take, in the network's pixels; the batch stays free.
        licence: SPDX identifier of the weights' licence.
        authors: of the weights.

    Raises:
        InputError: if the file exists or has another suffix, the window is of a size that may not be, a package is
            missing, the licence is unknown, or the result does not pass BioImage.IO's own test.
    """
    path = check_target(path, SUFFIX)
    for name in ("onnx", "onnxruntime", "bioimageio.core"):
        optional_library(name, path, "this export takes", "export")
    spdx_licence(licence)
    description = describe(model, window, licence, authors)
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory() as folder, _quiet():
        _write_parts(model, Path(folder), description, colours, path)
        _package(Path(folder), description, path, temporary)
    return path


def _write_parts(
    model: Model, folder: Path, description: Description, colours: np.ndarray, where: Path
) -> None:
    section = example_section(description.window, description.pixel_size_nm)
    write_torchscript(model, folder / "model.ts", description, section, where)
    write_onnx(model, folder / "model.onnx", description, section, where)
    with torch.no_grad():
        logits = model.network(as_input(section)).numpy()
    np.save(folder / "input.npy", section[None, None].astype(np.float32))
    np.save(folder / "output.npy", logits)
    write_cover(folder / "cover.png", section, logits[0].argmax(0), colours)
    (folder / "README.md").write_text(documentation(description), encoding="utf-8")


def _package(folder: Path, description: Description, path: Path, temporary: Path) -> None:
    from bioimageio.core import test_description
    from bioimageio.spec import save_bioimageio_package
    from pydantic import ValidationError

    try:
        save_bioimageio_package(model_description(folder, description), output_path=temporary)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _refused(path, f"{where}: {first['msg']}") from error
    summary = test_description(temporary)
    if summary.status != "passed":
        failed = [detail for detail in summary.details if detail.status == "failed"]
        messages = [error.msg for detail in failed for error in detail.errors]
        raise _refused(path, messages[0] if messages else summary.status)


def _refused(path: Path, met: str) -> InputError:
    return InputError(
        path,
        expected="a package that passes BioImage.IO's own test",
        met=met[:200],
        remedy="nothing was written; correct what it names",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's log, which tells every step, off the screen."""
    from loguru import logger

    logger.disable("bioimageio")
    try:
        yield
    finally:
        logger.enable("bioimageio")
