"""What the tags and metadata of a TIFF file say of its voxel size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import tifffile

from scsam_monai.io.voxel_size import nm_per_unit

_TAG_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}


@dataclass(frozen=True)
class Resolution:
    """The resolution tags of a TIFF file, as stored, so that they can be written again.

    Attributes:
        pixels_per_unit: resolution tags along (x, y), None where absent or zero.
        tag_unit: code of the tags' unit (1 none, 2 inch, 3 cm).
        metadata: keys of the flavour, as tifffile writes them.
        size_nm: (z, y, x), None for each axis on which the file is silent.
    """

    pixels_per_unit: tuple[float, float] | None
    tag_unit: int
    metadata: dict[str, Any] = field(default_factory=dict)
    size_nm: tuple[float | None, float | None, float | None] = (None, None, None)

    @classmethod
    def of(cls, tif: tifffile.TiffFile, page: tifffile.TiffPage, flavour: str) -> Resolution:
        """Collect what the first page and the flavour's metadata state."""
        tags = page.tags
        density = _density(tags.valueof("XResolution")), _density(tags.valueof("YResolution"))
        unit = int(tags.valueof("ResolutionUnit", default=1) or 1)
        per_unit = None if None in density else (float(density[0] or 0), float(density[1] or 0))
        x, y = (_size(value, nm_per_unit(_TAG_UNITS.get(unit))) for value in density)
        if flavour == "imagej":
            metadata, size = _imagej(dict(tif.imagej_metadata or {}), density, (None, y, x))
        elif flavour == "ome":
            metadata, size = _ome(tif.ome_metadata or "")
        else:
            metadata, size = {}, (None, y, x)
        return cls(per_unit, unit, metadata, size)


_Sizes = tuple[float | None, float | None, float | None]


def _density(value: tuple[int, int] | None) -> float | None:
    return value[0] / value[1] if value and value[0] and value[1] else None


def _size(density: float | None, nm: float | None) -> float | None:
    """Nm per pixel; resolution is a fraction of integers, 9 digits are what it states."""
    return None if density is None or nm is None else float(f"{nm / density:.9g}")


def _imagej(
    stated: dict[str, Any], density: tuple[float | None, float | None], tags: _Sizes
) -> tuple[dict[str, Any], _Sizes]:
    keys = ("unit", "yunit", "zunit", "spacing", "xorigin", "yorigin", "zorigin")
    metadata = {key: stated[key] for key in keys if key in stated}
    unit = stated.get("unit")
    if unit is None:
        return metadata, tags
    x = _size(density[0], nm_per_unit(unit))
    y = _size(density[1], nm_per_unit(stated.get("yunit", unit)))
    z_unit = nm_per_unit(stated.get("zunit", unit))
    spacing = _number(stated.get("spacing"))
    return metadata, (None if spacing is None or z_unit is None else abs(spacing) * z_unit, y, x)


def _number(stated: Any) -> float | None:
    """A number, also with the decimal comma that ImageJ writes in some languages; None for what is none."""
    try:
        return None if stated is None else float(str(stated).replace(",", "."))
    except ValueError:
        return None


def _ome(xml: str) -> tuple[dict[str, Any], _Sizes]:
    image = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    pixels = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    metadata: dict[str, Any] = {}
    sizes: list[float | None] = []
    for axis in "ZYX":
        value, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        nm = nm_per_unit(unit)
        sizes.append(None if value is None or nm is None else float(f"{float(value) * nm:.9g}"))
        if value is not None:
            metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": unit}
    return metadata, (sizes[0], sizes[1], sizes[2])
