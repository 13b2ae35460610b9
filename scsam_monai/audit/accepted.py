"""Which parts of the libraries of a bundle a config may name without a remark."""

from __future__ import annotations

import sys
from functools import cache
from inspect import isclass, isfunction, ismodule

_MONAI = "transforms networks losses inferers handlers engines data metrics optimizers utils.enums"
_OURS = (
    "baselines bars data errors filesystem inference io metrics monai_label networks progress "
    "report training weights"
)
LIBRARIES = ("monai", "torch", "ignite", "scsam_monai")
PACKAGES = (
    *("torch.nn", "torch.optim", "torch.utils.data", "torch.utils.tensorboard", "ignite"),
    *(f"monai.{part}" for part in _MONAI.split()),
    *(f"scsam_monai.{part}" for part in _OURS.split()),
)
"""Packages whose public names are accepted."""

_TYPES = "device dtype Tensor Size float half double float16 bfloat16 float32 float64 bool uint8 int8 int16"
_MORE_TYPES = "int32 int64 int long complex64 complex128 Generator finfo iinfo inf nan pi"
_MAKERS = "tensor as_tensor from_numpy zeros ones full empty rand randn randint arange linspace eye stack cat"
_LIKE = "zeros_like ones_like full_like empty_like rand_like randn_like concat chunk split where numel"
_MATH = "abs sum mean std var min max argmax argmin clamp exp log sqrt square pow round floor ceil isnan any"
_MORE_MATH = "all isfinite sigmoid softmax tanh relu matmul einsum flatten reshape squeeze unsqueeze permute"
_STATE = "no_grad inference_mode manual_seed set_num_threads get_num_threads is_tensor autocast"
_CUDA = "is_available device_count current_device set_device empty_cache manual_seed_all synchronize"
_DISTRIBUTED = "get_rank get_world_size barrier is_initialized is_available all_reduce init_process_group"
NAMES = {
    f"{module}.{name}"
    for module, names in {
        "torch": " ".join((_TYPES, _MORE_TYPES, _MAKERS, _LIKE, _MATH, _MORE_MATH, _STATE)),
        "torch.cuda": _CUDA,
        "torch.distributed": f"{_DISTRIBUTED} destroy_process_group",
        "scsam_monai.command_line": "guard in_label_server locate_bundle merged_config",
        "monai.utils": "set_determinism first ensure_tuple ensure_tuple_rep",
    }.items()
    for name in names.split()
}
"""Single names that are accepted besides."""
ALIASES = {"dist": "torch.distributed", "nn": "torch.nn", "F": "torch.nn.functional"}
"""Names under which modules are usually imported."""


def is_accepted(name: str) -> bool:
    """Whether a dotted name is accepted, both as it stands and as that of the place its object comes from.

    Example:
        >>> is_accepted("monai.data.Dataset"), is_accepted("monai.utils.run_cmd")
        (True, False)
        >>> is_accepted("monai.data.dataset.torch.hub.load")
        False
    """
    if name in NAMES:
        return True
    _, *others = name.split(".")
    if any(part.startswith("_") or part in LIBRARIES for part in others):
        return False
    return _in_package(_home(name) or name)


@cache
def component_homes(name: str) -> tuple[str, ...]:
    """The modules in which MONAI would find a name without dots; none if it is no component of MONAI."""
    from monai.bundle.config_item import ComponentLocator

    found = ComponentLocator(excludes=["metatensor"]).get_component_module_name(name)
    return (found,) if isinstance(found, str) else tuple(found or ())


def _in_package(name: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in PACKAGES)


def _home(name: str) -> str | None:
    """Where an object was defined, or None where that is unknown; looks at what MONAI loads."""
    import monai  # noqa: F401  with all its parts, so that the answer does not hang on what ran before

    parts = name.split(".")
    heads = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    module = next((head for head in heads if head in sys.modules), None)
    if module is None:
        return None
    found: object = sys.modules[module]
    for part in parts[module.count(".") + 1 :]:
        found = vars(found).get(part) if ismodule(found) or isclass(found) else None
    if ismodule(found):
        return str(found.__name__)
    known = (isfunction(found) or isclass(found)) and "<" not in found.__qualname__
    return f"{found.__module__}.{found.__name__}" if known else None  # type: ignore[attr-defined]
