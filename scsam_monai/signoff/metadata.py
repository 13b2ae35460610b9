"""What ``metadata.json`` has to say, and whether it is true."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import jsonschema
from packaging.requirements import Requirement

from scsam_monai.signoff.folder import BundleFolder, CheckError

SCHEMA = Path(__file__).with_name("metadata_schema.json")
OWN_KEYS = {"torch": "pytorch_version", "monai": "monai_version", "numpy": "numpy_version"}
"""Packages whose versions have a key of their own in the metadata."""
PACKAGE = "scsam-monai"
DESCRIBED = ("modality", "is_patch_data", "channel_def")
"""Asked for in words by the specification, where the schema does without."""


def check_schema(bundle: BundleFolder) -> None:
    """The metadata have every key of the schema, of the right kind."""
    try:
        jsonschema.validate(bundle.metadata, json.loads(SCHEMA.read_text(encoding="utf-8")))
    except jsonschema.ValidationError as error:
        place = "::".join(str(step) for step in error.absolute_path)
        raise CheckError(f"{place or 'top'}: {error.message.splitlines()[0]}") from None


def check_version(bundle: BundleFolder) -> None:
    """The version is in the changelog, and is that of the package the configs call."""
    own = bundle.metadata.get("version")
    if own not in bundle.metadata.get("changelog", {}):
        raise CheckError(f"version {own} is not in the changelog")
    listed = bundle.metadata.get("required_packages_version", {}).get(PACKAGE)
    if own != listed:
        raise CheckError(f"version {own}, but {PACKAGE} {listed} in required_packages_version")


def check_packages(bundle: BundleFolder) -> None:
    """Every package that an installation needs is named, in a version that it may have."""
    metadata = bundle.metadata
    listed = dict(metadata.get("required_packages_version", {}))
    listed |= {name: metadata.get(key, "") for name, key in OWN_KEYS.items()}
    for line in _requirements():
        requirement = Requirement(line)
        met = listed.get(requirement.name)
        if not met:
            raise CheckError(f"{requirement.name} is needed, but required_packages_version does not name it")
        if not requirement.specifier.contains(met, prereleases=True):
            raise CheckError(f"{requirement.name} {met} is none of {requirement.specifier}")


def _requirements() -> list[str]:
    try:
        lines = requires(PACKAGE) or []
    except PackageNotFoundError:
        raise CheckError(f"{PACKAGE} is not installed, so nobody knows what it needs") from None
    return [line for line in lines if "extra ==" not in line] + [f"{PACKAGE}=={version(PACKAGE)}"]


def check_tensors(bundle: BundleFolder) -> None:
    """Every tensor is described, channel by channel; the classes are those of the model's record."""
    formats = bundle.metadata.get("network_data_format", {})
    for side in ("inputs", "outputs"):
        for name, tensor in formats.get(side, {}).items():
            _check_tensor(f"{side}::{name}", tensor)
    if "image" not in formats.get("inputs", {}) or "pred" not in formats.get("outputs", {}):
        raise CheckError("the input must be called image and the output pred")
    channels = formats["outputs"]["pred"]["channel_def"]
    names = [channels[str(index)] for index in range(len(channels))]
    if names != bundle.class_names:
        raise CheckError(f"channels {', '.join(names)}, but the model knows {', '.join(bundle.class_names)}")


def _check_tensor(where: str, tensor: dict[str, Any]) -> None:
    wanted = DESCRIBED if where.startswith("inputs") else DESCRIBED[1:]
    if missing := [key for key in wanted if key not in tensor]:
        raise CheckError(f"{where}: no {', '.join(missing)}")
    expected = [str(index) for index in range(tensor["num_channels"])]
    if list(tensor["channel_def"]) != expected:
        raise CheckError(f"{where}: channel_def must name channels {', '.join(expected)}")
