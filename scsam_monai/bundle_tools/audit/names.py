"""Which names a bundle may use without a remark: those on a list, and no others.

A list of bad names would never be complete: whole packages have ways to files and to the interpreter through what
they import. Names on the list were looked at; the rest may well be harmless, and wants reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Finding:
    """One thing that a bundle would do, with the file and key that say so.

    Attributes:
        file: path inside the bundle.
        key: where in the file: ids joined by ``::`` in a config, else a line or the name of a part.
        kind: ``target``, ``expression``, ``import``, ``file`` and the like.
        text: what stands there.
        why: what speaks for a closer look; empty where nothing does.
    """

    file: str
    key: str
    kind: str
    text: str
    why: tuple[str, ...] = ()

    @property
    def suspicious(self) -> bool:
        """Whether somebody should look at it before the bundle is run."""
        return bool(self.why)


BY_NAME = frozenset({"reader", "writer", "merger_cls", "backbone"})
"""Options whose text MONAI takes for the name of a class, and imports."""
IMPORTING = frozenset({"LoadImage", "LoadImaged", "LoadImageD", "LoadImageDict"}) | frozenset(
    {"SaveImage", "SaveImaged", "SaveImageD", "SaveImageDict"}
)
"""Components that have such options; in expressions they could be given without their names."""
MODULES = frozenset({"monai", "torch", "numpy", "math", "ignite", "scsam_monai"})
"""Packages that may be imported; of them only what is listed may be used."""
GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}
"""Names that every expression knows, and what they stand for."""


@cache
def _lists() -> tuple[tuple[str, tuple[str, ...]], ...]:
    text = files("scsam_monai.bundle_tools.audit").joinpath("known_names.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return tuple((head, tuple(names.split())) for head, _, names in (line.partition(":") for line in lines))


def _under(heading: str) -> frozenset[str]:
    return frozenset(name for head, names in _lists() if head == heading for name in names)


BUILTINS = _under("[builtins]")
"""Functions of Python that expressions may call."""
ATTRIBUTES = _under("[attributes]")
"""Parts of objects that expressions may reach for."""
READERS = _under("[readers]")
"""Readers and writers that MONAI may be given by name; it imports every other name, from wherever it is."""


@cache
def listed() -> frozenset[str]:
    """Return the dotted names that may be used without a remark."""
    return frozenset(f"{head}.{name}" for head, names in _lists() if head[0] != "[" for name in names)


@cache
def _components() -> frozenset[str]:
    """Names without dots: MONAI looks them up in its own modules."""
    return frozenset(name.rpartition(".")[2] for name in listed() if name.startswith("monai."))


@cache
def _modules() -> frozenset[str]:
    parts = [name.split(".") for name in listed()]
    inner = (".".join(name[:count]) for name in parts for count in range(1, len(name)))
    return MODULES.union(inner)


def is_module(name: str) -> bool:
    """Whether a module may be imported without a remark."""
    return name in _modules()


def target_doubts(name: str) -> tuple[str, ...]:
    """Return the doubts about the name of a ``_target_``.

    Example:
        >>> target_doubts("torch.optim.AdamW"), target_doubts("Compose"), target_doubts("shutil.rmtree")
        ((), (), ('not known: shutil.rmtree',))
    """
    return () if name in listed() or name in _components() else (f"not known: {name}",)


def dotted_doubts(parts: list[str]) -> tuple[str, ...]:
    """Return the doubts about a dotted name that begins with a module: a listed name, then parts of its object.

    Example:
        >>> dotted_doubts(["torch", "cuda", "is_available"]), dotted_doubts(["torch", "os", "system"])
        ((), ('not known: torch.os.system',))
    """
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        if name in listed() and parts[count - 1] not in IMPORTING:
            return part_doubts(parts[count:])
    return (f"not known: {'.'.join(parts)}",)


def part_doubts(parts: list[str]) -> tuple[str, ...]:
    """Return the doubts about parts of an object."""
    return tuple(f"not known: .{part}" for part in parts if part not in ATTRIBUTES)
