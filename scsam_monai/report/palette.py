"""The colours of classes, under the name that configs use: see :mod:`scsam_monai.io.palette`."""

from scsam_monai.io.palette import NAMED, UNKNOWN, class_colours, colours_of

__all__ = ["NAMED", "UNKNOWN", "class_colours", "colours_of"]
