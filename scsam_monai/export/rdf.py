"""The description of a model in BioImage.IO's terms: format 0.5 of its model RDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from scsam_monai.errors import InputError
from scsam_monai.export.description import PERCENTILES, Description
from scsam_monai.export.onnx_file import INPUT, OPSET, OUTPUT
from scsam_monai.export.readme import halo

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
    """Return a licence as BioImage.IO takes it.

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
