"""A network as a BioImage.IO package, for Fiji, ilastik and napari.

The package holds the weights, the description of the model in format 0.5 of BioImage.IO's model RDF, documentation
and a cover picture.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from scsam_monai.errors import InputError, optional_library
from scsam_monai.export.description import (
    PERCENTILES,
    Description,
    as_input,
    describe,
    example_section,
    in_single_precision,
)
from scsam_monai.export.onnx_file import INPUT, OPSET, OUTPUT, write_onnx
from scsam_monai.export.torchscript import write_torchscript
from scsam_monai.filesystem.atomic import atomic_path, check_target
from scsam_monai.inference.model import Model

TAGS = (
    "electron-microscopy",
    "2d",
    "semantic-segmentation",
    "cells",
    "mitochondria",
    "pytorch",
    "fiji",
    "deepimagej",
    "ilastik",
    "organelles",
)
CITATIONS = (
    (
        "Fang et al.: ScSAM: Debiasing Morphology and Distributional Variability in Subcellular Semantic "
        "Segmentation, ECAI 2025",
        "10.48550/arXiv.2507.17149",
    ),
    ("Kirillov et al.: Segment Anything, ICCV 2023", "10.48550/arXiv.2304.02643"),
    ("He et al.: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022", "10.48550/arXiv.2111.06377"),
)

SUFFIX = ".zip"


def write_cover(path: str | Path, section: np.ndarray, labels: np.ndarray, colours: np.ndarray) -> None:
    """Write the cover picture: a section, and beside it the same with its labels in colour.

    Args:
        path: a ``.png``.
        section: (y, x) uint8.
        labels: (y, x) class ids; background stays grey.
        colours: (K', 3) uint8, of each class.
    """
    grey = np.repeat(section[..., None], 3, axis=2)
    mixed = (grey.astype(np.uint16) + colours[labels]) // 2
    painted = np.where((labels > 0)[..., None], mixed.astype(np.uint8), grey)
    Image.fromarray(np.concatenate([grey, painted], axis=1)).save(path, format="PNG")


def halo(window: int) -> int:
    """Return how many pixels at each edge of a window are less reliable than those of its neighbour."""
    return window // 8  # windows of scsam predict overlap by a quarter


def documentation(description: Description) -> str:
    """Return what a user of the package has to know, as Markdown."""
    low, high = PERCENTILES
    size = "an unknown size" if description.pixel_size_nm is None else f"{description.pixel_size_nm:g} nm"
    classes = "\n".join(f"| {index} | {name} |" for index, name in enumerate(description.class_names))
    window = description.window
    return f"""# ScSAM {description.as_metadata()["version"]}: organelles in electron micrographs

Semantic segmentation of grey electron micrographs, without prompts, by ScSAM (Fang et al., ECAI 2025).

## Input

One grey channel, {window} x {window} pixels of {size}. Resample an image of another pixel size before. Grey
values are scaled so that the {low} and {high} percentiles of the whole image become 0 and 1, and clipped; that is
declared as preprocessing. Tools that apply it to every tile by itself give poorer labels: scale the image first in
those.

Larger images are cut into windows. Leave a margin of {halo(window)} pixels at
each edge to the neighbouring windows.

## Output

Logits of {len(description.class_names)} classes, on the pixels of the input. The class of a pixel is the channel
with the largest value.

| channel | class |
|---|---|
{classes}

## Validation

Compare the classes with sections that you annotated and that no training saw: intersection over union of each
class, counted over all voxels of a volume. Do so before you count anything: a network knows the tissue that it was
trained on. The weights that come with scsam-monai have learned from drawn tissue, and so does the cover show some:
expect less of them on real micrographs.

## Limits

For research, not for diagnosis. Sections are segmented one by one.
"""


def model_description(folder: Path, description: Description) -> Any:
    """Return a ``bioimageio.spec`` model description.

    Args:
        folder: holds ``model.ts``, ``model.onnx``, ``input.npy``, ``output.npy``, ``cover.png`` and ``README.md``.
        description: of the network.

    Raises:
        InputError: if the licence is no SPDX identifier.
    """
    from bioimageio.spec.common import FileDescr
    from bioimageio.spec.model import v0_5

    metadata = description.as_metadata()
    names = ", ".join(description.class_names)
    size = "" if description.pixel_size_nm is None else f" at {description.pixel_size_nm:g} nm per pixel"
    return v0_5.ModelDescr(
        name="ScSAM organelle segmentation",
        description=f"Organelles in electron micrographs{size}, without prompts: {names}",
        version=v0_5.Version(metadata["version"]),
        authors=[v0_5.Author(name=name) for name in description.authors],
        cite=[v0_5.CiteEntry(text=text, doi=v0_5.Doi(doi)) for text, doi in CITATIONS],
        license=spdx_licence(description.licence or ""),
        tags=list(TAGS),
        covers=[FileDescr(source=folder / "cover.png")],
        documentation=FileDescr(source=folder / "README.md"),
        inputs=[_input(folder, description)],
        outputs=[_output(folder, description)],
        weights=_weights(folder),
        config=v0_5.Config.model_validate({"scsam": metadata}),
    )


def spdx_licence(licence: str) -> Any:
    """Return a licence's SPDX name, which BioImage.IO asks for.

    Raises:
        InputError: if it is no SPDX identifier.
    """
    from bioimageio.spec.model.v0_5 import LicenseId
    from pydantic import ValidationError

    try:
        return LicenseId(licence)
    except ValidationError:
        raise InputError(
            "licence",
            expected="an identifier of spdx.org/licenses, like CC-BY-4.0",
            met=licence,
            remedy="name that of your weights",
        ) from None


def _space(description: Description) -> dict[str, Any]:
    """What an axis says of the pixel size."""
    if description.pixel_size_nm is None:
        return {}
    return {"unit": "nanometer", "scale": description.pixel_size_nm}


def _input(folder: Path, description: Description) -> Any:
    from bioimageio.spec.common import FileDescr
    from bioimageio.spec.model import v0_5

    plane = [v0_5.AxisId("y"), v0_5.AxisId("x")]
    low, high = PERCENTILES
    scale = v0_5.ScaleRangeKwargs(
        axes=[v0_5.AxisId("channel"), *plane], min_percentile=low, max_percentile=high
    )
    return v0_5.InputTensorDescr(
        id=v0_5.TensorId(INPUT),
        description="grey electron micrograph, as the microscope gives it",
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=["grey"]),
            *(
                v0_5.SpaceInputAxis(
                    id=axis, size=description.window, concatenable=True, **_space(description)
                )
                for axis in plane
            ),
        ],
        test_tensor=FileDescr(source=folder / "input.npy"),
        data=v0_5.IntervalOrRatioDataDescr(type="float32"),
        preprocessing=[
            v0_5.ScaleRangeDescr(kwargs=scale),
            v0_5.ClipDescr(kwargs=v0_5.ClipKwargs(min=0.0, max=1.0)),
        ],
    )


def _output(folder: Path, description: Description) -> Any:
    from bioimageio.spec.common import FileDescr
    from bioimageio.spec.model import v0_5

    edge = halo(description.window)
    axes = [
        v0_5.SpaceOutputAxisWithHalo(
            id=axis,
            size=v0_5.SizeReference(tensor_id=v0_5.TensorId(INPUT), axis_id=axis),
            halo=edge,
            **_space(description),
        )
        for axis in (v0_5.AxisId("y"), v0_5.AxisId("x"))
    ]
    return v0_5.OutputTensorDescr(
        id=v0_5.TensorId(OUTPUT),
        description="logits of each class; the largest one is the class",
        axes=[v0_5.BatchAxis(), v0_5.ChannelAxis(channel_names=list(description.class_names)), *axes],
        test_tensor=FileDescr(source=folder / "output.npy"),
        data=v0_5.IntervalOrRatioDataDescr(type="float32"),
    )


def _weights(folder: Path) -> Any:
    from bioimageio.spec.model import v0_5

    version = v0_5.Version(torch.__version__.split("+")[0])
    return v0_5.WeightsDescr(
        torchscript=v0_5.TorchscriptWeightsDescr(source=folder / "model.ts", pytorch_version=version),
        onnx=v0_5.OnnxWeightsDescr(source=folder / "model.onnx", opset_version=OPSET, parent="torchscript"),
    )


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
    model = in_single_precision(model)
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
