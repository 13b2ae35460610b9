"""Pictures for people: overlays, panels and contact sheets."""

from typing import TYPE_CHECKING

from scsam_monai.lazy import offer

if TYPE_CHECKING:
    from scsam_monai.report.figures import comparison_panel, crop_sheet, overlay, prediction_panel
    from scsam_monai.report.handlers import FirstBatchPicture, PredictionPictures, ValidationPictures
    from scsam_monai.report.palette import class_colours
    from scsam_monai.report.sheet import save_png
    from scsam_monai.report.volume_picture import volume_panel, write_volume_picture

__all__ = [
    "FirstBatchPicture",
    "PredictionPictures",
    "ValidationPictures",
    "class_colours",
    "comparison_panel",
    "crop_sheet",
    "overlay",
    "prediction_panel",
    "save_png",
    "volume_panel",
    "write_volume_picture",
]

offer(
    __name__,
    {
        "FirstBatchPicture": "handlers",
        "PredictionPictures": "handlers",
        "ValidationPictures": "handlers",
        "class_colours": "palette",
        "comparison_panel": "figures",
        "crop_sheet": "figures",
        "overlay": "figures",
        "prediction_panel": "figures",
        "save_png": "sheet",
        "volume_panel": "volume_picture",
        "write_volume_picture": "volume_picture",
    },
)
