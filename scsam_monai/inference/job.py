"""A job: one volume to segment, with everything that the result depends on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError
from scsam_monai.inference.blocks import BlockPlan
from scsam_monai.inference.products import Product
from scsam_monai.inference.selection import Selection
from scsam_monai.inference.windows import Windows
from scsam_monai.io.section_range import some_sections
from scsam_monai.io.volume import VolumeReader, open_volume

Bounds = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
ZARR = (".ome.zarr", ".zarr")
EXPORTS = (".tif", ".tiff", ".nii.gz", ".nii")


@dataclass(frozen=True)
class Source:
    """The volume that is read.

    Attributes:
        path: absolute.
        dataset: inside an HDF5 file or an OME-Zarr; None for the only or the first one.
        shape: (z, y, x).
        dtype: of its grey values.
        modified: of its files, see :attr:`scsam_monai.io.inventory.Inventory.digest`: a job is not resumed on
            another volume of the same name, nor on one of which a chunk has changed.
        axes: letters of its stored axes as the user declared them; None relies on the file.
        sections: of the file that are read, the end excluded; None for all. ``shape`` is theirs.
    """

    path: str
    dataset: str | None
    shape: tuple[int, int, int]
    dtype: str
    modified: str
    axes: str | None = None
    sections: tuple[int, int] | None = None

    def open(self) -> VolumeReader:
        """Open it for reading.

        Raises:
            InputError: it cannot be read.
        """
        return some_sections(open_volume(self.path, self.dataset, self.axes), self.sections)


@dataclass(frozen=True)
class Job:
    """A volume, a model and the settings of the segmentation; nothing that depends on the machine.

    Attributes:
        source: the volume.
        output: absolute path of the labels, OME-Zarr, TIFF or NIfTI by its suffix.
        model: absolute path of the weights.
        model_sha256: of the file.
        class_names: K' names, background first.
        voxel_size_nm: (z, y, x).
        factors: network pixels per voxel, (z, y, x).
        intensity: grey values that become 0 and 1.
        content: bounds (z, y, x) of what is not empty; windows lie there alone.
        empty: share of the volume that is empty.
        empty_label: of empty voxels: 0, the background, or 255, unknown.
        windows: how the network looks at the volume.
        products: maps to make, labels first.
        chunk: of the output, (z, y, x).
        block: of the computation, (z, y, x), whole chunks.
        ome_zarr: version of the format, 0.4 or 0.5.
        threads: of torch in each process; with another number sums differ in the last bit.
        selection: which classes are drawn and from what on; None for all.
    """

    source: Source
    output: str
    model: str
    model_sha256: str
    class_names: tuple[str, ...]
    voxel_size_nm: tuple[float, float, float]
    factors: tuple[float, float, float]
    intensity: tuple[float, float]
    content: Bounds
    empty: float
    empty_label: int
    windows: Windows
    products: tuple[Product, ...]
    chunk: tuple[int, int, int]
    block: tuple[int, int, int]
    ome_zarr: str
    threads: int
    selection: Selection | None = None

    @property
    def plan(self) -> BlockPlan:
        """The blocks."""
        return BlockPlan(self.source.shape, self.block)

    @property
    def first_section(self) -> int:
        """Number, in the file, of the first section that is read."""
        return 0 if self.source.sections is None else self.source.sections[0]

    @property
    def content_shape(self) -> tuple[int, int, int]:
        """Of the part that windows are laid over, (z, y, x)."""
        z, y, x = (last - first for first, last in self.content)
        return z, y, x

    @property
    def folder(self) -> Path:
        """Where progress and unfinished results are kept."""
        return progress_folder(Path(self.output))

    def path(self, product: Product) -> Path:
        """Return where a finished map stands."""
        return product_path(Path(self.output), product)

    def beside(self, ending: str) -> Path:
        """Return ``STEM_ending`` beside an output ``STEM.ome.zarr``."""
        return _beside(Path(self.output), ending)

    def as_json(self) -> dict[str, Any]:
        """Return the job as JSON types."""
        described = asdict(self)
        for name in ("axes", "sections"):  # as releases wrote it that knew nothing else
            if described["source"][name] is None:
                del described["source"][name]
        return described

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Job:
        """Return the job that :meth:`as_json` described."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        source = dict(values["source"])
        source |= {name: tuple(source[name]) for name in ("shape", "sections") if name in source}
        products = tuple(Product(name) for name in values["products"])
        plain["content"] = tuple((first, last) for first, last in values["content"])
        plain |= {"source": Source(**source), "windows": Windows(**values["windows"]), "products": products}
        if values.get("selection") is not None:
            selected = {name: tuple(numbers) for name, numbers in values["selection"].items()}
            plain["selection"] = Selection(**selected)
        return cls(**plain)


def progress_folder(output: Path) -> Path:
    """Return where progress and unfinished results are kept: beside the output, in the same file system."""
    return output.with_name(f"{output.name}.progress")


def product_path(output: Path, product: Product) -> Path:
    """Return where a finished map stands whose labels are ``output``."""
    return output if product == Product.LABELS else _beside(output, f"{product.value}.ome.zarr")


def _beside(output: Path, ending: str) -> Path:
    return output.with_name(f"{output.name.removesuffix(output_suffix(output))}_{ending}")


def stem_of(volume: str | Path) -> str:
    """Return a volume's name without its format's suffix: ``cell`` of ``cell.h5:/raw`` and of ``cell.ome.zarr``."""
    name = Path(re.sub(r"(\.(?:h\w*|zarr)):/.+$", r"\1", str(volume), flags=re.IGNORECASE)).name
    for suffix in (*ZARR, ".nii.gz"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def is_zarr(output: str | Path) -> bool:
    """Whether an output is to be OME-Zarr, not exported to another format."""
    return output_suffix(output).lower() in ZARR


def output_suffix(path: str | Path) -> str:
    """Return the suffix that chooses the output's format, as it is spelt in ``path``.

    Raises:
        InputError: if it is none of those known.
    """
    name = Path(path).name
    for suffix in (*ZARR, *EXPORTS):
        if name.lower().endswith(suffix):
            return name[-len(suffix) :]
    raise InputError(
        path,
        expected="an output ending in .ome.zarr, .tif or .nii.gz",
        met=f"suffix {Path(path).suffix or 'none'}",
        remedy="name it LABELS.ome.zarr",
    )
