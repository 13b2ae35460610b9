"""Mixed precision where a device multiplies in bfloat16 itself: GPUs, and processors with AVX-512 BF16 or AMX."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch


@cache
def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16, at about twice the speed; others only imitate it, slowly."""
    known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16."""
    return device.type == "cuda" or (device.type == "cpu" and cpu_has_bfloat16())


def mixed_precision(device: torch.device, wanted: bool = True) -> torch.autocast:
    """Return a context in which products are in bfloat16, where that is wanted and the device has it.

    What is traced on a processor stays in single precision: it is to run on others.
    """
    kind = device.type if torch.amp.is_autocast_available(device.type) else "cpu"
    recorded = kind == "cpu" and (torch.jit.is_tracing() or torch.compiler.is_compiling())
    return torch.autocast(kind, torch.bfloat16, enabled=wanted and has_bfloat16(device) and not recorded)
