"""Rooms whose names are imported when they are asked for: what needs no torch shall not wait for it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


def offer(package: str, homes: Mapping[str, str]) -> None:
    """Let a package offer names of its modules without importing them.

    Args:
        package: its ``__name__``.
        homes: the names, and the modules inside the package that have them.
    """
    room = sys.modules[package]
    room.__class__ = LazyRoom
    vars(room)["_homes"] = dict(homes)


class LazyRoom(ModuleType):
    """A package that offers names of its modules. Such a name goes before a module of the same name."""

    _homes: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        """Import the module that has ``name``."""
        if name.startswith("__") or name not in self._homes:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{self.__name__}.{self._homes[name]}"), name)
        vars(self)[name] = value
        return value

    def __setattr__(self, name: str, value: object) -> None:
        """Keep the import of a module from hiding what has its name."""
        if not (isinstance(value, ModuleType) and name in self._homes):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._homes})
