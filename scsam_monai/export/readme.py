"""The documentation inside a BioImage.IO package."""

from __future__ import annotations

from scsam_monai.export.description import PERCENTILES, Description


def halo(window: int) -> int:
    """Return the pixels at each edge of a window whose labels are better taken from the neighbouring window."""
    return window // 8  # windows of scsam predict overlap by a quarter


def documentation(description: Description) -> str:
    """Return what a user of the package has to know, as Markdown."""
    low, high = PERCENTILES
    size = "an unknown size" if description.pixel_size_nm is None else f"{description.pixel_size_nm:g} nm"
    classes = "\n".join(f"| {index} | {name} |" for index, name in enumerate(description.class_names))
    window = description.window
    return f"""# ScSAM {description.as_metadata()["version"]}: organelles in electron micrographs

Semantic segmentation of grey electron micrographs, without prompts, by ScSAM (Fang et al., ECAI 2025).

## Input

One grey channel, {window} x {window} pixels of {size}. Resample an image of another pixel size before. Grey
values are scaled so that the {low} and {high} percentiles of the whole image become 0 and 1, and clipped; that is
declared as preprocessing. Tools that apply it to every tile by itself give poorer labels: scale the image first in
those.

Larger images are cut into windows. Leave a margin of {halo(window)} pixels at
each edge to the neighbouring windows.

## Output

Logits of {len(description.class_names)} classes, on the pixels of the input. The class of a pixel is the channel
with the largest value.

| channel | class |
|---|---|
{classes}

## Validation

Compare the classes with sections that you annotated and that no training saw: intersection over union of each
class, counted over all voxels of a volume. Do so before you count anything: a network knows the tissue that it was
trained on. The weights that come with scsam-monai have seen generated cells alone, and so does the cover show one:
expect less of them on real micrographs.

## Limits

For research, not for diagnosis. Sections are segmented one by one.
"""
