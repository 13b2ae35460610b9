"""Kinds of tissue that can be drawn, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scsam_monai.data.synthetic.canvas import CLASSES, VOCABULARY, Canvas
from scsam_monai.data.synthetic.scene import draw_scene
from scsam_monai.data.synthetic.tissues.blood import draw_blood
from scsam_monai.data.synthetic.tissues.gland import draw_gland
from scsam_monai.data.synthetic.tissues.hepatocyte import draw_hepatocytes
from scsam_monai.data.synthetic.tissues.neuropil import draw_neuropil
from scsam_monai.data.synthetic.tissues.plant import draw_leaf
from scsam_monai.errors import InputError

_ALL = VOCABULARY


@dataclass(frozen=True)
class Tissue:
    """A kind of tissue.

    Attributes:
        draw: draws it into an empty block.
        annotated: classes whose voxels are all labelled; a class that the tissue lacks is one of them, its absence
            being known. What is drawn without a label is not.
        finest_nm: pixels finer than this would show too little of it.
        coarsest_nm: pixels coarser than this would not show its smallest parts.
        coarse_nm: spacing of the grid on which room for organelles is looked for.
    """

    draw: Callable[[Canvas, Callable[[float, str], None]], None]
    annotated: tuple[str, ...]
    finest_nm: float
    coarsest_nm: float
    coarse_nm: float = 64.0


TISSUES: dict[str, Tissue] = {
    "neuropil": Tissue(draw_neuropil, _ALL, 4.0, 12.0, coarse_nm=28.0),
    # Clefts between islet cells are part of the membrane or the background there.
    "hepatocyte": Tissue(draw_hepatocytes, _ALL, 7.0, 16.0),
    "gland": Tissue(draw_gland, _ALL, 7.0, 16.0),
    "blood": Tissue(draw_blood, _ALL, 8.0, 20.0, coarse_nm=40.0),
    "plant": Tissue(draw_leaf, _ALL, 8.0, 25.0),
    "islet": Tissue(draw_scene, CLASSES, 8.0, 25.0),
}


def chosen_tissues(names: str) -> list[str]:
    """Split a list of tissues such as ``neuropil,islet``; ``all`` stands for every one.

    Raises:
        InputError: if no tissue has one of these names.
    """
    if names == "all":
        return list(TISSUES)
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in TISSUES:
            raise InputError(
                "tissue",
                expected=f"all, or some of {', '.join(TISSUES)}",
                met=repr(name),
                remedy="write them with commas between",
            )
    return wanted
