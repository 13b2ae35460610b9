"""A network as ONNX, checked with ONNX Runtime."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scsam_monai.errors import optional_library
from scsam_monai.export.description import (
    Description,
    describe,
    example_batch,
    example_section,
    in_single_precision,
)
from scsam_monai.export.recording import check_agreement, fixed_sizes
from scsam_monai.filesystem.atomic import atomic_path, check_target
from scsam_monai.inference.model import Model

SUFFIX = ".onnx"
OPSET = 17
"""The newest that programs with an ONNX Runtime of 2022 read."""
INPUT, OUTPUT, BATCH = "image", "logits", "batch"


def export_onnx(
    model: Model,
    path: str | Path,
    *,
    window: int = 256,
    licence: str | None = None,
    authors: Sequence[str] = (),
) -> Path:
    """Write a network as ONNX with one input ``image`` and one output ``logits``.

    Args:
        model: on the CPU, as :func:`open_model` returns it.
        path: a new ``.onnx`` file.
        window: H and W of the images it will take, in the network's pixels; the batch stays free.
        licence: SPDX identifier of the weights' licence, to be recorded.
        authors: of the weights, to be recorded.

    Raises:
        InputError: if the file exists or has another suffix, the window is of a size that may not be, a package
            is missing, or the result does not agree with the network.
    """
    path = check_target(path, SUFFIX)
    for name in ("onnx", "onnxruntime"):
        optional_library(name, path, "this export takes", "export")
    model = in_single_precision(model)
    description = describe(model, window, licence, authors)
    with atomic_path(path) as temporary:
        write_onnx(model, temporary, description, example_section(window, model.pixel_size_nm), where=path)
    return path


def write_onnx(model: Model, path: Path, description: Description, section: np.ndarray, where: Path) -> None:
    """Export to ONNX, add the description, write the file and compare its logits with the network's.

    Args:
        model: on the CPU.
        path: where to write.
        description: what to record as ``metadata_props``.
        section: (y, x) to record and compare on, of the window's size.
        where: the file to be, to name in the error.

    Raises:
        InputError: if the result does not agree with the network.
    """
    images = example_batch(section)
    _record(model, path, images)
    _describe(path, description)
    check_agreement(where, runner(path), model.network, images)


def runner(path: str | Path, threads: int = 0) -> Callable[[Tensor], Tensor]:
    """Return a function that runs an ONNX file on the CPU.

    Args:
        path: what :func:`export_onnx` wrote.
        threads: 0 takes every core.
    """
    onnxruntime = optional_library("onnxruntime", path, "this export takes", "export")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

    return run


def _record(model: Model, path: Path, images: Tensor) -> None:
    # The exporter on top of torch.export gives the same logits, but takes minutes over this network, not seconds.
    with fixed_sizes(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes become constants: that is the intention
        torch.onnx.export(
            model.network,
            (images[:2],),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: BATCH}, OUTPUT: {0: BATCH}},
        )


def _describe(path: Path, description: Description) -> None:
    """Add what is known of the network, and the sizes of its output, which the exporter leaves open."""
    import onnx

    graph = onnx.load(path)
    properties = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in description.as_metadata().items()
        if value is not None
    }
    onnx.helper.set_model_props(graph, properties)
    graph.producer_name, graph.producer_version = "scsam-monai", properties["version"]
    sizes: list[Any] = [BATCH, len(description.class_names), description.window, description.window]
    output = onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, sizes)
    graph.graph.output[0].CopyFrom(output)
    onnx.checker.check_model(graph)
    onnx.save(graph, path)
