"""What produced a result: versions, data, configuration."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn

from scsam_monai._version import __version__
from scsam_monai.filesystem.atomic import sha256_of, write_json

PACKAGES = ("torch", "monai", "pytorch-ignite", "numpy", "timm", "segment-anything")

# Folders of absolute paths, POSIX or Windows; the last name stays. URLs are left alone.
_FOLDERS = re.compile(r"(?<![\w.:/~*])(?:~|[A-Za-z]:)?[/\\]+(?:[^\s/\\'\"]+[/\\]+)+")


class RunRecord:
    """The record of a run, written as ``run.json`` when it starts.

    It tells nothing about who ran it or where: no user, no host, and paths are cut to their last name.

    Args:
        run_dir: folder of ``run.json``; None keeps the record in memory alone.
        class_names: index is the class id.
        data_hash: content hash of the data set.
        config: the merged configuration, as a mapping or text.
        options: command options.
        network: the factory's arguments that build the network again, or a network that has them as ``recipe``.
        tissues: that the data were drawn of; None where they are of a microscope.

    Attributes:
        content: the record, JSON-able.

    Example:
        >>> record = RunRecord(None, ["background", "er"], config={"dataset_dir": "/home/ada/cells"})
        >>> record.content["config"]
        '{"dataset_dir": "cells"}'
    """

    def __init__(
        self,
        run_dir: str | Path | None,
        class_names: Sequence[str],
        data_hash: str | None = None,
        config: Mapping[str, Any] | str | None = None,
        options: Mapping[str, Any] | None = None,
        network: nn.Module | Mapping[str, Any] | None = None,
        tissues: Sequence[str] | None = None,
    ) -> None:
        self.run_dir = None if run_dir is None else Path(run_dir)
        text = config if isinstance(config, str) or config is None else _json(config)
        public = None if text is None else without_folders(text)
        recipe = getattr(network, "recipe", None) if isinstance(network, nn.Module) else network
        self.content: dict[str, Any] = {
            "versions": package_versions(),
            "platform": platform_facts(),
            "class_names": list(class_names),
            "network": dict(recipe or {}),
            "data_sha256": data_hash,
            **({} if tissues is None else {"tissues": list(tissues)}),
            "config_sha256": None if public is None else sha256_of(public.encode()),
            "config": public,
            "options": json.loads(without_folders(_json(options or {}))),
        }

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self.write)

    def write(self) -> None:
        """Write ``run.json``."""
        if self.run_dir is not None and not idist.get_rank():
            write_json(self.run_dir / "run.json", self.content)


def package_versions() -> dict[str, str]:
    """Versions of this package and those it computes with."""
    return {"scsam-monai": __version__} | {name: _version(name) for name in PACKAGES}


def platform_facts() -> dict[str, Any]:
    """The kind of machine, without its name."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def without_folders(text: str) -> str:
    """Cut absolute paths to their last name."""
    return _FOLDERS.sub("", text)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
