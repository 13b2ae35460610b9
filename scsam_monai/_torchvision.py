"""Make torchvision importable next to a CPU-only torch, and quickly.

timm and segment-anything import torchvision for a few pure-Python helpers. The torchvision wheel on the
package index is built against CUDA; beside a CPU-only torch its compiled library cannot load, torchvision
swallows that, and then fails because the operators ``nms`` and ``qnms`` of that library were never declared:
``RuntimeError: operator torchvision::nms does not exist``. Declaring the two schemas lets the import pass.
Nothing here calls either operator, and a call would still end in a clear "not implemented" error.

torchvision and timm also import torch's compiler, which takes more time than they do themselves: for one function
of an operator that nothing here calls, and to mark functions of a model that nothing here builds. Where nobody has
imported the compiler yet, :func:`without_compiler` puts a stand-in for it in its place while they are imported.

Import this module before timm or segment-anything; where torchvision works it does nothing.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None  # the declarations vanish with the last reference


COMPILER = "torch._dynamo"


def ensure_torchvision() -> None:
    """Import torchvision, declaring its missing operators if that, and only that, is what fails."""
    with suppress(ImportError), without_compiler():  # it may ask for more of the compiler some day
        _import_torchvision()
        return
    _forget("torchvision")
    _import_torchvision()


def _import_torchvision() -> None:
    global _library
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to load image Python extension")
        try:
            import torchvision
        except RuntimeError as error:
            if "torchvision::nms does not exist" not in str(error):
                raise
            _forget("torchvision")
            _library = torch.library.Library("torchvision", "DEF")
            for schema in _SCHEMAS:
                _library.define(schema)
            import torchvision  # noqa: F401


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]


@contextmanager
def without_compiler() -> Iterator[None]:
    """Keep imports in the context from importing torch's compiler for what they hardly use of it."""
    if COMPILER in sys.modules or threading.active_count() > 1:  # other threads may want the real one
        yield
        return
    package, utils = ModuleType(COMPILER), ModuleType(f"{COMPILER}.utils")
    package.__dict__.update(utils=utils, disable=_mark_disabled)
    utils.__dict__.update(is_compile_supported=_is_compile_supported)
    sys.modules |= {COMPILER: package, f"{COMPILER}.utils": utils}
    had = vars(torch).get("_dynamo")
    torch._dynamo = package
    try:
        yield
    finally:
        _forget(COMPILER)
        del torch._dynamo
        if had is not None:
            torch._dynamo = had


def _mark_disabled(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """``torch.compiler.disable`` as a mark alone, which the compiler heeds."""
    if function is None:
        return _mark_disabled
    function.__dict__["_torchdynamo_disable"] = True
    return function


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    supported: bool = is_compile_supported(device_type)
    return supported


ensure_torchvision()
