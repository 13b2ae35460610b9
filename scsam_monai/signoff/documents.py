"""The model card and the licence of the data."""

from __future__ import annotations

import re

from scsam_monai.signoff.folder import BundleFolder, CheckError

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


def check_data_licence(bundle: BundleFolder) -> None:
    """The licence of every data set that weights were trained on is told, and where it comes from."""
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
