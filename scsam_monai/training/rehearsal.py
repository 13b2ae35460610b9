"""Build what a run builds, so that what would be refused is refused before an earlier run makes way for it."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from scsam_monai.training.run import release_run_dir


def rehearse(config: str | Path, overrides: Mapping[str, Any]) -> nn.Module:
    """Build all parts of a training, in a folder that is thrown away, and take no step.

    Args:
        config: ``train.json``.
        overrides: values by key; ``run_dir`` and ``cache_dir`` are the folder's, and nothing is resumed.

    Returns:
        The network.

    Raises:
        RuntimeError: MONAI's, of whatever a part raised.
    """
    with tempfile.TemporaryDirectory() as folder, _in_silence():
        parser = ConfigParser(ConfigParser.load_config_file(config))
        own = {"run_dir": folder, "cache_dir": str(Path(folder) / "embeddings"), "resume": False}
        unneeded = {"record::data_hash": None, "record::tissues": None}  # they read all data once more
        parser.update({**overrides, **own, **unneeded})
        try:
            for part in ("initialize", "train::trainer", "test::evaluator"):
                parser.get_parsed_content(part)
            parser.get_parsed_content("events").close()
        finally:
            release_run_dir(folder)
        network: nn.Module = parser.get_parsed_content("network_def")
        return network


@contextmanager
def _in_silence() -> Iterator[None]:
    """What is to be said of data and settings, the run itself says."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
