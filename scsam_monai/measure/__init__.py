"""Objects of a label volume and what they measure, in nm, block by block: any size in flat memory.

Example:
    >>> import numpy as np
    >>> from scsam_monai.measure import find_objects, measure_labels
    >>> labels = np.zeros((20, 20, 20), np.uint8)
    >>> labels[5:10, 5:10, 5:10] = labels[12:18, 5:10, 5:10] = 1
    >>> found = find_objects(labels, voxel_size_nm=(8, 8, 8))
    >>> len(found.table), found.table.voxels.tolist()
    (2, [125, 150])
    >>> measured = measure_labels(labels, voxel_size_nm=(8, 8, 8))
    >>> [row["volume_nm3"] for row in measured.objects]
    [64000.0, 76800.0]
"""

from typing import TYPE_CHECKING

from scsam_monai.lazy import offer

if TYPE_CHECKING:
    from scsam_monai.measure.labels import LabelReader
    from scsam_monai.measure.measuring import Measurements, measure_labels
    from scsam_monai.measure.objects import FoundObjects, find_objects
    from scsam_monai.measure.table import ObjectTable

__all__ = ["FoundObjects", "LabelReader", "Measurements", "ObjectTable", "find_objects", "measure_labels"]

offer(
    __name__,
    {
        "FoundObjects": "objects",
        "LabelReader": "labels",
        "Measurements": "measuring",
        "ObjectTable": "table",
        "find_objects": "objects",
        "measure_labels": "measuring",
    },
)
