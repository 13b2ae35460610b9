"""Check a bundle's files and their content: weights, metadata, model card, licence."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from packaging.requirements import Requirement

from scsam_monai.bundle_tools.verify.folder import BundleFolder, CheckError
from scsam_monai.errors import InputError
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

SECTIONS = {
    "Description": "description",
    "Data": "data",
    "Training configuration": "training configuration",
    "Input and output": "input",
    "Performance": "performance",
    "Memory": "memory",
    "Commands": "commands",
    "Limits": "limits",
    "References": "references",
    "License": "license",
}
"""Headings of the zoo's best cards, and the word that has to stand in ours."""
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
CONFIG = re.compile(r"bundle/(configs/\w+\.(?:json|yaml))")

SCHEMA = Path(__file__).with_name("metadata_schema.json")
OWN_KEYS = {"torch": "pytorch_version", "monai": "monai_version", "numpy": "numpy_version"}
"""Packages whose versions have a key of their own in the metadata."""
PACKAGE = "scsam-monai"
DESCRIBED = ("modality", "is_patch_data", "channel_def")
"""Asked for in words by the specification, where the schema does without."""


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
    """Files to be downloaded have an address and a SHA-256, which files that are here already match."""
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


def check_data_licence(bundle: BundleFolder) -> None:
    """The data licence names every data set that weights were trained on, its licence and its source."""
    path = bundle.root / "docs" / "data_license.txt"
    text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    if not text:
        raise CheckError("docs/data_license.txt is missing or empty")
    if "http" not in text:
        raise CheckError("docs/data_license.txt names no source of data")


def check_model_card(bundle: BundleFolder) -> None:
    """The card has every section, scores of every class, links that lead somewhere and commands that exist."""
    path = bundle.root / "docs" / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    headings = [heading.lower() for heading in HEADING.findall(text)]
    missing = [name for name, word in SECTIONS.items() if not any(word in heading for heading in headings)]
    if missing:
        raise CheckError(f"no section {', '.join(missing)}")
    scored = [
        name for name in bundle.class_names if not re.search(rf"^\| {re.escape(name)} \|", text, re.MULTILINE)
    ]
    if scored:
        raise CheckError(f"no row of scores for {', '.join(scored)}")
    for target in CONFIG.findall(text):
        if not (bundle.root / target).is_file():
            raise CheckError(f"a command names {target}, which is not there")
    for target in LINK.findall(text):
        inside = (path.parent / target).resolve().is_relative_to(bundle.root)
        if inside and not (path.parent / target).exists():
            raise CheckError(f"a link leads to {target}, which is not there")


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
