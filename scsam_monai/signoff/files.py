"""Files that have to be there, and what they have to be."""

from __future__ import annotations

import re
from typing import Any

import yaml

from scsam_monai.errors import InputError
from scsam_monai.signoff.folder import BundleFolder, CheckError
from scsam_monai.weights.registry import sha256_of
from scsam_monai.weights.state_dicts import read_state_dict

FILES = (
    "LICENSE",
    "configs/metadata.json",
    "configs/train.json",
    "configs/evaluate.json",
    "configs/multi_gpu_train.json",
    "configs/inference.json",
    "configs/logging.conf",
    "docs/README.md",
    "docs/data_license.txt",
    "models/model.pt",
    "models/model.json",
)
LARGE_FILES = ("large_files.yml", "large_files.yaml", "large_files.json")
LARGEST = 25 * 2**20
"""The zoo takes larger files by their address alone."""


def check_files(bundle: BundleFolder) -> None:
    """Every file that the zoo requires or prefers is there, not empty, and small enough for its repository."""
    missing = [name for name in FILES if not (bundle.root / name).is_file()]
    if missing:
        raise CheckError(f"missing: {', '.join(missing)}")
    empty = [name for name in FILES if not (bundle.root / name).stat().st_size]
    if empty:
        raise CheckError(f"empty: {', '.join(empty)}")
    by_address = {entry["path"] for entry in _large_files(bundle)}
    own = [path for name in ("configs", "docs", "models") for path in (bundle.root / name).rglob("*")]
    large = {path.relative_to(bundle.root).as_posix() for path in own if path.stat().st_size > LARGEST}
    if unnamed := sorted(large - by_address):
        raise CheckError(f"above {LARGEST // 2**20} MiB and not in large_files.yml: {', '.join(unnamed)}")


def check_large_files(bundle: BundleFolder) -> None:
    """Files to be fetched have an address and a SHA-256; those that are here already have that one."""
    for entry in _large_files(bundle):
        path = entry["path"]
        if not str(entry.get("url", "")).startswith("https://"):
            raise CheckError(f"{path}: no https address")
        if entry.get("hash_type") != "sha256" or not re.fullmatch("[0-9a-f]{64}", str(entry.get("hash_val"))):
            raise CheckError(f"{path}: no SHA-256")
        here = bundle.root / path
        if here.is_file() and sha256_of(here) != entry["hash_val"]:
            raise CheckError(f"{path}: the file that is here has another SHA-256")


def check_weights(bundle: BundleFolder) -> None:
    """``model.pt`` holds plain tensors and is the file that ``model.json`` was written for."""
    record = bundle.read("models/model.json")
    try:
        state = read_state_dict(bundle.model)
    except InputError as error:
        raise CheckError(str(error)) from None
    if not state:
        raise CheckError("models/model.pt holds no tensor")
    if record.get("model_sha256") != sha256_of(bundle.model):
        raise CheckError("models/model.json records another SHA-256 than that of model.pt")


def _large_files(bundle: BundleFolder) -> list[dict[str, Any]]:
    for name in LARGE_FILES:
        if (bundle.root / name).is_file():
            content = yaml.safe_load((bundle.root / name).read_text(encoding="utf-8"))
            entries = content.get("large_files") if isinstance(content, dict) else None
            if not isinstance(entries, list) or not all(
                isinstance(entry, dict) and "path" in entry for entry in entries
            ):
                raise CheckError(f"{name}: no list of files, each with its path")
            return entries
    return []
